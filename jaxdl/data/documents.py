"""Reading a user's files: which ones, and what is wrong with them, as one line."""

from __future__ import annotations

import codecs
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from io import BufferedIOBase, BytesIO
from pathlib import Path

from jaxdl.errors import UserError, printable

_MARKS = {  # what a file in one of these encodings may begin with; the longer first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


@contextmanager
def reading(what: str, file: Path | str) -> Iterator[None]:
    """The boundary of a reader: whatever goes wrong with a file is one line that names it.

    Libraries raise a dozen types for damaged files, and hostile ones exhaust memory or the stack.

    Args:
      what: reads it, for the message.
      file: the file.

    Raises:
      UserError: in place of any other exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {file} {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "takes more memory than there is; take part of it"
    if isinstance(error, RecursionError):
        return "is nested too deeply; mend it"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror}); give a file that can"
    says = printable(" ".join(str(error)[:200].split()), 200)
    return f"cannot be read ({type(error).__name__}: {says}); mend it"


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Refuse what is larger than the memory of the machine.

    Raises:
      UserError: it is; the kernel would end the process half-way, without a word.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UserError(
            f"{what} take {needed / 1e9:.0f} GB, the machine has {memory / 1e9:.0f}; take part of "
            f"them or {remedy}"
        )


@contextmanager
def opened(file: bytes | Path) -> Iterator[BufferedIOBase]:
    """A file, or its content, as a stream.

    Raises:
      OSError: it cannot be read, or is not a regular file: a pipe or a device may never end.
    """
    if isinstance(file, bytes):
        yield BytesIO(file)
        return
    # A pipe that no one writes to would be waited for.
    with open(file, "rb", opener=lambda path, flags: os.open(path, flags | _AT_ONCE)) as stream:
        if not os.path.isfile(file):
            raise OSError(errno.EINVAL, "not a regular file", str(file))
        yield stream


def content(file: bytes | Path) -> bytes:
    """All that a file holds; as `opened`."""
    with opened(file) as stream:
        return stream.read()


def find(path: str, suffix: str, what: str) -> list[Path]:
    """The files that a path means, in the order of their names.

    Args:
      path: of a file, of a folder with files of this suffix in it or below, or a pattern.
      suffix: such as '.txt'.
      what: reads them, for the message.

    Raises:
      UserError: there is none.
    """
    given = Path(path).expanduser()
    there = [given]
    if given.is_dir():
        there = list(given.rglob(f"*{suffix}"))
    elif not given.is_file():
        there = [Path(name) for name in glob(str(given), recursive=True)]
    files = sorted(file for file in there if file.is_file())
    if files:
        return files
    if given.is_dir():
        raise UserError(f"{what}: {path} has no {suffix} file; give a pattern, such as '{path}/*'")
    matches = " matches" if set("*?[") & set(path) else ""
    raise UserError(
        f"{what}: no file{matches} {path}; give a file, a folder with {suffix} files, or a "
        f"pattern such as 'folder/*{suffix}'"
    )


def read(file: Path, what: str, encoding: str | None = None) -> str:
    r"""The text of a file, without a byte order mark, its line ends '\n'.

    Args:
      file: the file.
      what: reads it, for the message.
      encoding: where the user can choose it, by Python's name; None is UTF-8 and no other.

    Raises:
      UserError: it cannot be read, is no text, or is in another encoding.
    """
    try:
        encoded = content(file.expanduser())
        document = encoded.decode(encoding or "utf-8").removeprefix("\ufeff")
    except OSError as error:
        raise UserError(f"{what}: cannot read {file}: {error.strerror}") from None
    except MemoryError as error:
        raise UserError(f"{what}: {file} {_why(error)}") from None
    except LookupError:
        raise UserError(
            f"{what}: encoding={encoding!r} is unknown; name one as Python does, such as 'cp1252'"
        ) from None
    except UnicodeError as error:
        raise UserError(f"{what}: {file} {_complaint(encoded, encoding, error)}") from None
    if "\0" in document:
        raise UserError(
            f"{what}: {file} is no text: it has a zero byte at {encoded.find(0)}; leave it out "
            "or, if it is text, save it as UTF-8"
        )
    return document.replace("\r\n", "\n").replace("\r", "\n")


def _complaint(content: bytes, encoding: str | None, error: UnicodeError) -> str:
    place = f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else "its content"
    marked = [name for mark, name in _MARKS.items() if content.startswith(mark)]
    if not marked and b"\0" in content:
        return f"is no text: {place} is no {encoding or 'UTF-8'}, and some are 0; leave it out"
    likely = marked or [name for name in ("utf-8", "cp1252", "latin-1") if _fits(content, name)]
    if encoding is None:
        return f"is not UTF-8: {place}; convert it, it may be {likely[0]}"
    return f"is not {encoding}: {place}; try encoding={likely[0]!r}"


def _fits(content: bytes, encoding: str) -> bool:
    try:
        return bool(content.decode(encoding))
    except UnicodeDecodeError:
        return False
