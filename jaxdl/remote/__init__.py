"""Data and weights that lie elsewhere, such as s3://bucket/photos: a copy here, and its path.

Whoever reads files calls `local_path` once, and reads what it returns, so that no reader knows of
addresses. mirror.py keeps the copies, in the cache folder; storage.py is the only file that knows
fsspec, which a path of this machine never imports.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from jaxdl.errors import UserError
from jaxdl.files import ADDRESS
from jaxdl.remote.mirror import mirrored
from jaxdl.remote.storage import Storage

_HUB_MODEL = re.compile(r"hf://[^/]+/[^/]+")  # hf://owner/name: all of a repository
_HUB_WEIGHTS = "model.safetensors"  # as a model's repository calls them


def local_path(path: str, *, with_folder: bool = False) -> str:
    """A path of this machine: itself, or, of an address, where its files were brought.

    Every call compares sizes and tags of all files with those of the copy, and brings what is
    missing or has changed. It returns when the copy is whole.

    Args:
      path: any path; s3://, gs:// and hf:// of a file, a folder or a pattern, https:// of a file.
      with_folder: bring the other files of a file's folder too.

    Raises:
      UserError: the address cannot be read, or there is no room for its files; within 20 seconds
        where the storage gives no answer; or the path is in the home folder of nobody.
    """
    if not ADDRESS.match(path):
        _require_home(path)
        return path
    if with_folder:
        folder, _, name = path.rpartition("/")
        return os.path.join(local_path(folder), name)
    return str(mirrored(Storage.of(path)))


def _require_home(path: str) -> None:
    """Refuse the home folder of a user that does not exist, such as ~nobody/data."""
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: there is no home folder {Path(path).parts[0]}; write the path without ~"
        ) from None


def weights_path(path: str) -> str:
    """The same of a weight file or a run; hf://owner/name is the model.safetensors in there."""
    if not _HUB_MODEL.fullmatch(path.rstrip("/")):
        return local_path(path)
    return local_path(f"{path.rstrip('/')}/{_HUB_WEIGHTS}")


__all__ = ["local_path", "weights_path"]
