"""What a folder of images is: in folders by class, or with a table of their classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Size
from jaxdl.data.recognition.recognized import Recognized, counted, each_class, named
from jaxdl.data.recognition.table import (
    USUAL_TARGETS,
    are_one_class,
    flags_among,
    has,
    likeliest,
    role_of,
)
from jaxdl.data.sources.image_finder import ImageFinder
from jaxdl.data.sources.image_folders import OF_MASK, images
from jaxdl.data.sources.label_names import NUMBERED
from jaxdl.data.sources.label_tables import column_of_images, read_labels
from jaxdl.data.sources.sheet import TABLES, Sheet
from jaxdl.data.splits import UNSPLIT_TEST, by_role, role_in
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief

_EACH = 5  # images of a class on average, at least, if their names are to tell the class
_FEWEST = 10  # times the rows of a table of classes, to be more than there are images
_GUESSED = "by its name or place; see --target"
_SMALLEST = 8  # pixels a side
_IN_MEMORY = 64  # pixels a side: larger images are decoded when they are needed
_LOOKED_AT = 50  # images, for their size and colors
# Folders of pictures of classes pixel by pixel, and of the images that these are of.
_MASKS = re.compile(
    r"(?:.*[ _-])?(?:masks?|segmentations?|segmentationclass|labelmaps?|trimaps?|annotations?|"
    r"ground[ _-]?truths?|gt)",
    re.I,
)
_PICTURED = re.compile(r"(?:.*[ _-])?(?:images?|imgs?|jpegimages|photos?|inputs?)", re.I)


def recognize_images(
    path: str,
    place: Path,
    pictures: Sequence[Path],
    texts: Sequence[Path],
    label: str | None = None,
) -> Recognized:
    """Images in folders by class, or with a table of their classes.

    Args:
      path: of the folder, as it was given.
      place: the same, with ~ expanded.
      pictures: the images in it and below.
      texts: the texts there.
      label: of a table, the column of the classes; by default as it looks.

    Raises:
      UserError: the source refuses them, or no column of the table is their classes.
    """
    labels, notes = _labels(place, label)
    if not labels and label is None and _named_by_class(place, pictures):
        labels = {"label_in_name": NUMBERED}
        notes = ["reads the classes in the names of the images, before their numbers", *notes]
    above = {file.relative_to(place).parts[:-2][:1] for file in pictures}
    if not labels and len(above) == 1 and (only := above.pop()) and not role_in(only[0]):
        found = recognize_images(str(Path(path, *only)), Path(place, *only), pictures, [], label)
        return replace(found, notes=(*found.notes, f"does not read what is beside {only[0]}"))
    if label is not None and not labels:
        raise UserError(f"{path}: no table names its images; leave --target out")
    found = _images(path, labels, pictures)
    if texts:
        notes.append(f"leaves out the texts in it: {named([file.name for file in texts])}")
    return replace(found, notes=(*found.notes, *notes))


def refuse_masks(path: str, place: Path, pictures: Sequence[Path]) -> None:
    """Refuse images beside masks of the same names: their folders are not classes.

    Images are in a folder with a usual name, or in the one that the masks' is called after, such as
    train beside train_masks.
    """

    within = {file: file.relative_to(place).parts[:-1] for file in pictures}
    of_masks = {parts for parts in within.values() if any(map(_MASKS.fullmatch, parts))}
    beside = {tuple(OF_MASK.sub("", part) for part in parts) for parts in of_masks}

    def is_pictured(parts: tuple[str, ...]) -> bool:
        return parts in beside or any(map(_PICTURED.fullmatch, parts))

    masks = {file.stem for file, parts in within.items() if parts in of_masks}
    images = {f.stem for f, parts in within.items() if parts not in of_masks and is_pictured(parts)}
    of_images = [name for name in masks if images & {name, OF_MASK.sub("", name)}]
    if masks and 2 * len(of_images) >= len(masks):
        raise UserError(
            f"{path}: has images and a mask of each, such as {brief(min(of_images))}; semantic "
            "segmentation is not supported. Supported are classification (a folder for each "
            "class), detection (boxes of COCO, YOLO or Pascal VOC) and captions"
        )


def _labels(place: Path, label: str | None) -> tuple[dict[str, Any], list[str]]:
    """The settings that say where the classes are, and the words for it; {} if in folders."""
    find, tables = ImageFinder(place), user_files.below(place, TABLES, deep=False)
    if not tables or _is_by_class(find.folders):
        unread = named([file.name for file in tables])
        return {}, [f"does not read {unread}: the folders are the classes"] if tables else []
    sheets = {file: read_labels(file) for file in tables}
    naming = [file for file, sheet in sheets.items() if names_images(find, sheet)]
    if not naming:
        raise UserError(
            f"{place}: {named([file.name for file in tables])} has no column with the names of the "
            "images; add one, or give each class a folder"
        )
    roles = by_role(naming, place) or {"train": _only(naming)}
    train = sheets[roles["train"]]
    columns, why = ((label,), "as --target says") if label else (_columns(find, train), _GUESSED)
    if len(columns) == 1:
        _require_classes(train, *columns)
    labelled = {role: file.name for role, file in roles.items() if has(sheets[file], columns[0])}
    notes = [f"reads the classes in {named(columns)} of {', '.join(labelled.values())} ({why})"]
    if others := [file.name for file in tables if file.name not in labelled.values()]:
        notes.append(f"does not read {named(others)}")
    one = labelled["train"] if len(labelled) == 1 else labelled
    return {"labels": one, "label": columns if len(columns) > 1 else columns[0]}, notes


def names_images(find: ImageFinder, sheet: Sheet) -> bool:
    """Whether most rows of a table name an image each, and they are not few beside the images."""
    column = column_of_images(find, sheet)
    if column is None or _FEWEST * len(sheet.rows) < len(find.images):
        return False
    cells = sheet.cells(column)[:_LOOKED_AT]
    return 2 * sum(bool(cell and find.named(cell)) for cell in {*cells}) >= len(cells)


def _require_classes(sheet: Sheet, label: str) -> None:
    """Refuse a column that is not there, or that does not hold classes."""
    if label not in sheet.header:
        sheet.require([label], [], [])
    if role_of(sheet, label) != "label":
        raise UserError(
            f"{sheet.path}: column {label!r} holds numbers, not classes; images are learnt with "
            "one class each: --target names another column"
        )


def _columns(find: ImageFinder, sheet: Sheet) -> tuple[str, ...]:
    """The likeliest column of the classes, or those of all classes, each of them 1 in its rows."""
    others = [name for name in sheet.header if name != column_of_images(find, sheet)]
    label = likeliest(sheet, others, [])
    if label is None:
        raise UserError(
            f"{sheet.path}: no column of classes among {named(sheet.header)}; --target names it"
        )
    flags = flags_among(sheet, others)
    if len(flags) == 1 or label not in flags or label.lower() in USUAL_TARGETS:
        return (label,)
    if are_one_class(sheet, flags):
        return tuple(flags)
    raise UserError(
        f"{sheet.path}: columns {named(flags)} are 0 or 1, and several or none are 1 in some rows; "
        "images are learnt with one class each: name one of the columns with --target, or write "
        "the class of each image into one"
    )


def _named_by_class(place: Path, pictures: Sequence[Path]) -> bool:
    """Whether images that lie together have the names of classes, each with a number."""
    if _is_by_class([*{str(file.parent.relative_to(place)) for file in pictures}]):
        return False
    names: dict[Path, list[str]] = {}
    for file in pictures:
        names.setdefault(file.parent, []).append(user_files.same_name(file.stem))
    found = [[re.fullmatch(NUMBERED, name) for name in each] for each in names.values()]
    kinds = Counter(match[1] for each in found if all(each) for match in each if match)
    several = len(kinds) > 1 and kinds.total() >= _EACH * len(kinds)
    return several and not any(map(role_in, kinds))


def _only(naming: Sequence[Path]) -> Path:
    """The only one of some tables that name images but for a sample of a competition's answers."""
    likely = [file for file in naming if "submission" not in file.name.lower()]
    if len(likely) == 1:
        return likely[0]
    raise UserError(
        f"{naming[0].parent}: {named([file.name for file in naming])} name its images; call the "
        "one with their classes train.csv, and one of a test split test.csv"
    )


def _is_by_class(folders: Sequence[str]) -> bool:
    """Whether folders of images are classes: several, not called as splits."""
    names = {part for folder in folders for part in Path(folder).parts}
    return len(folders) > 1 and sum(role_in(name) is None for name in names) > 1


def _images(path: str, labels: Mapping[str, Any], pictures: Sequence[Path]) -> Recognized:
    """Images of classes; small ones in memory, large ones decoded when needed.

    Args:
      path: of the folder.
      labels: settings of the source that say where the classes are, if in a table.
      pictures: all images; those in folders that are called as splits, but have no classes, are
        left to be predicted.
    """
    settings = {"path": path, **labels}
    splits = images(**settings, crop=Crop(size=32))
    left = unlabelled_folders(splits, pictures)
    if left and [*splits] == ["train"]:
        settings["test_fraction"] = UNSPLIT_TEST
        splits = images(**settings, crop=Crop(size=32))
    each = each_class(path, splits)
    column = splits["train"].columns["image"]
    places = np.unique(np.linspace(0, len(column) - 1, _LOOKED_AT).astype(int))
    files = [column.encoded.root / column.encoded.paths[i] for i in places]
    with user_files.reading("images", path):
        looked = [pixels.read(file, 3) for file in files]
    (height, width), size = _usual([image.shape[:2] for image in looked])
    grey = all(np.ptp(image.astype(np.int16), axis=-1).max(initial=0) == 0 for image in looked)
    notes = (
        f"images: {counted(splits)}, {each}",
        f"usually {height}×{width} pixels, {'grey' if grey else 'in colour'}",
    )
    if min(height, width) <= _IN_MEMORY:
        settings["size"] = size
    else:
        seen = 96 if len(column) < 1_000 else 128 if len(column) < 20_000 else 224
        settings["crop"] = {"size": seen, "area": (0.35, 1.0)}
    settings |= {"channels": 1} if grey else {}
    return Recognized("images", settings, splits, notes, left)


def _usual(shapes: Sequence[Size]) -> tuple[Size, int | Size]:
    """The usual height and width of images, and the size that small ones are best scaled to.

    It is theirs where most are alike and none is a stripe; else a square of their shorter sides.
    """
    shape, number = Counter(shapes).most_common(1)[0]
    alike = 2 * number >= len(shapes)
    height, width = shape if alike else map(int, np.median(shapes, axis=0))
    low, high = max(min(height, width), _SMALLEST), max(height, width)
    if alike and low < high <= 2 * _IN_MEMORY:
        return shape, (max(height, low), max(width, low))
    return (height, width), low


def unlabelled_folders(splits: Mapping[str, Table], pictures: Sequence[Path]) -> tuple[str, ...]:
    """The folders that are called as splits, and of whose images none is in one."""
    columns = [table.columns["image"].encoded for table in splits.values()]
    used = {(column.root / image).parent for column in columns for image in column.paths}
    folders = sorted({file.parent for file in pictures} - used)
    return tuple(str(folder) for folder in folders if role_in(folder.name))
