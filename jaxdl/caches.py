"""Where jaxdl keeps what took long to make: in the user's own cache folder, safe to delete."""

from __future__ import annotations

import os
from pathlib import Path


def folder(name: str) -> Path:
    """The folder for one kind of thing: 'data', 'onednn', 'xla'. It may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "jaxdl" / name
