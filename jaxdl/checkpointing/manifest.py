"""What a checkpoint is made of, and whether it is sound; knows neither models nor Orbax.

    <step>/state/…         the arrays, in Zarr's format
    <step>/contents.json   type and shape of every array, and notes
    <step>/manifest.json   step, and the SHA-256 of every file

Hashes alone do not make a checkpoint sound: whoever writes another contents.json can write its hash
too. So `verify` also compares it with the headers of the arrays. Nothing here needs a device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl import json_files
from jaxdl.errors import UserError, first_line
from jaxdl.files import sha256_of, special

_REMEDY = "restore it from a backup"
_HEADER = b"/.zarray"  # the end of the key of an array's header
_STEP = re.compile("0|[1-9][0-9]*")  # a step as it is written: 8, not 08


@dataclass
class Manifest:
    """What manifest.json holds."""

    step: int
    sha256: dict[str, str]


@dataclass
class BestCheckpoint:
    """The best checkpoint so far, as the notes and result.json have it."""

    step: int
    metric: str
    value: float


@dataclass
class Notes:
    """The notes beside a state, as far as they are read again."""

    wall_seconds: float = 0.0
    evaluated: bool = True
    best: BestCheckpoint | None = None
    origin: dict[str, dict[str, Any]] = field(default_factory=dict)
    diverged: dict[str, str] = field(default_factory=dict)


@dataclass
class Contents:
    """What contents.json holds."""

    arrays: dict[str, str]
    notes: Notes


@dataclass
class _Header:
    """The header of an array in Zarr's format."""

    dtype: str
    shape: list[int]


def saved_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, oldest first."""
    return sorted(int(path.name) for path in folder.glob("*") if _STEP.fullmatch(path.name))


def contents(folder: Path) -> dict[str, Any]:
    """The contents.json of a checkpoint, of the type `Contents`.

    Raises:
      UserError: it cannot be read, or is not of that type.
    """
    return json_files.read(folder / "contents.json", Contents, _REMEDY)


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in one line; None if it is sound.

    It is sound if every file is as it was written, and contents.json describes the arrays in it.
    """
    for path in (folder, *sorted(folder.rglob("*"))):
        if kind := special(path):  # the target of a link may change, and is not ours to delete
            return f"{folder}: {path.name!r} is {kind}"
    try:
        manifest = json_files.read(folder / "manifest.json", Manifest, _REMEDY)
    except UserError as error:
        return f"{folder}: no readable manifest.json ({error})"
    if str(manifest["step"]) != folder.name:
        return f"{folder}: the manifest belongs to another checkpoint"
    expected = manifest["sha256"]
    try:
        actual = digests(folder)
    except OSError as error:
        return f"{folder}: cannot be read ({error})"
    for name in sorted({*expected, *actual}):
        if name not in actual:
            return f"{folder}: {name} is missing"
        if name not in expected:
            return f"{folder}: {name} does not belong to it"
        if actual[name] != expected[name]:
            return f"{folder}: {name} is damaged (its SHA-256 differs)"
    return _mismatch(folder)


def _mismatch(folder: Path) -> str | None:
    """The first array of which contents.json and its own header differ; None if all agree."""
    try:
        described, stored = contents(folder)["arrays"], _stored_arrays(folder / "state")
    except UserError as error:
        return str(error)
    # Orbax separates the parts of a path by dots; a part of its own, such as a regular expression
    # of `config.optimizer.groups`, may have a slash.
    described, stored = (
        {name.replace("/", "."): kind for name, kind in table.items()}
        for table in (described, stored)
    )
    for name in sorted({*described, *stored}):
        if described.get(name) != stored.get(name):
            kinds = (json_files.shown(table.get(name, "absent")) for table in (described, stored))
            return (
                f"{folder}: contents.json is wrong: {json_files.shown(name)} is {next(kinds)} in "
                f"it, but {next(kinds)} in state"
            )
    return None


def _stored_arrays(state: Path) -> dict[str, str]:
    """Path, with dots -> type and shape of every array, read from the headers alone."""
    import tensorstore  # the library with which Orbax writes

    base = {"driver": "file", "path": f"{state.absolute()}/"}
    try:
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        keys = [key for key in store.list().result() if key.endswith(_HEADER)]
        reads = [store.read(key) for key in keys]
        return {
            key.removesuffix(_HEADER).decode(): _kind(read.result().value)
            for key, read in zip(keys, reads, strict=True)
        }
    except Exception as error:  # TensorStore raises its own types
        raise UserError(f"{state}: cannot be read ({first_line(error, 200)}); {_REMEDY}") from None


def _kind(header: bytes) -> str:
    """Type and shape of an array, from its header: `float32[2, 3]`."""
    fields = json_files.parse(header, _Header, "the header of an array", _REMEDY)
    return f"{np.dtype(fields['dtype'])}{fields['shape']}"


def digests(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 of every file of a checkpoint but the manifest."""
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "manifest.json"
    }


def best_step(notes: Mapping[str, Any]) -> int | None:
    """The step of the best checkpoint, if the notes name one."""
    best = notes.get("best")
    return best and int(best["step"])
