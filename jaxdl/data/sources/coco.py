"""Images with boxes in COCO's format: a JSON file and a folder for each split."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.data import user_files
from jaxdl.data.images.annotations import (
    Annotated,
    Degenerate,
    Objects,
    Outside,
    require_size,
    tables,
)
from jaxdl.data.images.frame import Size
from jaxdl.data.images.lazy import EncodedFiles
from jaxdl.data.sources import box_files
from jaxdl.data.splits import fill_up
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable, some

_log = logging.getLogger("jaxdl")
_Entry = dict[str, Any]
_SPLIT = re.compile("(?<![a-z])(?:train|val|test)", re.I)  # in the name of a split's file or folder
_ROLES = {"train": "train", "val": "validation", "test": "test"}
_Image = tuple[Path, str, Objects]  # its folder, its path in there, and its objects
_UNSTATED = (0, 0)  # the size of an image that its entry does not tell
_MOST = 1 << 32  # bytes of a JSON file; COCO's own have 450 MB


@dataclass
class _Document:
    """The parts of a file of annotations that are read."""

    images: list[_Entry]
    annotations: list[_Entry]
    categories: list[_Entry]


def coco(
    path: str,
    size: Size,
    train: tuple[str, str] = ("annotations/instances_train2017.json", "train2017"),
    validation: tuple[str, str] | None = ("annotations/instances_val2017.json", "val2017"),
    test: tuple[str, str] | None = None,
    degenerate: Degenerate = "refuse",
    lazy: bool = False,
    outside: Outside = "refuse",
    upright: bool = False,
    test_fraction: float = 0.0,
    validation_fraction: float = 0.0,
) -> dict[str, Table]:
    """Images with boxes in COCO's format (Lin et al. 2014; cocodataset.org, "Data format").

    Classes are the categories, in the order of their ids; labels count from 0. A category that has
    no annotation and is the supercategory of others is a heading, not a class. Objects whose
    `iscrowd` is 1 are `crowd`. Images without annotations have no objects. Sizes are those of the
    pixels as stored, as in COCO; if only the picture rotated by its Exif note has the size, the
    rotated one is taken. Sizes that are missing, null or 0 are read from the image; if its note
    swaps its sides, they are those that the boxes lie in.

    Args:
      path: the folder that holds the others.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      train: the annotation file of the train split and the folder of its images, below `path`.
      validation: file and folder of the validation split; None for no validation split.
      test: file and folder of the test split; None for no test split.
      degenerate: refuse a box without area, or drop it; COCO's train split has two.
      lazy: decode images when they are needed, for data that does not fit in memory: COCO takes
        36 GB at 320 × 320. A damaged image is then only noticed when it is needed.
      outside: refuse a box that is more than two pixels outside its image, or clip it.
      upright: the boxes are of the images rotated as their Exif notes say, as viewers show them.
      test_fraction: expected share of the images of `train` for the test split, chosen by a hash of
        the name; 0 for none.
      validation_fraction: likewise for the validation split.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a file is missing or not JSON of this form; an image is missing, listed twice, in
        two splits, damaged or of another size; an annotation has an unknown image or category, or a
        box that is not valid. The message names its id.
    """
    require_size("coco", size)
    root = box_files.folder(path, "coco")
    sources = {"train": train, "validation": validation, "test": test}
    pairs = {role: pair for role, pair in sources.items() if pair is not None}
    categories: dict[str, str] = {}
    classes: dict[str, str] = {}
    given: dict[str, list[_Image]] = {}
    files: dict[str, Path] = {}
    for role, (name, folder) in pairs.items():
        files[role] = file = root / box_files.inside(name, f"coco: {role}")
        with user_files.reading("coco", file):
            document = _read(file)
            here = _categories(document["categories"], file)
            categories = categories or here
            classes = classes or _without_headings(document, categories, file)
            if not here.items() <= categories.items():
                raise UserError(
                    f"coco: {file}: its categories differ from those of {root / train[0]}; make "
                    "them the same, ids included"
                )
            place = root / box_files.inside(folder, str(file))
            images = _images(document["images"], place, file)
            objects = _objects(document, images, list(classes), file, upright)
        given[role] = [(place, *each) for each in zip(images.paths, objects, strict=True)]
    parts = fill_up(given, lambda each: each[1], test_fraction, validation_fraction, "coco")
    encoded = {
        role: EncodedFiles(part[0][0] if part else root, [name for _, name, _ in part])
        for role, part in parts.items()
    }
    box_files.require_disjoint(encoded, "coco")
    splits = {
        role: Annotated(
            encoded[role],
            [each for _, _, each in part],
            f"coco: {files.get(role, files['train'])}",
            upright,
        )
        for role, part in parts.items()
    }
    return tables(splits, tuple(classes.values()), size, degenerate, lazy, outside)


def usual_pairs(root: Path) -> dict[str, tuple[str, str]]:
    """The annotation file of each split and the folder of its images, by their usual names.

    Files are right in the folder, in `annotations`, or beside the images of a split: COCO's
    `annotations/instances_train2017.json`, Roboflow's `train/_annotations.coco.json`, or any other
    that lists images, annotations and categories. Of COCO's own, those of instances are read.

    Returns:
      The pairs by role, below `root`; a file that names no split is the train split.

    Raises:
      UserError: two files are of one split, or none of train; the images of one are in no usual
        folder; or one that must be COCO's by its name is damaged.
    """
    folders = [
        folder
        for folder in root.iterdir()
        if folder.is_dir() and (folder.name.lower() == "annotations" or _SPLIT.search(folder.name))
    ]
    files = [
        file
        for folder in (root, *folders)
        for file in user_files.below(folder, (".json",), deep=False)
    ]
    files.sort()
    files = [file for file in files if "instances" in file.name] or files
    found: dict[str, tuple[Path, list[_Entry]]] = {}
    for file in files:
        try:
            images = _read(file)["images"]
        except UserError:
            if re.search("instances|coco", file.name):
                raise
            continue
        words = {word.lower() for word in _SPLIT.findall(str(file.relative_to(root)))}
        role = _ROLES[min(words)] if len(words) == 1 else "train"
        if role in found:
            raise UserError(
                f"coco: {found[role][0]} and {file} are both the {role} split; keep one file of "
                "each, with train, val or test in its name"
            )
        found[role] = file, images
    if len(found) == 1:
        found = {"train": next(iter(found.values()))}
    if found and "train" not in found:
        raise UserError(f"coco: {root}: no file of the train split; put train in its name")
    return {
        role: (str(file.relative_to(root)), _folder_of(images, file, root))
        for role, (file, images) in found.items()
    }


def _folder_of(images: list[_Entry], file: Path, root: Path) -> str:
    """The usual folder that holds the first image, or any in `root`."""
    stem = file.stem.removeprefix("instances_")
    usual = [file.parent, root / stem, root / "images" / stem, root / "images", root]
    first = str(images[0].get("file_name")) if images else ""
    folders = (*usual, *sorted(path for path in root.iterdir() if path.is_dir()))
    ends = [first.replace("\\", "/")]
    while "/" in ends[-1]:  # shorter and shorter ends of a path from another machine
        ends.append(ends[-1].partition("/")[2])
    for end in filter(None, ends):
        for folder in folders:
            if user_files.spelt(folder, end.removeprefix("./")):
                return str(folder.relative_to(root))
    raise UserError(
        f"coco: {file}: its first image, {brief(first)}, is in none of "
        f"{', '.join(map(str, dict.fromkeys(usual)))}; move the images to one of them"
    )


def _read(file: Path) -> dict[str, list[_Entry]]:
    return json_files.read(
        file,
        _Document,
        "correct it, or name a file of COCO's format",
        where=f"coco: {file}",
        most=_MOST,
    )


def _categories(entries: list[_Entry], file: Path) -> dict[str, str]:
    """The name of each category, by its id as text, in ascending order of the ids."""
    categories: dict[str, str] = {}
    for place, entry in enumerate(entries):
        where = f"coco: {file} categories[{place}]"
        key, name = _key(entry.get("id")), entry.get("name")
        name = str(name) if type(name) is int else name
        if key is None or not isinstance(name, str) or key in categories:
            raise UserError(
                f"{where}: id {brief(entry.get('id'))} and name {brief(name)}; the id must be a "
                "number or text that no other category has, the name a text"
            )
        categories[key] = user_files.same_name(name)
    if not categories:
        raise UserError(f"coco: {file}: no categories; add them, since each annotation needs one")
    numbered = all(key.isdecimal() for key in categories)
    order = (lambda item: (int(item[0]), item[0])) if numbered else None
    return dict(sorted(categories.items(), key=order))


def _without_headings(
    document: dict[str, list[_Entry]], categories: dict[str, str], file: Path
) -> dict[str, str]:
    """The categories that are classes: each name once."""
    used = {_key(entry.get("category_id")) for entry in document["annotations"]}
    above = {
        entry.get("supercategory") for entry in document["categories"] if _key(entry["id"]) in used
    }
    classes = {k: name for k, name in categories.items() if k in used or name not in above}
    if headings := [name for k, name in categories.items() if k not in classes]:
        _log.warning(
            "coco: %s: %s is a heading of other categories, not a class", file, some(headings)
        )
    times = Counter(classes.values())
    if twice := [name for name, count in times.items() if count > 1]:
        raise UserError(f"coco: {file}: two categories have the name {brief(twice[0])}; rename one")
    return classes


def _key(value: Any) -> str | None:
    """An id as text, since tools write 7, 7.0 or "7" for the same; None for what is not an id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str) or isinstance(value, bool):
        return None
    return str(value)


def _images(entries: list[_Entry], folder: Path, file: Path) -> EncodedFiles:
    where = [f"coco: {file} image {_called(entry)}" for entry in entries]
    ids: set[str] = set()
    for entry, here in zip(entries, where, strict=True):
        key = _key(entry.get("id"))
        if key is None or key in ids:
            raise UserError(f"{here}: each image needs its own id, a number or a text")
        if not isinstance(entry.get("file_name"), str):
            raise UserError(f"{here}: no file_name; add it")
        ids.add(key)
    return box_files.listed(folder, [entry["file_name"] for entry in entries], where)


def _objects(
    document: dict[str, list[_Entry]],
    images: EncodedFiles,
    categories: list[str],
    file: Path,
    upright: bool,
) -> list[Objects]:
    """The objects of each image."""
    by_id: dict[str | None, Objects] = {}
    for entry in document["images"]:
        where = f"coco: {file} image {_called(entry)}"
        by_id[_key(entry["id"])] = Objects(where, _shape(entry, where) or _UNSTATED)
    label = {category: i for i, category in enumerate(categories)}
    _refuse_corners(document["annotations"], file)
    for place, entry in enumerate(document["annotations"]):
        where = f"coco: {file} annotation {_called(entry) if 'id' in entry else f'[{place}]'}"
        image, category = _key(entry.get("image_id")), _key(entry.get("category_id"))
        if image is None or image not in by_id:
            raise UserError(
                f"{where}: image_id {brief(entry.get('image_id'))} is not the id of an image "
                "in the file; correct or remove it"
            )
        if category is None or category not in label:
            raise UserError(
                f"{where}: category_id {brief(entry.get('category_id'))} is not the id of a "
                f"category; they are {', '.join(map(printable, categories[:20]))}"
            )
        by_id[image].add(
            _corners(entry.get("bbox"), where), label[category], _is_crowd(entry, where), where
        )
    return [
        each
        if each.shape != _UNSTATED
        else replace(each, shape=box_files.unstated_shape(images, i, each.boxes, upright))
        for i, each in enumerate(by_id.values())
    ]


def _called(entry: _Entry) -> str:
    """The id of an entry, for a message."""
    key = entry.get("id")
    return printable(key) if isinstance(key, str) else brief(key)


def _shape(entry: _Entry, where: str) -> Size | None:
    """Height and width; None where they are missing, null or 0."""
    if not (entry.get("height") and entry.get("width")):
        return None
    height, width = (box_files.whole(entry[name], name, where) for name in ("height", "width"))
    if min(height, width) < 1:
        raise UserError(f"{where}: {height}×{width} pixels (height × width); correct it")
    return height, width


_HUGE = 1e9  # no image has so many pixels


def _refuse_corners(entries: list[_Entry], file: Path) -> None:
    """Refuse boxes that are [x₁, y₁, x₂, y₂], as their areas tell."""
    known: list[tuple[list[float], float]] = []
    for entry in entries:
        numbers = [*box, entry.get("area")] if isinstance(box := entry.get("bbox"), list) else []
        if len(numbers) == 5 and all(type(n) in (int, float) and abs(n) < _HUGE for n in numbers):
            known.append((numbers[:4], numbers[4]))
    as_they_are = [math.isclose(box[2] * box[3], area, rel_tol=0.01) for box, area in known]
    as_corners = [
        math.isclose((box[2] - box[0]) * (box[3] - box[1]), area, rel_tol=0.01)
        for box, area in known
    ]
    if known and all(as_corners) and not all(as_they_are):
        raise UserError(
            f"coco: {file}: by their areas the boxes are corners, and bbox must be "
            "[x, y, width, height]; correct them"
        )


def _corners(box: Any, where: str) -> tuple[float, float, float, float]:
    """(x₁, y₁, x₂, y₂) from [x, y, width, height]."""
    if not isinstance(box, list) or len(box) != 4:
        raise UserError(f"{where}: bbox {brief(box)}; it must be [x, y, width, height]")
    x, y, width, height = (box_files.number(value, "bbox", where) for value in box)
    return x, y, x + width, y + height


def _is_crowd(entry: _Entry, where: str) -> bool:
    value = entry.get("iscrowd") or 0
    if value not in (0, 1, "0", "1"):
        raise UserError(f"{where}: iscrowd {brief(value)}; it must be 0 or 1")
    return bool(int(value))
