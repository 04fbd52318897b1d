"""Where jaxdl keeps what took long to make: in the user's own cache folder, safe to delete.

What is in a cache is loaded, code among it, so it must be of the user's own making: `usable` and
`sound` say whether nobody else can have written it.
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
    """The folder for one kind of thing: 'data', 'onednn', 'xla'. It may not exist yet.

    Raises:
      RuntimeError: the user has no home.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not home.is_absolute():  # as where HOME is empty; it would be another one in each folder
        raise RuntimeError(f"{home} is not an absolute path")
    return home / "jaxdl" / name


def usable(name: str) -> Path | None:
    """The same folder, made if need be, without symbolic links in its path.

    None, which is said once, where it cannot be made, or where another user but root can write it,
    a file in it, or a folder that it is in.
    """
    try:
        place = folder(name).resolve()
        for path in (*reversed(place.parents), place):
            path.mkdir(mode=0o700, exist_ok=True)
        reason = next(filter(None, map(_fault_above, place.parents)), None)
        reason = reason or _fault(place) or _fault_within(place)
        if reason is None:
            place.chmod(0o700)  # others have written nothing there, and are not to
            return place
    except OSError as error:
        _say(f"no cache: {error.filename} cannot be written ({error.strerror}); {_REMEDY}")
    except RuntimeError as error:
        _say(f"no cache: {error}; {_REMEDY}")
    else:
        _say(f"no cache: {reason}; delete the cache, have only yourself write there, or {_REMEDY}")
    return None


def sound(file: Path) -> bool:
    """Whether a file of a usable folder is there, and of this user alone; if not, that is said."""
    try:
        reason = _fault(file)
    except OSError:
        return False
    if reason:
        _say(f"cache: {reason}, so it is made anew; let nobody else write there")
    return reason is None


def _fault(path: Path) -> str | None:
    """Why what is at a path may be another's; None where it can only be this user's."""
    about = path.lstat()
    if about.st_uid != os.geteuid():
        return f"{path} belongs to another user ({about.st_uid})"
    if stat.S_ISLNK(about.st_mode):
        return f"{path} is a symbolic link"
    return f"others can write {path}" if about.st_mode & 0o022 else None


def _fault_above(parent: Path) -> str | None:
    """Why another user but root can put something else in the place of a folder below this one."""
    about = parent.lstat()
    if about.st_uid not in (0, os.geteuid()):
        return f"{parent} belongs to another user ({about.st_uid})"
    shared = about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX  # /tmp is sticky
    return f"others can write {parent}" if shared else None


def _fault_within(place: Path) -> str | None:
    """The same of what a folder holds, where others can enter it; who owns it, everywhere."""
    entered = place.lstat().st_mode & 0o077
    for path in place.iterdir():
        try:
            about = path.lstat()
        except FileNotFoundError:  # another process has just renamed it
            continue
        foreign = about.st_uid != os.geteuid() or stat.S_ISLNK(about.st_mode)
        if (entered or foreign) and (reason := _fault(path)):
            return reason
    return None


@functools.cache
def _say(text: str) -> None:
    """Once in a process."""
    _log.warning("%s", text)
