"""Columns that are slow to make, cached on disk for the next run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from jaxdl import caches


def cached(key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """The result of `make`, from the cache if it has been made for this key before.

    A file is written whole or not at all, and contains only arrays and their checksums. One that is
    damaged, or that another user can write (`jaxdl.caches`), is made again. If the cache cannot be
    written, the run continues without it.
    """
    place = caches.usable("data")
    if place is None:
        return make()
    path = place / f"{sha256(key.encode()).hexdigest()}.npz"
    if caches.sound(path):
        # zipfile raises many types for damaged files.
        with suppress(Exception), np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    columns = make()
    with suppress(OSError):
        _write(path, columns)
    return columns


def folder() -> Path:
    """The folder of the cache, in the user's cache folder; it can be deleted at any time."""
    return caches.folder("data")


def stamp(path: Path) -> str:
    """Size and time of a file, for files too large to read."""
    about = path.stat()
    return f"{about.st_size} bytes at {about.st_mtime_ns}"


def _write(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez(file, allow_pickle=False, **columns)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
