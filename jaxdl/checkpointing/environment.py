"""Where a run was started: command, versions, devices and the commit of the code."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = (
    "jaxdl",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tensorflow-datasets",
    "ml-collections",
)


def environment() -> dict[str, Any]:
    """The contents of environment.json for this start, as JSON values."""
    import jax

    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": _versions(),
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "git": _commit(),
    }


# Kept: a sweep has many starts in one process, all with the code that it imported.
@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def _commit() -> dict[str, str | None]:
    return {"commit": _git("rev-parse", "HEAD"), "changed": _git("status", "--porcelain")}


def _git(*words: str) -> str | None:
    """The output of git for the running code; None if it is not under git."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            check=True,
            text=True,
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
