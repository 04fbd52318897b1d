"""The caches of jaxdl, in the user's own cache folder; they are safe to delete.

Files of a cache are loaded, compiled code among them, so nobody else may have written them:
`usable` and `sound` check this.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
from pathlib import Path

_REMEDY = "set XDG_CACHE_HOME to a folder that only you can write"

_log = logging.getLogger("jaxdl")


def folder(name: str) -> Path:
    """The folder of a cache, such as 'data' or 'xla'. It may not exist yet.

    Raises:
      RuntimeError: the user has no home folder.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not home.is_absolute():  # as if HOME is empty; it would depend on the working directory
        raise RuntimeError(f"{home} is not an absolute path")
    return home / "jaxdl" / name


def usable(name: str) -> Path | None:
    """The folder of a cache, made if it does not exist, with symbolic links resolved.

    None, with one warning, if it cannot be made, or if another user than root can write the folder,
    a file in it, or a parent folder.
    """
    try:
        place = folder(name).resolve()
        for path in (*reversed(place.parents), place):
            path.mkdir(mode=0o700, exist_ok=True)
        reason = next(filter(None, map(_fault_above, place.parents)), None)
        reason = reason or _fault(place) or _fault_within(place)
        if reason is None:
            place.chmod(0o700)  # others have written nothing there, and never shall
            return place
    except OSError as error:
        _warn(f"no cache: {error.filename} cannot be written ({error.strerror}); {_REMEDY}")
    except RuntimeError as error:
        _warn(f"no cache: {error}; {_REMEDY}")
    else:
        _warn(f"no cache: {reason}; delete the cache, make it writable by you alone, or {_REMEDY}")
    return None


def keep_programs() -> None:
    """Keep compiled programs for the next process, unless JAX was told where to already."""
    import jax

    chosen = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009  mypy does not know it
    if not chosen and (place := usable("xla")):
        jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def sound(file: Path) -> bool:
    """Whether a file of a usable folder exists and only this user can write it; else warn."""
    try:
        reason = _fault(file)
    except OSError:
        return False
    if reason:
        _warn(f"cache: {reason}, so it is rebuilt; let nobody else write there")
    return reason is None


def _fault(path: Path) -> str | None:
    """Why another user may have written a path; None if only this user can have."""
    about = path.lstat()
    if about.st_uid != os.geteuid():
        return f"{path} belongs to another user ({about.st_uid})"
    if stat.S_ISLNK(about.st_mode):
        return f"{path} is a symbolic link"
    return f"others can write {path}" if about.st_mode & 0o022 else None


def _fault_above(parent: Path) -> str | None:
    """Why another user than root can replace a folder below this one; None if none can."""
    about = parent.lstat()
    if about.st_uid not in (0, os.geteuid()):
        return f"{parent} belongs to another user ({about.st_uid})"
    shared = about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX  # /tmp is sticky
    return f"others can write {parent}" if shared else None


def _fault_within(place: Path) -> str | None:
    """Why another user may have written a file in a folder.

    Owners are always checked, permissions only if others can enter the folder.
    """
    open_to_others = place.lstat().st_mode & 0o077
    for path in place.iterdir():
        try:
            about = path.lstat()
        except FileNotFoundError:  # another process has just renamed it
            continue
        foreign = about.st_uid != os.geteuid() or stat.S_ISLNK(about.st_mode)
        if (open_to_others or foreign) and (reason := _fault(path)):
            return reason
    return None


@functools.cache
def _warn(text: str) -> None:
    """Log a warning, once in a process."""
    _log.warning("%s", text)
