"""The results of compiling for targets, cached in the user's cache folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxdl import caches, hlo
from jaxdl.errors import UserError
from jaxdl.files import replace_text
from jaxdl.runtime import compiler_options
from jaxdl.targets.target import Target
from jaxdl.training import memory

# What is installed of a compiler: XLA itself, and the libraries that it chooses from.
_PACKAGES = (
    "jax", "jaxlib", "libtpu", "jax-cuda12-pjrt", "jax-cuda13-pjrt", "nvidia-cublas",
    "nvidia-cuda-nvcc", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13",
)  # fmt: skip
_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")  # of the environment, which compilers read


def key(lowered: Any, target: Target, options: Mapping[str, Any], *files: str) -> str:
    """A digest of everything that decides the result of a compilation.

    Args:
      lowered: the program.
      target: what it is compiled for.
      options: of its compiler.
      *files: of the code that reads the result, with that which counts.
    """
    code = [Path(file).read_bytes() for file in (hlo.__file__, memory.__file__, *files)]
    parts = [
        lowered.as_text(),
        str(target),
        target.host,
        target.description,
        {**compiler_options(target.platform), **options},
        {name: os.environ.get(name) for name in _FLAGS},
        {name: _version(name) for name in _PACKAGES},
        [sha256(text).hexdigest() for text in code],
    ]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read(key: str) -> dict[str, Any] | None:
    """What `write` kept under a key; None if there is nothing, or it is damaged."""
    place = caches.usable("targets")
    if place is None or not caches.sound(place / key):
        return None
    with suppress(OSError, UnicodeDecodeError):
        digest, _, text = (place / key).read_text().partition("\n")
        if digest == sha256(text.encode()).hexdigest():
            return json.loads(text)
    return None


def write(key: str, found: dict[str, Any]) -> None:
    """Keep JSON values, with their digest; without a usable cache folder, keep nothing."""
    if place := caches.usable("targets"):
        text = json.dumps(found)
        with suppress(UserError):
            replace_text(place / key, f"{sha256(text.encode()).hexdigest()}\n{text}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
