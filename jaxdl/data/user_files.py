"""Reads a user's files: finds them, decodes text, and turns any fault into one line that names it.

Every source of a user's own files, and the decoder of images, reads through this file.
"""

from __future__ import annotations

import codecs
import csv
import errno
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from io import BufferedIOBase, BytesIO, StringIO
from pathlib import Path

from jaxdl.errors import UserError, printable

_MARKS = {  # the byte order marks of encodings, longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What systems and tools leave among files, in lower case; names that begin with a dot are left too.
_LEFT_BEHIND = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",  # Windows and macOS
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "recycler", "system volume information",
    "lost+found", "__pycache__",
})  # fmt: skip
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


@contextmanager
def reading(what: str, file: Path | str) -> Iterator[None]:
    """Replace any other exception by a UserError that names the file.

    Libraries raise a dozen types for damaged files, and hostile files exhaust memory or the stack.

    Args:
      what: the name of the reader, for the message.
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
        return "needs more memory than the machine has; use a part of it"
    if isinstance(error, RecursionError):
        return "is nested too deeply; correct it"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror}); give a file that can"
    text = printable(" ".join(str(error)[:200].split()), 200)
    return f"cannot be read ({type(error).__name__}: {text}); correct it"


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Refuse data larger than the memory of the machine: the kernel would kill the process.

    Args:
      needed: bytes.
      what: the data, for the message, in the plural.
      remedy: what the user can do, other than use a part of it.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UserError(
            f"{what} take {needed / 1e9:.0f} GB, but the machine has {memory / 1e9:.0f}; use a "
            f"part of them or {remedy}"
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
    # Without O_NONBLOCK a pipe that nobody writes to would block for ever.
    with open(file, "rb", opener=lambda path, flags: os.open(path, flags | _NONBLOCK)) as stream:
        if not os.path.isfile(file):
            raise OSError(errno.EINVAL, "not a regular file", str(file))
        yield stream


def content(file: bytes | Path) -> bytes:
    """All bytes of a file; raises as `opened`."""
    with opened(file) as stream:
        return stream.read()


def is_data(name: str) -> bool:
    """Whether a file or folder of this name is the user's: not hidden, nor left by a system."""
    return not name.startswith(".") and name.lower() not in _LEFT_BEHIND


def below(folder: Path, suffixes: Sequence[str] | None = None, *, deep: bool = True) -> list[Path]:
    """The user's files in a folder, and those below it, in the order of their paths.

    Args:
      folder: where to look.
      suffixes: of the files, in lower case, such as ('.txt',); by default any.
      deep: look in the folders in it, too.
    """
    files = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if deep and is_data(name)]
        files += [Path(place, name) for name in names if is_data(name)]
    if suffixes is not None:
        files = [file for file in files if file.suffix.lower() in suffixes]
    return sorted(file for file in files if file.is_file())


def only_folder(place: Path) -> Path | None:
    """The single entry of a folder, if it is a folder that holds folders."""
    entries = _data_in(place)
    if len(entries) != 1:
        return None
    return entries[0] if any(each.is_dir() for each in _data_in(entries[0])) else None


def only_file(place: Path) -> Path | None:
    """The single entry of a folder, if it is a file."""
    entries = _data_in(place)
    return entries[0] if len(entries) == 1 and entries[0].is_file() else None


def _data_in(place: Path) -> list[Path]:
    entries = place.iterdir() if place.is_dir() else ()
    return [entry for entry in entries if is_data(entry.name)]


def same_name(name: str) -> str:
    """A name in the one Unicode form in which names are compared: macOS writes é as two signs."""
    return unicodedata.normalize("NFC", name)


def spelt(root: Path, name: str, exists: Callable[[Path], bool] = os.path.isfile) -> str | None:
    """The spelling of an existing file that annotations name, perhaps written by another system.

    Tried are the name, the name with slashes for backslashes, and both in the two Unicode forms and
    with the suffix in small or capital letters.

    Args:
      root: the folder that it is in.
      name: its path, relative to `root`.
      exists: whether a path is what is looked for; a function that accepts names of any length.
    """
    for form in (name, name.replace("\\", "/")):
        if ".." in form.split("/"):  # it might lead out of the folder
            continue
        stem, suffix = os.path.splitext(form)
        for cased in dict.fromkeys((form, stem + suffix.lower(), stem + suffix.upper())):
            for spelling in (cased, same_name(cased), unicodedata.normalize("NFD", cased)):
                if exists(root / spelling):
                    return spelling
    return None


def find(path: str, suffix: str, what: str) -> list[Path]:
    """The files that a path stands for, in the order of their names.

    Args:
      path: a file, a folder with files of this suffix in it or below, or a pattern.
      suffix: such as '.txt'.
      what: the name of the reader, for the message.

    Raises:
      UserError: no file matches.
    """
    place = Path(path).expanduser()
    matches = [place]
    if place.is_dir():
        matches = below(place, (suffix,))
    elif not place.is_file():
        named = set(place.parts)  # by the user, and so the user's
        matches = [
            file
            for file in map(Path, glob(str(place), recursive=True))
            if all(part in named or is_data(part) for part in file.parts)
        ]
    files = sorted(file for file in matches if file.is_file())
    if files:
        return files
    if place.is_dir():
        raise UserError(f"{what}: {path} has no {suffix} file; give a pattern, such as '{path}/*'")
    verb = " matches" if set("*?[") & set(path) else ""
    raise UserError(
        f"{what}: no file{verb} {path}; give a file, a folder with {suffix} files, or a "
        f"pattern such as 'folder/*{suffix}'"
    )


def read(file: Path, what: str, encoding: str | None = None) -> str:
    r"""The text of a file, without a byte order mark, its line ends '\n'.

    A mark of UTF-16 or UTF-32, as Excel's "Unicode text" begins with, says what the encoding is.

    Args:
      file: the file.
      what: the name of the reader, for the message.
      encoding: Python's name of the encoding that the user chose; None is UTF-8, without a choice.

    Raises:
      UserError: it cannot be read, is not text, or is in another encoding.
    """
    try:
        encoded = content(file.expanduser())
        if codecs.lookup(encoding or "utf-8").name == "utf-8":
            encoding = _marked(encoded) or encoding
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
            f"{what}: {file} is not text: it has a zero byte at {encoded.find(0)}; leave it out "
            "or, if it is text, save it as UTF-8"
        )
    return document.replace("\r\n", "\n").replace("\r", "\n")


def cells(
    text: str, delimiter: str, *, quotes: bool = True, trim: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, of cells of any length, and the line that each ends in; none is empty.

    Args:
      text: the table.
      delimiter: between two cells.
      quotes: a cell may stand in quotes; what follows them must be the delimiter.
      trim: blanks before a cell, and before its quotes, do not belong to it.

    Raises:
      UserError: a quote is not closed, or does not end its cell; the message begins with the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    rows = csv.reader(
        StringIO(text),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=quotes,
        skipinitialspace=trim,
    )
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as error:
        raise UserError(
            f"line {rows.line_num}: {error}; correct the quotes before it: a quote that opens a "
            "cell must also close it, and one within a cell is doubled"
        ) from None


def _marked(content: bytes) -> str | None:
    """The encoding that a byte order mark names; not UTF-8, which needs none."""
    return next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)


def _complaint(content: bytes, encoding: str | None, error: UnicodeError) -> str:
    place = f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else "its content"
    marked = _marked(content)
    if marked and marked == encoding:
        return f"begins as {marked} does, but is not: {place}; write it once more, in UTF-8"
    if not marked and b"\0" in content:
        return (
            f"is not text: {place} is not {encoding or 'UTF-8'}, and some bytes are 0; leave it out"
        )
    likely = marked or _likely(content)
    if encoding is None:
        return f"is not UTF-8: {place}; convert it, it may be {likely}"
    return f"is not {encoding}: {place}; try encoding={likely!r}"


def not_utf_8(file: Path) -> str | None:
    """The likely encoding of a text that is not UTF-8 and has no byte order mark; or None.

    Raises:
      OSError: it cannot be read.
    """
    encoded = content(file.expanduser())
    likely = None if _marked(encoded) or b"\0" in encoded else _likely(encoded)
    return None if likely == "utf-8" else likely


def _likely(content: bytes) -> str:
    """The first of the usual encodings that a text can be in; any text can be in the last."""
    return next(name for name in ("utf-8", "cp1252", "latin-1") if _fits(content, name))


def _fits(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
