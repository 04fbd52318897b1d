"""Texts in folders, one folder for each class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxdl.data.sources.class_folders import ClassFolders, Labelled
from jaxdl.data.sources.texts import documents
from jaxdl.data.table import Table

SUFFIXES = (".txt", "")  # the files of 20 Newsgroups have none


def text_folders(
    path: str,
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
    encoding: str = "utf-8",
    splits: Mapping[str, str] | None = None,
) -> dict[str, Table]:
    """Texts in `path/train/CLASS/…`, `path/test/CLASS/…`, `path/val/CLASS/…`, or `path/CLASS/…`.

    A text is a file that ends in .txt or has no suffix. Without folders for the splits, a hash of
    its path decides the split of a text, so it stays there when others are added. Classes are
    numbered in alphabetical order; a folder `unsup` or `unlabeled` is not a class. Empty texts are
    left out.

    Args:
      path: the folder.
      test_fraction: expected share of the test split if it has no folder; 0 for none. By default
        0.2 of `path/CLASS/…`, and 0 of `path/train/…`.
      validation_fraction: likewise for the validation split; by default 0.
      encoding: encoding of the files, as Python names it, such as 'cp1252'.
      splits: role -> folder, such as {'train': 'fit', 'test': 'held_out'}; {} if all folders are
        classes. By default folders with the usual names: train or training, val, valid, validation,
        validate or dev, test or testing.

    Returns:
      `text` (N,) of str, and `label` (N,) int32; `Table.classes` are the folders' names.

    Raises:
      UserError: a folder is missing, there are no classes, a class has no text, or a file is not
        text or in another encoding.
    """
    root = Path(path).expanduser()
    folders = ClassFolders(root, "text_folders", "text", SUFFIXES, _is_text, strays=True)
    parts = folders.split(splits, test_fraction, validation_fraction)
    classes = tuple(sorted({name for _, name in parts["train"]}))
    texts = documents(
        [root / file for files in parts.values() for file, _ in files], encoding, "text_folders"
    )
    parts = {role: [i for i in files if root / i[0] in texts] for role, files in parts.items()}
    folders.require_examples(parts, classes)
    return {role: _table(root, role, files, classes, texts) for role, files in parts.items()}


def _is_text(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _table(
    root: Path,
    role: str,
    files: Labelled,
    classes: tuple[str, ...],
    texts: Mapping[Path, str],
) -> Table:
    number = {name: i for i, name in enumerate(classes)}
    label = np.array([number[name] for _, name in files], np.int32)
    text = np.array([texts[root / file] for file, _ in files], object)
    return Table({"text": text, "label": label}, f"text_folders: {root} {role}", classes)
