"""Where a run was started: command, versions, devices and the commit of the code."""

from __future__ import annotations

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
    """What environment.json says of this start, as JSON values."""
    import jax

    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {n: importlib.metadata.version(n) for n in _PACKAGES if n in installed},
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "git": {"commit": _git("rev-parse", "HEAD"), "changed": _git("status", "--porcelain")},
    }


def _git(*words: str) -> str | None:
    """What git says of the code that runs; None where it is not under git."""
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
