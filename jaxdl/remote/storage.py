"""Storage by its address, through fsspec: what is in there, and a file of it.

fsspec and what it needs for a scheme are the extra `remote`, imported when an address is read.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import posixpath
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote, urlsplit

from jaxdl.errors import UserError, first_line, printable
from jaxdl.files import ADDRESS


class _Scheme(NamedTuple):
    """The package that reads a scheme, and how credentials are given to it."""

    package: str
    credentials: str


_SCHEMES = {
    "s3": _Scheme("s3fs", "aws configure, or FSSPEC_S3_ANON=true where everybody may read"),
    "gs": _Scheme("gcsfs", "gcloud auth application-default login, or FSSPEC_GS_TOKEN=anon where "
                  "everybody may read"),
    "hf": _Scheme("huggingface_hub", "hf auth login, or HF_TOKEN"),
    "https": _Scheme("aiohttp", "a link that needs none"),
    "http": _Scheme("aiohttp", "a link that needs none"),
}  # fmt: skip
_LINKS = ("http", "https")  # of one file: they list no folders
_TIMEOUT = 20  # seconds for the first answer
_TAGS = ("ETag", "etag", "md5Hash", "blob_id", "Last-Modified", "updated", "created")
# Types of errors, here or among their causes, by the words of their libraries.
_NO_NETWORK = {"ClientConnectionError", "ConnectError", "ConnectionError", "ConnectTimeoutError",
               "HTTPClientError", "TimeoutError", "TransportError"}  # fmt: skip
_NO_RIGHT = {"GatedRepoError", "GoogleAuthError", "NoCredentialsError", "PartialCredentialsError",
             "PermissionError"}  # fmt: skip
_REFUSED = {401, 403}  # HTTP's numbers
_LIBRARIES = ("aiobotocore", "fsspec", "gcsfs", "google.auth", "huggingface_hub", "s3fs")

_Answer = TypeVar("_Answer")


class Stamp(NamedTuple):
    """What tells one content of a file from another; None where the storage does not say."""

    size: int | None
    tag: str | None


class Entry(NamedTuple):
    """A file in there."""

    path: str
    stamp: Stamp
    sha256: str | None = None  # where the storage publishes it


@dataclass(frozen=True)
class Storage:
    """An address, and the file system that it is of.

    Attributes:
      address: as the user gives it.
      scheme: 's3', 'gs', 'hf', 'https' or 'http'.
      path: of the file, the folder or the pattern, as fsspec has it.
    """

    address: str
    scheme: str
    path: str

    @classmethod
    def of(cls, address: str) -> Storage:
        """From an address.

        Raises:
          UserError: the scheme is unknown, its package is not installed, or no place is named.
        """
        match = ADDRESS.match(address)
        scheme = address.partition(":")[0].lower()
        if scheme not in _SCHEMES:
            local = "; leave file:// out" if scheme == "file" else ", or a local path"
            raise UserError(
                f"{address}: {scheme}:// is not supported; give s3://, gs://, hf:// or https://{local}"
            )
        place = "" if match is None else address[match.end() :].strip("/")
        named = place.partition("/")[2] if scheme in _LINKS else place
        if match is None or match[0].count("/") != 2 or not named:
            raise UserError(f"{address}: names no file; write it as {scheme}://place/file")
        package = _SCHEMES[scheme].package
        for needed in ("fsspec", package):
            if importlib.util.find_spec(needed) is None:
                raise UserError(
                    f"{address}: the package {needed} is not installed; "
                    "pip install -e '.[remote]' in the checkout"
                )
        import fsspec

        with _told(address, scheme):
            kind = fsspec.get_filesystem_class(scheme)
        return cls(address, scheme, kind._strip_protocol(f"{scheme}://{address[match.end() :]}"))

    @functools.cached_property
    def system(self) -> Any:
        """fsspec's; it may ask for credentials in the network."""
        import fsspec

        if self.scheme == "hf":  # a bar for each file
            from huggingface_hub.utils import disable_progress_bars

            disable_progress_bars()
        return fsspec.filesystem(self.scheme)

    @property
    def name(self) -> str:
        """The name of the file or folder; of a pattern, what follows the folder of all matches."""
        return self._below(self.path)

    def _below(self, path: str) -> str:
        if self.scheme in _LINKS:
            return posixpath.basename(unquote(urlsplit(path).path).rstrip("/"))
        folder = posixpath.dirname(re.split(r"[*?[]", self.path)[0])
        return posixpath.relpath(path, folder or ".")

    def files(self) -> dict[str, Entry]:
        """All files that the address stands for, by their paths, which begin as `name` does.

        Raises:
          UserError: there is none, or they cannot be listed.
        """
        with _told(self.address, self.scheme):
            found = _soon(self.address, self.scheme, self._first)
            if len(found) == 1 and (root := next(iter(found.values())))["type"] == "directory":
                found = self.system.find(root["name"], detail=True)
        entries = {
            self._below(path): _entry(path, about)
            for path, about in found.items()
            if about["type"] == "file" and not path.endswith("/")  # which marks a folder
        }
        if not entries:
            raise UserError(f"{self.address}: there is no file; correct the address")
        return entries

    def _first(self) -> dict[str, Any]:
        """The file or folder of this path, or else all that match it as a pattern."""
        self.system.invalidate_cache()  # it may remember an older listing
        if set("*?[") & set(self.path) and not self.system.exists(self.path):
            return self.system.glob(self.path, detail=True)
        return {self.path: self.system.info(self.path)}

    def get(self, entry: Entry, place: str) -> None:
        """Bring a file to a place of this machine.

        Raises:
          UserError: it cannot be read to its end.
        """
        inside = entry.path.removeprefix(f"{self.scheme}:").lstrip("/")
        with _told(f"{self.scheme}://{inside}", self.scheme):
            self.system.get_file(entry.path, place)


def _entry(path: str, about: Mapping[str, Any]) -> Entry:
    tag = next((str(about[name]) for name in _TAGS if about.get(name)), None)
    published = about.get("lfs")  # of the hub
    return Entry(path, Stamp(about.get("size"), tag), published and published["sha256"])


def _soon(address: str, scheme: str, ask: Callable[[], _Answer]) -> _Answer:
    """The answer of a function. Libraries try again for minutes where there is no network."""
    answers: queue.Queue[tuple[_Answer | None, Exception | None]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=_TIMEOUT)
    except queue.Empty:
        raise UserError(
            f"{address}: no answer within {_TIMEOUT} seconds; check the network, and the "
            f"credentials: {_SCHEMES[scheme].credentials}"
        ) from None
    if error is not None:
        raise error
    return cast(_Answer, answer)


@contextlib.contextmanager
def _told(address: str, scheme: str) -> Iterator[None]:
    """A UserError in place of any other exception, of which these libraries have many types."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{address}: {_why(error, _SCHEMES[scheme])}") from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No logs of the libraries, which have a traceback for each try."""
    levels = {name: logging.getLogger(name).level for name in _LIBRARIES}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _why(error: Exception, scheme: _Scheme) -> str:
    """What is wrong, and the remedy."""
    causes = [error]
    while isinstance(causes[-1].__cause__, Exception):
        causes.append(causes[-1].__cause__)
    types = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    codes = {getattr(cause, name, None) for cause in causes for name in ("status", "status_code")}
    text = printable(first_line(causes[-1], 200))
    if types & _NO_NETWORK:
        return f"cannot be reached ({text}); check the network, or download it yourself"
    if types & _NO_RIGHT or codes & _REFUSED:
        return f"may not be read ({text}); give credentials: {scheme.credentials}"
    if "FileNotFoundError" in types or 404 in codes:
        return "no such file, folder or bucket; correct the address"
    return f"cannot be read ({type(error).__name__}: {text}); correct it, or copy it here"
