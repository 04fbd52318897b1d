"""Images with boxes as COCO has them: a JSON file and a folder for each split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.data import documents
from jaxdl.data.boxes import files
from jaxdl.data.boxes.objects import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.photos import Files
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_Entry = dict[str, Any]
_MOST = 1 << 32  # bytes; those of COCO itself are 450 MB


@dataclass
class _Document:
    """What a file of annotations holds, as far as it is read."""

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

    Classes are the categories, in the order of their ids; labels count from 0. Objects of which
    `iscrowd` is 1 are `crowd`. Images without annotations have no objects. Sizes are those of the
    pixels as they are stored, as in COCO, unless only a turned picture has them.

    Args:
      path: the folder that the others are below.
      size: height and width of the canvas that each image is scaled to fit.
      train: the file of annotations of the train split, and the folder of its images.
      validation: the same of the validation split; None for no such split.
      test: the same of the test split.
      degenerate: refuse a box without area, or drop it; COCO's train split has two.
      lazy: decode images as they are needed, for data that memory does not hold: COCO takes 36 GB
        at 320 × 320. Whether an image is sound is then only seen when it is needed.

    Returns:
      The columns of `jaxdl.data.boxes`.

    Raises:
      UserError: a file that is not there or no such JSON, an image that is missing, listed twice,
        in two splits, not sound or not of its size, an annotation of an image or category that
        there is not, or with a box that is not sound; the message names its id.
    """
    require_size("coco", size)
    root = files.folder(path, "coco")
    given = {"train": train, "validation": validation, "test": test}
    pairs = {role: pair for role, pair in given.items() if pair is not None}
    classes: dict[int, str] = {}
    splits: dict[str, Annotated] = {}
    images: dict[str, Files] = {}
    for role, (name, folder) in pairs.items():
        file = root / files.inside(name, f"coco: {role}")
        with documents.reading("coco", file):
            document = _read(file)
            found = _categories(document["categories"], file)
            classes = classes or found
            if found != classes:
                raise UserError(
                    f"coco: {file}: its categories are not those of {root / train[0]}; make them "
                    "the same, ids included"
                )
            images[role] = _images(document["images"], root / files.inside(folder, str(file)), file)
            objects = _objects(document, images[role], list(classes), file)
        splits[role] = Annotated(images[role], objects, f"coco: {file}")
    files.require_disjoint(images, "coco")
    return tables(splits, tuple(classes.values()), size, degenerate, lazy)


def _read(file: Path) -> dict[str, list[_Entry]]:
    return json_files.read(
        file,
        _Document,
        "mend it, or name a file of COCO's format",
        where=f"coco: {file}",
        most=_MOST,
    )


def _categories(entries: list[_Entry], file: Path) -> dict[int, str]:
    """The name of each category, by its id, in ascending order."""
    categories: dict[int, str] = {}
    names: set[str] = set()
    for place, entry in enumerate(entries):
        where = f"coco: {file} categories[{place}]"
        key, name = files.whole(entry.get("id"), "id", where), entry.get("name")
        if not isinstance(name, str) or key in categories or name in names:
            raise UserError(
                f"{where}: id {key} and name {brief(name)}; each stands once, and is a name"
            )
        categories[key] = name
        names.add(name)
    if not categories:
        raise UserError(f"coco: {file}: no categories; an annotation is of one")
    return dict(sorted(categories.items()))


def _images(entries: list[_Entry], folder: Path, file: Path) -> Files:
    where = [f"coco: {file} image {_called(entry)}" for entry in entries]
    ids: set[Any] = set()
    for entry, here in zip(entries, where, strict=True):
        key = entry.get("id")
        if not isinstance(key, int | str) or key in ids:
            raise UserError(f"{here}: each image has an id, a number or a text, and its own")
        if not isinstance(entry.get("file_name"), str):
            raise UserError(f"{here}: no file_name; add it")
        ids.add(key)
    return files.listed(folder, [entry["file_name"] for entry in entries], where)


def _objects(
    document: dict[str, list[_Entry]], images: Files, categories: list[int], file: Path
) -> list[Objects]:
    """The objects of each image."""
    objects = []
    for i, entry in enumerate(document["images"]):
        where = f"coco: {file} image {_called(entry)}"
        objects.append(Objects(where, _shape(entry, i, images, where)))
    by_id = {entry["id"]: found for entry, found in zip(document["images"], objects, strict=True)}
    label = {category: i for i, category in enumerate(categories)}
    for place, entry in enumerate(document["annotations"]):
        where = f"coco: {file} annotation {_called(entry) if 'id' in entry else f'[{place}]'}"
        if not isinstance(entry.get("image_id"), int | str) or entry["image_id"] not in by_id:
            raise UserError(
                f"{where}: image_id {brief(entry.get('image_id'))} is of no image in the "
                "file; mend or remove it"
            )
        category = entry.get("category_id")
        if not isinstance(category, int) or category not in label:
            raise UserError(
                f"{where}: category_id {brief(category)} is of no category; there are "
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


def _shape(entry: _Entry, i: int, images: Files, where: str) -> Size:
    if "height" not in entry and "width" not in entry:
        return files.shape(images, i, upright=False)
    height, width = (files.whole(entry.get(name), name, where) for name in ("height", "width"))
    if min(height, width) < 1:
        raise UserError(f"{where}: {height}×{width} pixels (height × width); mend it")
    return height, width


def _corners(box: Any, where: str) -> tuple[float, float, float, float]:
    """From the left, upper corner, width and height."""
    if not isinstance(box, list) or len(box) != 4:
        raise UserError(f"{where}: bbox {brief(box)}; it is [x, y, width, height]")
    x, y, width, height = (files.number(value, "bbox", where) for value in box)
    return x, y, x + width, y + height


def _is_crowd(entry: _Entry, where: str) -> bool:
    found = entry.get("iscrowd", 0)
    if found not in (0, 1):
        raise UserError(f"{where}: iscrowd {brief(found)}; it is 0 or 1")
    return bool(found)
