"""Images with boxes in tables: a row for each object."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxdl.data import user_files
from jaxdl.data.images.annotations import (
    Annotated,
    Corners,
    Degenerate,
    Objects,
    Outside,
    require_size,
    tables,
)
from jaxdl.data.images.frame import Size
from jaxdl.data.images.lazy import EncodedFiles
from jaxdl.data.sources import box_files
from jaxdl.data.sources.image_finder import ImageFinder
from jaxdl.data.sources.label_tables import column_of_images
from jaxdl.data.sources.sheet import MISSING, TABLES, TYPED, Sheet, is_number, likely_delimiter
from jaxdl.data.splits import UNSPLIT_TEST, by_role, fill_up
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable, some

_log = logging.getLogger("jaxdl")

# Names of columns, in lower case and with letters and digits alone.
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
_SIDES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
)
_LISTS = ("bbox", "box", "boundingbox")  # of [x, y, width, height]
_CLASSES = (  # the likeliest first; names before numbers
    *("class", "classname", "label", "labelname", "category", "categoryname", "cls", "classes"),
    *("species", "objectclass", "classid", "labelid", "categoryid"),
)
_SHAPES = (("height", "width"), ("imageheight", "imagewidth"))
_ONLY_CLASS = "object"  # where no column tells classes
_WITHOUT_HEADER = ("path", "x1", "y1", "x2", "y2", "class")  # as keras-retinanet has it


def csv_boxes(
    path: str,
    size: Size,
    train: str,
    validation: str | None = None,
    test: str | None = None,
    degenerate: Degenerate = "refuse",
    lazy: bool = False,
    outside: Outside = "refuse",
    upright: bool = False,
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
) -> dict[str, Table]:
    """Images with boxes in a table for each split, with a row for each object.

    A row has the image, with or without suffix and folders; the box, in pixels; and the class. Its
    columns are those of TensorFlow's tools and Roboflow (`filename`, `xmin`, `ymin`, `xmax`,
    `ymax`, `class`), `x1`, `y1`, `x2`, `y2`, or `x`, `y`, `width`, `height`, or `bbox` with
    "[x, y, width, height]"; without a first line of names path, x1, y1, x2, y2, class. Without a
    column of classes, by a name such as class, label or class_id, all are of one. With corners or
    `bbox`, `width` and `height` are the image's. A row whose box is empty is an image without
    objects.

    Args:
      path: the folder of the images and the tables.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      train: path, below `path`, of the table of the train split, such as 'train/_annotations.csv'.
      validation: that of the validation split; None for no validation split.
      test: that of the test split; None for no test split.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images when they are needed, for data that does not fit in memory. A damaged
        image, or one of another size, is then only noticed when it is needed.
      outside: refuse a box that is more than two pixels outside its image, or clip it.
      upright: the boxes are of the images rotated as their Exif notes say, as viewers show them.
      test_fraction: expected share of the test split, 0 for none, where the data has none. By
        default 0.2 of a single table, and 0 of several.
      validation_fraction: likewise for the validation split; by default 0.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a table has other columns; an image is missing, in two splits, damaged or of
        another size; a class is not in the train split, or a box not valid. The message names the
        line.
    """
    require_size("csv_boxes", size)
    root = box_files.folder(path, "csv_boxes")
    names = {"train": train, "validation": validation, "test": test}
    files = {
        role: root / box_files.inside(name, f"csv_boxes: {role}", root)
        for role, name in names.items()
        if name is not None
    }
    find, given = ImageFinder(root), dict[str, list[_Image]]()
    for role, file in files.items():
        with user_files.reading("csv_boxes", file):
            given[role] = _images(find, read_boxes(file), role)
    # Whether an image without a row shows no object is not known.
    unused = find.unused(image.path for part in given.values() for image in part)
    empty = "; one that shows no object needs a row with an empty box"
    find.tell_left_out("csv_boxes", unused, "no row names", empty)
    if test_fraction is None and [*files] == ["train"]:
        test_fraction = UNSPLIT_TEST
    parts = fill_up(
        given, lambda image: image.path, test_fraction, validation_fraction, "csv_boxes"
    )
    encoded = {r: EncodedFiles(root, [image.path for image in part]) for r, part in parts.items()}
    box_files.require_disjoint(encoded, "csv_boxes")
    classes = sorted({each.name for image in parts["train"] for each in image.objects})
    splits = {
        role: Annotated(
            encoded[role],
            [image.labelled(classes, encoded[role], i, upright) for i, image in enumerate(part)],
            f"csv_boxes: {files.get(role, files['train'])}",
            upright,
        )
        for role, part in parts.items()
    }
    return tables(splits, tuple(classes), size, degenerate, lazy, outside)


def usual_tables(root: Path) -> dict[str, str]:
    """The tables of boxes by role, in a folder or in those in it; {} if there are none.

    Raises:
      UserError: several are of one split, or none of train.
    """
    find = ImageFinder(root)
    places = [root, *(folder for folder in sorted(root.iterdir()) if folder.is_dir())]
    files = [f for place in places for f in user_files.below(place, TABLES, deep=False)]
    if not find.images:
        return {}
    files = [file for file in files if _is_of_boxes(find, file)]
    roles = {"train": files[0]} if len(files) == 1 else by_role(files, root)
    if files and not roles:
        raise UserError(
            f"csv_boxes: {root} has {len(files)} tables of boxes, "
            f"{some([file.name for file in files], 3, ', ')}; call that to train on train.csv"
        )
    return {role: str(file.relative_to(root)) for role, file in roles.items()}


def _is_of_boxes(find: ImageFinder, file: Path) -> bool:
    try:
        sheet = read_boxes(file)
    except UserError:  # of other things, or of none
        return False
    images = column_of_images(find, sheet)
    return images is not None and _Columns.of(sheet, images) is not None


def read_boxes(file: Path) -> Sheet:
    """A table, perhaps without names of its columns."""
    delimiter, header = likely_delimiter(str(file)), None
    if not file.name.lower().endswith(TYPED):
        rows = user_files.cells(user_files.read(file, "csv_boxes"), delimiter)
        first = next(rows, (0, []))[1]
        box = [cell.strip() for cell in first[1:5]]
        if len(first) == len(_WITHOUT_HEADER) and (all(map(is_number, box)) or not any(box)):
            header = _WITHOUT_HEADER
    return Sheet.read(str(file), delimiter, header=header)


@dataclass(frozen=True)
class _Columns:
    """The columns of a table of boxes.

    Attributes:
      box: those of the four numbers, or the one of a list of them.
      corners: whether the numbers are (x₁, y₁, x₂, y₂), not (x, y, width, height).
      label: that of the classes, if any.
      shape: those of the height and width of the image, if any.
    """

    box: tuple[str, ...]
    corners: bool
    label: str | None
    shape: tuple[str, ...]

    @classmethod
    def of(cls, sheet: Sheet, images: str | None) -> _Columns | None:
        """The columns of boxes by their names, not that of the images; None if there are none."""
        names = [name for name in sheet.header if name != images]
        plain = {re.sub("[^a-z0-9]", "", name.lower()): name for name in names}

        def first(choices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
            found = [names for names in choices if {*names} <= plain.keys()]
            return tuple(plain[name] for name in found[0]) if found else ()

        corners, listed = first(_CORNERS), first([(name,) for name in _LISTS])
        box = corners or listed or first(_SIDES)
        label = first([(name,) for name in _CLASSES])
        shape = first(_SHAPES if corners or listed else _SHAPES[1:])
        return cls(box, bool(corners), label[0] if label else None, shape) if box else None


@dataclass(frozen=True)
class _Object:
    """An object: the name of its class, its box in pixels, and where it stands."""

    name: str
    box: Corners
    where: str


@dataclass(frozen=True)
class _Image:
    """An image: its path, where it first stands, its height and width if told, and its objects."""

    path: str
    where: str
    shape: Size | None
    objects: list[_Object]

    def labelled(
        self, classes: Sequence[str], images: EncodedFiles, i: int, upright: bool
    ) -> Objects:
        """The objects with their labels, where this is the i-th of some images."""
        boxes = [each.box for each in self.objects]
        shape = self.shape or box_files.unstated_shape(images, i, boxes, upright)
        objects = Objects(self.where, shape)
        for each in self.objects:
            if each.name not in classes:
                raise UserError(
                    f"{each.where}: class {brief(each.name)} is unknown; those in the train split "
                    f"are {some([printable(name) for name in classes], 20, ', ')}"
                )
            objects.add(each.box, classes.index(each.name), False, each.where)
        return objects


def _images(find: ImageFinder, sheet: Sheet, role: str) -> list[_Image]:
    """The images of a table, each with its objects."""
    column = column_of_images(find, sheet)
    columns = _Columns.of(sheet, column)
    if columns is None:
        raise UserError(
            f"csv_boxes: {sheet.path}: no columns of boxes among {brief(sheet.header)}; call them "
            "xmin, ymin, xmax and ymax, or x, y, width and height"
        )
    if column is None:
        raise UserError(
            f"csv_boxes: {sheet.path}: no column names images below {find.folder}; its first row "
            f"is {brief(sheet.rows[0])}"
        )
    if columns.label is None:
        used = (column, *columns.box, *columns.shape)
        others = [printable(name) for name in sheet.header if name not in used]
        _log.warning(
            "csv_boxes: %s: all objects are of one class, as no column is called class; not read: "
            "%s", sheet.path, some(others, 10, ", ") or "none",
        )  # fmt: skip
    images: dict[str, _Image] = {}
    for i, cells in enumerate(sheet.rows):
        row, where = dict(zip(sheet.header, cells, strict=True)), sheet.where(i)
        path = find.in_split(row[column], role, where)
        if path is None:
            raise UserError(
                f"{where}: no image {brief(row[column])} below {find.folder}; add it, or remove "
                "the row"
            )
        image = images.setdefault(path, _Image(path, where, _shape(row, columns, where), []))
        if any(row[name].lower() not in MISSING for name in columns.box):
            image.objects.append(_object(row, columns, where))
    return [*images.values()]


def _shape(row: Mapping[str, str], columns: _Columns, where: str) -> Size | None:
    """Height and width of the image; None where the row does not tell them."""
    cells = [row[name] for name in columns.shape]
    if not cells or any(cell in ("", "0") for cell in cells):
        return None
    height, width = (box_files.whole(row[name], name, where) for name in columns.shape)
    return height, width


def _object(row: Mapping[str, str], columns: _Columns, where: str) -> _Object:
    name = _ONLY_CLASS if columns.label is None else user_files.same_name(row[columns.label])
    if not name:
        raise UserError(f"{where}: an object without a class; name it in {columns.label!r}")
    if len(columns.box) == 1:
        (bbox,) = columns.box
        numbers = [(part, bbox) for part in re.split(r"[\s,]+", row[bbox].strip("[]() "))]
    else:
        numbers = [(row[side], side) for side in columns.box]
    if len(numbers) != 4:
        raise UserError(f"{where}: {bbox} {brief(row[bbox])}; it must be [x, y, width, height]")
    x, y, right, lower = (box_files.number(cell, side, where) for cell, side in numbers)
    box = (x, y, right, lower) if columns.corners else (x, y, x + right, y + lower)
    return _Object(name, box, where)
