"""The classes of images in a table: which image is of which class, and in which split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxdl.data.sources.box_files import inside
from jaxdl.data.sources.class_folders import Labelled
from jaxdl.data.sources.image_finder import ImageFinder
from jaxdl.data.sources.sheet import Sheet, likely_delimiter
from jaxdl.data.splits import NAMES, role_in
from jaxdl.data.user_files import reading
from jaxdl.errors import UserError, brief, printable, some

Labels = str | Sequence[str] | None  # the column of the classes, or one for each class

_USUAL = ("label", "class")  # of the column of classes
_LOOKED_AT = 100  # rows, for the column that names the images


def labelled(root: Path, tables: str | Mapping[str, str], label: Labels) -> dict[str, Labelled]:
    """The images that tables name, and their classes, by split.

    Of a single table, images in a folder that is called as a split are in this one.

    Args:
      root: the folder of the images and the tables.
      tables: the path of a table below it, or of one for each role, 'train' among them.
      label: the column of the classes, or several that are called as the classes, of which one is
        1 in each row and the others 0; by default the only one beside that of the images, or the
        one that is called label or class.

    Raises:
      UserError: a table cannot be read or names no images, an image is missing or in two rows, or a
        row has no class; the message names the line.
    """
    given = {"train": tables} if isinstance(tables, str) else {**tables}
    if not {"train"} <= {*given} <= {*NAMES}:
        raise UserError(
            f"images: labels={brief(given)}; name the table of 'train', and of 'validation' and "
            "'test' if there are any"
        )
    find, splits, seen = ImageFinder(root), dict[str, Labelled](), dict[str, str]()
    for role, name in given.items():
        file = root / inside(name, "images: labels", root)
        with reading("images", file):
            rows = _rows(find, read_labels(file), role, label)
        for image, _, where in rows:
            if image in seen:
                raise UserError(f"{where}: image {brief(image)} is also in {seen[image]}; keep one")
            seen[image] = where
        splits[role] = [(image, kind) for image, kind, _ in rows]
    find.tell_left_out("images", find.unused(seen), "no row of the labels names")
    return by_folder(splits["train"]) if len(given) == 1 else splits


def read_labels(file: Path) -> Sheet:
    """A table whose cells are divided by whatever divides its first lines."""
    return Sheet.read(str(file), likely_delimiter(str(file)))


def column_of_images(find: ImageFinder, sheet: Sheet) -> str | None:
    """The column of a table in which most images are named, or None if none names any."""
    named = {
        name: sum(bool(cell and find.named(cell)) for cell in {*sheet.cells(name)[:_LOOKED_AT]})
        for name in sheet.header
    }
    best = max(sheet.header, key=named.__getitem__)
    return best if named[best] else None


def by_folder(files: Labelled) -> dict[str, Labelled]:
    """The images by the split that their folder is called as; others are of the train split."""
    splits: dict[str, list[tuple[str, str]]] = {role: [] for role in NAMES}
    for image, kind in files:
        splits[role_in(Path(image).parent.name) or "train"].append((image, kind))
    given = {role: part for role, part in splits.items() if part}
    return {**given} if "train" in given else {"train": files}


def _rows(find: ImageFinder, sheet: Sheet, role: str, label: Labels) -> list[tuple[str, str, str]]:
    """The image of each row, best in a folder of the split; its class; and where it stands."""
    column = column_of_images(find, sheet)
    if column is None:
        raise UserError(
            f"images: {sheet.path}: no column names images below {find.folder}; its first row is "
            f"{brief(sheet.rows[0])}"
        )
    if find.named(column):
        raise UserError(
            f"images: {sheet.path} starts with a row ({', '.join(sheet.header)}), not with the "
            "names of the columns; write a first line with names"
        )
    rows = []
    kinds = _kinds(sheet, column, label)
    for i, (cell, kind) in enumerate(zip(sheet.cells(column), kinds, strict=True)):
        where = sheet.where(i)
        image = find.in_split(cell, role, where)
        if image is None:
            raise UserError(
                f"{where}: no image {brief(cell)} below {find.folder}; add it, or remove the row"
            )
        rows.append((image, kind, where))
    return rows


def _kinds(sheet: Sheet, images: str, label: Labels) -> list[str]:
    """The class of each row."""
    if label is not None and not isinstance(label, str):
        sheet.require([*label], [images], [])
        return sheet.flagged(label)
    numbers, classes = sheet.labels(_column_of_labels(sheet, images, label))
    return [classes[number] if classes else str(number) for number in numbers.tolist()]


def _column_of_labels(sheet: Sheet, images: str, label: str | None) -> str:
    others = [name for name in sheet.header if name != images]
    if label is not None:
        sheet.require([label], [images], [])
        return label
    usual = [name for name in others if name.lower() in _USUAL]
    if len(only := others if len(others) == 1 else usual) == 1:
        return only[0]
    raise UserError(
        f"images: {sheet.path}: which column is the class? set label=… to one of "
        f"{some([printable(name) for name in others], 20, ', ')}"
    )
