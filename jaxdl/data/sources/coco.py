"""Images with boxes in COCO's format: a JSON file and a folder for each split."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.data import user_files
from jaxdl.data.images.annotations import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.images.lazy import EncodedFiles
from jaxdl.data.sources import box_files
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_Entry = dict[str, Any]
_SPLIT = "(?<![a-z])(?:train|val|test)"  # in the name of a split's file or folder
_ROLES = {"train": "train", "val": "validation", "test": "test"}
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
) -> dict[str, Table]:
    """Images with boxes in COCO's format (Lin et al. 2014; cocodataset.org, "Data format").

    Classes are the categories, in the order of their ids; labels count from 0. Objects whose
    `iscrowd` is 1 are `crowd`. Images without annotations have no objects. Sizes are those of the
    pixels as stored, as in COCO; if only the picture rotated by its Exif note has the size, the
    rotated one is taken.

    Args:
      path: the folder that holds the others.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      train: the annotation file of the train split and the folder of its images, below `path`.
      validation: file and folder of the validation split; None for no validation split.
      test: file and folder of the test split; None for no test split.
      degenerate: refuse a box without area, or drop it; COCO's train split has two.
      lazy: decode images when they are needed, for data that does not fit in memory: COCO takes
        36 GB at 320 × 320. A damaged image is then only noticed when it is needed.

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
    classes: dict[int, str] = {}
    splits: dict[str, Annotated] = {}
    images: dict[str, EncodedFiles] = {}
    for role, (name, folder) in pairs.items():
        file = root / box_files.inside(name, f"coco: {role}")
        with user_files.reading("coco", file):
            document = _read(file)
            categories = _categories(document["categories"], file)
            classes = classes or categories
            if categories != classes:
                raise UserError(
                    f"coco: {file}: its categories differ from those of {root / train[0]}; make "
                    "them the same, ids included"
                )
            images[role] = _images(
                document["images"], root / box_files.inside(folder, str(file)), file
            )
            objects = _objects(document, images[role], list(classes), file)
        splits[role] = Annotated(images[role], objects, f"coco: {file}")
    box_files.require_disjoint(images, "coco")
    return tables(splits, tuple(classes.values()), size, degenerate, lazy)


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
    folders = [f for f in root.iterdir() if f.name == "annotations" or re.search(_SPLIT, f.name)]
    files = sorted(file for folder in (root, *folders) for file in folder.glob("*.json"))
    files = [file for file in files if "instances" in file.name] or files
    found: dict[str, tuple[Path, list[_Entry]]] = {}
    for file in files:
        try:
            images = _read(file)["images"]
        except UserError:
            if re.search("instances|coco", file.name):
                raise
            continue
        words = {*re.findall(_SPLIT, str(file.relative_to(root)))}
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
    """The usual folder that holds the first image."""
    stem = file.stem.removeprefix("instances_")
    usual = [file.parent, root / stem, root / "images" / stem, root / "images", root]
    first = str(images[0].get("file_name")) if images else ""
    for folder in usual:
        if first and os.path.isfile(folder / first):
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


def _categories(entries: list[_Entry], file: Path) -> dict[int, str]:
    """The name of each category, by its id, in ascending order."""
    categories: dict[int, str] = {}
    names: set[str] = set()
    for place, entry in enumerate(entries):
        where = f"coco: {file} categories[{place}]"
        key, name = box_files.whole(entry.get("id"), "id", where), entry.get("name")
        if not isinstance(name, str) or key in categories or name in names:
            raise UserError(
                f"{where}: id {key} and name {brief(name)}; each must be unique, the name a text"
            )
        categories[key] = name
        names.add(name)
    if not categories:
        raise UserError(f"coco: {file}: no categories; add them, since each annotation needs one")
    return dict(sorted(categories.items()))


def _images(entries: list[_Entry], folder: Path, file: Path) -> EncodedFiles:
    where = [f"coco: {file} image {_called(entry)}" for entry in entries]
    ids: set[Any] = set()
    for entry, here in zip(entries, where, strict=True):
        key = entry.get("id")
        if not isinstance(key, int | str) or key in ids:
            raise UserError(f"{here}: each image needs an id of its own, a number or a text")
        if not isinstance(entry.get("file_name"), str):
            raise UserError(f"{here}: no file_name; add it")
        ids.add(key)
    return box_files.listed(folder, [entry["file_name"] for entry in entries], where)


def _objects(
    document: dict[str, list[_Entry]], images: EncodedFiles, categories: list[int], file: Path
) -> list[Objects]:
    """The objects of each image."""
    objects = []
    for i, entry in enumerate(document["images"]):
        where = f"coco: {file} image {_called(entry)}"
        objects.append(Objects(where, _shape(entry, i, images, where)))
    by_id = {entry["id"]: each for entry, each in zip(document["images"], objects, strict=True)}
    label = {category: i for i, category in enumerate(categories)}
    for place, entry in enumerate(document["annotations"]):
        where = f"coco: {file} annotation {_called(entry) if 'id' in entry else f'[{place}]'}"
        if not isinstance(entry.get("image_id"), int | str) or entry["image_id"] not in by_id:
            raise UserError(
                f"{where}: image_id {brief(entry.get('image_id'))} is not the id of an image "
                "in the file; correct or remove it"
            )
        category = entry.get("category_id")
        if not isinstance(category, int) or category not in label:
            raise UserError(
                f"{where}: category_id {brief(category)} is not the id of a category; they are "
                f"{', '.join(map(str, categories[:20]))}"
            )
        by_id[entry["image_id"]].add(
            _corners(entry.get("bbox"), where), label[category], _is_crowd(entry, where), where
        )
    return objects


def _called(entry: _Entry) -> str:
    """The id of an entry, for a message."""
    key = entry.get("id")
    return printable(key) if isinstance(key, str) else brief(key)


def _shape(entry: _Entry, i: int, images: EncodedFiles, where: str) -> Size:
    if "height" not in entry and "width" not in entry:
        return box_files.shape(images, i, upright=False)
    height, width = (box_files.whole(entry.get(name), name, where) for name in ("height", "width"))
    if min(height, width) < 1:
        raise UserError(f"{where}: {height}×{width} pixels (height × width); correct it")
    return height, width


def _corners(box: Any, where: str) -> tuple[float, float, float, float]:
    """(x₁, y₁, x₂, y₂) from [x, y, width, height]."""
    if not isinstance(box, list) or len(box) != 4:
        raise UserError(f"{where}: bbox {brief(box)}; it must be [x, y, width, height]")
    x, y, width, height = (box_files.number(value, "bbox", where) for value in box)
    return x, y, x + width, y + height


def _is_crowd(entry: _Entry, where: str) -> bool:
    value = entry.get("iscrowd", 0)
    if value not in (0, 1):
        raise UserError(f"{where}: iscrowd {brief(value)}; it must be 0 or 1")
    return bool(value)
