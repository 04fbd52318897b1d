"""Copies of what lies elsewhere, in the cache folder `remote`: one folder for each address.

    files/         the files, under the last name of the address
    brought.jsonl  a line for each that is whole: its path, and the size and tag that it had there
    partial/       what is being brought
    lock           held by the process that brings files

A file is moved into files/ when it is whole, and is then told of in brought.jsonl. So a copy that
was interrupted goes on where it was, and one that is whole is what the storage lists, no more and
no less.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from jaxdl import caches
from jaxdl.errors import UserError, printable
from jaxdl.files import append_bytes, open_plain, replace_bytes, sha256_of, unwritable
from jaxdl.remote.storage import Entry, Stamp, Storage, quietly

_log = logging.getLogger("jaxdl")

_AT_ONCE = 16  # files
_GLANCE = 10  # seconds between two lines about progress

Brought = dict[str, Stamp]  # path of a file that is whole -> what it was there


def mirrored(storage: Storage) -> Path:
    """The path of a whole copy of what an address stands for.

    Raises:
      UserError: it cannot be read, or there is no room for it.
    """
    cache = caches.usable("remote")
    if cache is None:
        raise UserError(
            f"{storage.address}: files are downloaded to the cache, but there is none; set "
            "XDG_CACHE_HOME to a folder that only you can write"
        )
    place = cache / _slug(storage.address)
    try:
        with quietly():
            entries = storage.files()
            _check_names(entries, storage.address)
            with _locked(place, storage.address):
                _bring(storage, entries, place)
    except OSError as error:
        raise unwritable(place, error, "make room, or set XDG_CACHE_HOME") from None
    files = place / "files"
    wild = storage.name not in entries and not (files / storage.name).is_dir()
    return Path(glob.escape(str(files)), storage.name) if wild else files / storage.name


def _bring(storage: Storage, entries: Mapping[str, Entry], place: Path) -> None:
    """Make a copy whole."""
    files, journal, partial = place / "files", place / "brought.jsonl", place / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    told = _read(journal)
    brought = _kept(told, entries, files)
    missing = {path: entry for path, entry in entries.items() if path not in brought}
    if brought != told:  # before anything is removed
        replace_bytes(journal, b"".join(_line(path, stamp) for path, stamp in brought.items()))
    _remove_others(files, brought)
    if not missing:
        return
    size = sum(entry.stamp.size or 0 for entry in missing.values())
    _check_room(storage.address, size, place)
    _log.warning(
        "%s: downloading %s of %s files, %.1f MB, to %s",
        *(storage.address, f"{len(missing):,}", f"{len(entries):,}", size / 1e6, files),
    )
    partial.mkdir()
    _bring_all(storage, missing, place)
    partial.rmdir()
    if {k: v.stamp for k, v in storage.files().items()} != {k: v.stamp for k, v in entries.items()}:
        raise UserError(f"{storage.address}: changed while it was read; run again")


def _bring_all(storage: Storage, missing: Mapping[str, Entry], place: Path) -> None:
    told, done = time.monotonic(), 0
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="remote")
    try:
        tasks = {pool.submit(_bring_one, storage, missing[p], p, place): p for p in missing}
        for task in as_completed(tasks):
            path, done = tasks[task], done + 1
            task.result()
            append_bytes(place / "brought.jsonl", _line(path, missing[path].stamp))
            if time.monotonic() - told > _GLANCE:
                told = time.monotonic()
                _log.warning("%s: %s of %s", storage.address, f"{done:,}", f"{len(missing):,}")
    finally:
        pool.shutdown(cancel_futures=True)


def _bring_one(storage: Storage, entry: Entry, path: str, place: Path) -> None:
    """Bring a file, whole or not at all."""
    partial, final = place / "partial" / secrets.token_hex(8), place / "files" / path
    storage.get(entry, str(partial))
    size = partial.stat().st_size
    if entry.stamp.size is not None and size != entry.stamp.size:
        raise UserError(
            f"{storage.address}: only {size:,} of the {entry.stamp.size:,} bytes of "
            f"{printable(path)} arrived; run again"
        )
    if entry.sha256 is not None and sha256_of(partial) != entry.sha256:
        raise UserError(
            f"{storage.address}: {printable(path)} is not what its published SHA-256 says; run "
            "again"
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(final)


def _kept(brought: Brought, entries: Mapping[str, Entry], files: Path) -> Brought:
    """Those files of a copy that are as they are there; of the others not even the tags are."""
    kept = {}
    for path, stamp in brought.items():
        if path not in entries or stamp != entries[path].stamp or stamp.tag is None:
            continue
        with contextlib.suppress(OSError):
            if (files / path).stat().st_size == stamp.size:
                kept[path] = stamp
    return kept


def _remove_others(files: Path, brought: Brought) -> None:
    """Remove what is not, or no longer, there."""
    for folder, _, names in os.walk(files, topdown=False):
        for name in names:
            file = Path(folder, name)
            if file.relative_to(files).as_posix() not in brought:
                file.unlink()
        with contextlib.suppress(OSError):  # it holds files
            os.rmdir(folder)


def _check_names(entries: Mapping[str, Entry], address: str) -> None:
    """Refuse what cannot be the path of a file here; keys of a bucket can be any text."""
    for path in entries:
        parts = path.split("/")
        inner = any(folder in entries for folder in _parents(path))
        if inner or not {"", ".", ".."}.isdisjoint(parts) or "\0" in path or "\\" in path:
            raise UserError(
                f"{address}: {printable(path)!r} cannot be a file here; rename it there, or name "
                "a folder without it"
            )


def _parents(path: str) -> list[str]:
    return [path[: match.start()] for match in re.finditer("/", path)]


def _check_room(address: str, size: int, place: Path) -> None:
    free = shutil.disk_usage(place).free
    if size > free:
        raise UserError(
            f"{address}: takes {size / 1e9:.1f} GB, but {place} has {free / 1e9:.1f} GB free; make "
            "room, name a part of it, or set XDG_CACHE_HOME to a folder with more"
        )


@contextlib.contextmanager
def _locked(place: Path, address: str) -> Iterator[None]:
    """The copy is this process's; wait while another brings files."""
    import fcntl

    place.mkdir(mode=0o700, exist_ok=True)
    with open_plain(place / "lock", os.O_RDWR) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("%s: waiting for another process that downloads it", address)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(journal: Path) -> Brought:
    """What a journal tells; a line that is not whole, of a killed process, tells nothing."""
    brought = {}
    if journal.exists():
        for line in journal.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                path, size, tag = json.loads(line)
                brought[path] = Stamp(size, tag)
    return brought


def _line(path: str, stamp: Stamp) -> bytes:
    return json.dumps([path, *stamp]).encode() + b"\n"


def _slug(address: str) -> str:
    """The name of an address's folder, readable in messages."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", address.partition("?")[0])[:80].strip("-.")
    return f"{plain}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
