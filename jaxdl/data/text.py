"""Texts in a user's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxdl.data import documents
from jaxdl.data.splits import require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError


def text(
    path: str,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.0,
    encoding: str = "utf-8",
) -> dict[str, Table]:
    """Text files, a document each, of which the last characters are held out.

    The validation split follows the train split and the test split follows that, through all
    files in the order of their names, as char-rnn splits (Karpathy 2015): a file in which one ends
    and the next begins gives both a document.

    Args:
      path: a file, a folder with .txt files in it or below, or a pattern such as 'plays/*.txt'.
      validation_fraction: share of the characters for the validation split; 0 for none.
      test_fraction: the same of the test split.
      encoding: of the files, by Python's name for it.

    Returns:
      `text` (N,), a str a document; line ends are '\\n'.

    Raises:
      UserError: no such file, one that is empty, binary or in another encoding, or too little text
        to split.
    """
    require_fractions("text", test_fraction, validation_fraction)
    texts = [_read(file, encoding) for file in documents.find(path, ".txt", "text")]
    return split(texts, validation_fraction, test_fraction, f"text: {path}")


def split(texts: list[str], validation: float, test: float, where: str) -> dict[str, Table]:
    """The last shares of the characters of all documents, in order, as validation and test."""
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
                    f"{where}: {total} characters leave none for {role}; add text or change the "
                    "fractions"
                )
            splits[role] = Table({"text": np.array(parts, object)}, f"{where} {role}")
        start = stop
    return splits


def _between(texts: list[str], start: int, stop: int) -> list[str]:
    """What lies between two places in the row of all texts; a blank end is none."""
    parts, at = [], 0
    for text in texts:
        parts.append(text[max(start - at, 0) : max(stop - at, 0)])
        at += len(text)
    return [part for part in parts if part.strip()]


def _read(file: Path, encoding: str) -> str:
    with documents.reading("text", file):
        document = documents.read(file, "text", encoding)
    if not document.strip():
        size = file.stat().st_size
        raise UserError(f"text: {file} has no text but {size} bytes of blanks; remove it")
    return document
