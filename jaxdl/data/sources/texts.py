"""Texts in a user's own files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdl.data import user_files
from jaxdl.data.splits import ROLES, require_fractions, role_in
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, some

_log = logging.getLogger("jaxdl")


def text(
    path: str,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.0,
    encoding: str = "utf-8",
) -> dict[str, Table]:
    """Text files, one document each; the last characters are held out.

    All files, in the order of their names, are one long text: first the train split, then the
    validation split, then the test split, as in char-rnn (Karpathy 2015). A file that a border
    falls into gives a document to both splits. If all files are in folders with the names of
    splits, such as train/ and test/, these are the splits, and only missing ones are held out from
    train.

    Args:
      path: a file, a folder with .txt files in it or below, or a pattern such as 'plays/*.txt'.
      validation_fraction: share of the characters for the validation split; 0 for none.
      test_fraction: share of the characters for the test split; 0 for none.
      encoding: encoding of the files, as Python names it, such as 'cp1252'.

    Returns:
      `text` (N,) of str, one for each document; line ends are '\\n'.

    Raises:
      UserError: no file matches, one is empty, binary or in another encoding, or there is too
        little text to split.
    """
    require_fractions("text", test_fraction, validation_fraction)
    files = user_files.find(path, ".txt", "text")
    given = _by_folder(Path(path).expanduser(), files)
    if not given:
        _tell_of_splits(files)
        given = {"train": files}
    texts = {role: [*documents(part, encoding).values()] for role, part in given.items()}
    where = f"text: {path}"
    validation = 0.0 if "validation" in texts else validation_fraction
    test = 0.0 if "test" in texts else test_fraction
    return split(texts.pop("train"), validation, test, where) | {
        role: Table({"text": np.array(each, object)}, f"{where} {role}")
        for role, each in texts.items()
    }


def _by_folder(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split, if all are in folders with the names of splits."""
    given: dict[str, list[Path]] = {}
    for file in files:
        within = file.relative_to(root).parts if root.is_dir() else (file.name,)
        role = ROLES.get(within[0].lower()) if len(within) > 1 else None
        given.setdefault(role or "", []).append(file)
    return {} if "" in given or "train" not in given else given


def _tell_of_splits(files: Sequence[Path]) -> None:
    """Warn of files with the names of splits: they are read as one text all the same."""
    role_of = {file.name: role for file in files if (role := role_in(file.name))}
    if len({*role_of.values()}) > 1:
        _log.warning(
            "text: %s have the names of splits, but all files are read as one text, whose end is "
            "held out; name the files to learn from, such as 'folder/*train*'",
            brief([*role_of]),
        )


def split(texts: list[str], validation: float, test: float, where: str) -> dict[str, Table]:
    """Split the characters of all documents, in order, into train, validation and test."""
    total = sum(map(len, texts))
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    stops = {"train": total - round(total * validation) - round(total * test)}
    stops |= {"validation": total - round(total * test), "test": total}
    splits: dict[str, Table] = {}
    start = 0
    for role, stop in stops.items():
        if shares[role] > 0:
            parts = _between(texts, start, stop)
            if not parts:
                raise UserError(
                    f"{where}: {total} characters leave none for the {role} split; add text or "
                    "change the fractions"
                )
            splits[role] = Table({"text": np.array(parts, object)}, f"{where} {role}")
        start = stop
    return splits


def _between(texts: list[str], start: int, stop: int) -> list[str]:
    """The part of each text between two positions in all of them; blank parts are dropped."""
    parts, offset = [], 0
    for text in texts:
        parts.append(text[max(start - offset, 0) : max(stop - offset, 0)])
        offset += len(text)
    return [part for part in parts if part.strip()]


def documents(files: Sequence[Path], encoding: str, source: str = "text") -> dict[Path, str]:
    """The texts of files; empty ones are left out, with a warning, if there are several.

    Args:
      files: at least one.
      encoding: their encoding, as Python names it.
      source: the name of the source that reads them, for messages.

    Raises:
      UserError: one cannot be read, or none holds anything.
    """
    texts = {file: _read(file, encoding, source) for file in files}
    blank = [file for file, document in texts.items() if not document.strip()]
    if len(blank) == len(files):
        size = blank[0].stat().st_size
        raise UserError(f"{source}: {blank[0]} has only blanks ({size} bytes); remove it")
    if blank:
        told = some(blank, between=", ")
        _log.warning("%s: left out empty files: %s", source, told)
    return {file: document for file, document in texts.items() if document.strip()}


def _read(file: Path, encoding: str, source: str) -> str:
    """A document, without the line end of its last line if it has no other line."""
    with user_files.reading(source, file):
        document = user_files.read(file, source, encoding)
    single = document.endswith("\n") and document.count("\n") == 1
    return document[:-1] if single else document
