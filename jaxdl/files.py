"""How jaxdl writes files: whole or not at all, never through a link, and never blocking on a pipe.

A new file is written under an unpredictable name in the same folder, then renamed. A file that
grows or is locked is opened in place, if it is a plain file. A folder that jaxdl reads or writes as
its own may hold only plain files and folders at its top: a link would lead elsewhere, and reading a
pipe would block.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError, printable, reason

_log = logging.getLogger("jaxdl")

_PARTIAL = re.compile(r"\..*\.[0-9a-f]{16}\.partial", re.DOTALL)
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")  # `Path` leaves one slash of two
_FOLLOW_NOTHING = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk is called
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
_REMEDIES = {
    errno.ENOSPC: "make room and run again",
    errno.EDQUOT: "make room within your quota and run again",
    errno.EFBIG: "make room, or raise the limit on the size of files, and run again",
    errno.EIO: "check the disk and run again",
}


class Unwritable(UserError):
    """A file or folder that cannot be written.

    Attributes:
      fault: the message without the remedy.
    """

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(f"{fault}; {remedy}")
        self.fault = fault


def refused(error: OSError) -> str | None:
    """What the operating system refuses, and the remedy; None if the user has none."""
    if error.errno == errno.ENAMETOOLONG:  # whatever asks first whether there is such a file
        name = printable(error.filename)
        return f"{name}: the name is too long for a file; choose a shorter one"
    if error.errno in FULL:
        return f"the disk is full ({error.strerror}); make room"
    return None


def unwritable(path: Path, error: OSError, remedy: str = "choose another place") -> Unwritable:
    """The error for a file or folder that cannot be written, with what to do."""
    remedy = _REMEDIES.get(error.errno or 0, remedy)
    return Unwritable(f"{path}: cannot be written ({error.strerror or error})", remedy)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace a file, whole or not at all.

    Raises:
      UserError: it cannot be written, or a link, a pipe or a device is in its place.
    """
    refuse_special(path)
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.partial")
    try:
        with open(_create(partial), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise unwritable(path, error) from None
        raise


def replace_text(path: Path, text: str) -> None:
    """Replace a file by text in UTF-8, whole or not at all; see `replace_bytes`.

    File names in the text that are not UTF-8 are written as the bytes that they are.
    """
    replace_bytes(path, text.encode("utf-8", "surrogateescape"))


def append_bytes(path: Path, data: bytes) -> None:
    """Append all of the bytes to a file, or none; it is made if it does not exist.

    Raises:
      UserError: it cannot be written, or a link, a pipe or a device is in its place.
    """
    with open_plain(path, os.O_WRONLY | os.O_APPEND) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise unwritable(path, error) from None


def open_plain(path: Path, flags: int) -> io.FileIO:
    """Open a plain file for bytes, in place; it is made if it does not exist.

    Raises:
      UserError: it cannot be opened, or a link, a pipe or a device is in its place.
    """
    refuse_special(path)
    try:
        number = os.open(path, flags | os.O_CREAT | _FOLLOW_NOTHING, 0o666)
    except OSError as error:
        raise unwritable(path, error) from None
    if not stat.S_ISREG(os.fstat(number).st_mode):  # it was replaced a moment ago
        os.close(number)
        raise Unwritable(f"{path}: is not a plain file", "remove it")
    return io.FileIO(number, "r+" if flags & os.O_RDWR else "w")


def local(path: str | Path, why: str = "is not read or written") -> Path:
    """The path of a file or folder of this machine.

    Args:
      path: the path.
      why: an address will not do.

    Raises:
      UserError: it is an address, such as gs://bucket/run, of which `Path` would make a local one,
        or begins with ~, and no home folder is known.
    """
    if match := ADDRESS.match(str(path)):
        raise UserError(f"{path}: {match[0]}… {why}; copy or mount it, and give a local path")
    try:
        return Path(path).expanduser()  # a shell leaves the ~ of --workdir=~/run as it is
    except RuntimeError:
        raise UserError(f"{path}: no home folder is known; give the whole path") from None


def local_run(path: str | Path) -> Path:
    """The same of the directory of a run or a sweep."""
    return local(
        path,
        "cannot hold a run, which needs locks and atomic files",
    )


def existing_run(path: str | Path) -> Path:
    """The directory of a run.

    Raises:
      UserError: it holds none, or is an address.
    """
    folder = local_run(path)
    if not (folder / "config.json").exists():
        inside = sorted(str(file.parent) for file in folder.glob("*/config.json"))
        remedy = f"name one that is in it, such as {inside[0]}" if inside else "train there first"
        raise UserError(f"{path}: holds no run (no config.json); {remedy}")
    return folder


def make_parent(path: Path) -> Path:
    """Make the folder of a file where it does not exist, and return the file.

    Raises:
      UserError: it cannot be made, or is an address.
    """
    local(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from None
    return path


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, by making and removing one.

    Raises:
      OSError: they cannot.
    """
    probe = folder / f".probe.{secrets.token_hex(8)}.partial"
    os.close(_create(probe))
    probe.unlink(missing_ok=True)  # another process may have tidied up: `remove_partial`


def entries(folder: Path) -> list[str]:
    """The names in a folder, sorted, without its lock and files that are being written."""
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if name != "lock" and not _PARTIAL.fullmatch(name))


def remove_partial(folder: Path) -> None:
    """Remove partly written files of killed processes, in a folder that nobody else writes."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _PARTIAL.fullmatch(path.name) and path.is_file():
                path.unlink()


def refuse_special(path: Path) -> None:
    """Refuse links, pipes, sockets and devices.

    Raises:
      UserError: the path is one of them. It may be a plain file or folder, or not exist.
    """
    if kind := special(path):
        raise Unwritable(
            f"{path.parent}: {path.name!r} is {kind}, where only plain files and folders may be",
            "remove it, or name another place",
        )


def special(path: Path) -> str | None:
    """The kind of a path, such as 'a symbolic link'; None for a plain file, folder, or nothing."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):  # opening it gives the reason
        return None
    plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return None if plain else _KINDS.get(stat.S_IFMT(mode), "a device")


def refuse_links(folder: Path) -> None:
    """Refuse a folder that holds anything but plain files and folders at its top.

    The folder itself may be a link, or be reached through one: the user has named it.

    Raises:
      UserError: it does; the message names the first.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # it does not exist, or reading it gives the reason
        return
    for name in names:
        refuse_special(folder / name)


class Secondary:
    """Optional output of a run: a failure is logged once, and the run goes on.

    After a failure to write, it is not tried again.

    Args:
      what: its name, such as "figures".
    """

    def __init__(self, what: str) -> None:
        self._what, self._full, self._told = what, False, set[str]()

    def __call__(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that draws or writes, unless writing has failed before."""
        if self._full:
            return
        try:
            function(*args)
        except Exception as error:  # figures of users can raise anything
            self._full = isinstance(error, Unwritable | OSError)
            if (why := reason(error)) not in self._told:
                self._told.add(why)
                _log.warning("%s: %s; the run goes on without", self._what, why)


def _create(path: Path) -> int:
    """Make and open a file that must not exist."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOTHING, 0o666)
