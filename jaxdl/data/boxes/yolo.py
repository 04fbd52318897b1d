"""Images with boxes as YOLO has them: a text file for each image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from jaxdl.data import documents
from jaxdl.data.boxes import files
from jaxdl.data.boxes.objects import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.photos import Files
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_ROLES = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def yolo(
    path: str, size: Size, degenerate: Degenerate = "refuse", lazy: bool = False
) -> dict[str, Table]:
    """Images with boxes in the format of Darknet and its followers.

    The folder has images/train and labels/train, or train/images and train/labels; likewise val
    and test. Beside photo.jpg there is photo.txt, a line for each object: class, centre (x, y),
    width and height, in shares of the image's sides. An image without such a file has no objects.

    Names of classes, and folders of images if they are elsewhere below, are read from data.yaml
    (`names`, `train`, `val`, `test`); without one, the names from classes.txt, a line each.
    Pictures that a camera noted to be turned are turned.

    Args:
      path: the folder, or a description in it with another name than data.yaml.
      size: height and width of the canvas that each image is scaled to fit.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images as they are needed, for data that memory does not hold. Whether an image
        is sound is then only seen when it is needed.

    Returns:
      The columns of `jaxdl.data.boxes`.

    Raises:
      UserError: a folder or the names are not there, a text file has no image or two, an image is
        not sound, or a line is not five numbers, of a class that there is, and of a box that is
        sound; the message says in which file and line.
    """
    require_size("yolo", size)
    given = Path(path).expanduser()
    described = given if given.suffix in (".yaml", ".yml") else given / "data.yaml"
    root = files.folder(str(described.parent), "yolo")
    if described.is_file():
        with documents.reading("yolo", described):
            document = _read(described)
            names, folders = _names(document, described), _named_folders(document, described)
    else:
        names, folders = _lines(root / "classes.txt"), _usual_folders(root)
    images = {role: _images(root, parts, role) for role, parts in folders.items()}
    files.require_disjoint(images, "yolo")
    splits = {
        role: Annotated(
            found,
            [_objects(found, i) for i in range(len(found))],
            f"yolo: {root} {role}",
            upright=True,
        )
        for role, found in images.items()
    }
    return tables(splits, names, size, degenerate, lazy)


def _read(file: Path) -> Mapping[str, Any]:
    """A description. All in it is text: other values, and what is merged, can be made to grow."""
    import yaml

    class Text(yaml.BaseLoader): ...

    def refuse(loader: Text, name: str, node: yaml.Node) -> None:
        raise yaml.constructor.ConstructorError(problem="a tag", problem_mark=node.start_mark)

    for prefix in ("!", "tag:yaml.org,2002:python/"):
        Text.add_multi_constructor(prefix, refuse)
    try:
        document = yaml.load(documents.read(file, "yolo"), Text)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"yolo: {file}{line}: no YAML ({error.problem}); mend it") from None
    except yaml.YAMLError as error:
        raise UserError(f"yolo: {file}: no YAML ({type(error).__name__}); mend it") from None
    if not isinstance(document, dict):
        raise UserError(f"yolo: {file}: it must have `names: …` and `train: …`")
    return document


def _names(document: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    found = document.get("names")
    if isinstance(found, dict) and found.keys() == {*map(str, range(len(found)))}:
        found = [found[i] for i in sorted(found, key=int)]
    if not isinstance(found, list) or not found or not all(isinstance(n, str) for n in found):
        raise UserError(f"yolo: {file}: names must be a list, or numbered from 0; mend it")
    if document.get("nc", str(len(found))) != str(len(found)):
        raise UserError(f"yolo: {file}: nc is not {len(found)}, the number of names; mend it")
    return _distinct(found, file)


def _lines(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise UserError(f"yolo: neither data.yaml nor {file}; one of them must name the classes")
    lines = [line.strip() for line in documents.read(file, "yolo").split("\n")]
    return _distinct([line for line in lines if line], file)


def _distinct(names: list[str], file: Path) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        wrong = f"class {brief(twice[0])} stands twice" if twice else "no classes"
        raise UserError(f"yolo: {file}: {wrong}; mend it")
    return tuple(names)


def _named_folders(document: Mapping[str, Any], file: Path) -> dict[str, list[str]]:
    """The folders of images that a description names, by role."""
    base = _text(document.get("path"))
    folders: dict[str, list[str]] = {}
    for role, (key, *_) in _ROLES.items():
        found = _text(document.get(key))
        parts = [found] if isinstance(found, str) and found else found or []
        plain = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
        if not plain or not isinstance(base, str):
            raise UserError(f"yolo: {file}: {key} must be a folder, or a list of folders")
        if parts:
            where = f"yolo: {file}: {key}"
            inside = [files.inside(str(PurePath(base, part)), where) for part in parts]
            folders[role] = list(dict.fromkeys(inside))
    if "train" not in folders:
        raise UserError(f"yolo: {file}: no train; give the folder of its images")
    return folders


def _text(value: Any) -> Any:
    """A value of YAML, where its words for nothing are no text."""
    return "" if value in (None, "~", "null", "Null", "NULL") else value


def _usual_folders(root: Path) -> dict[str, list[str]]:
    usual = {
        role: [name for n in names for name in (f"images/{n}", f"{n}/images")]
        for role, names in _ROLES.items()
    }
    there = {role: [n for n in names if (root / n).is_dir()] for role, names in usual.items()}
    for role, found in there.items():
        if len(found) > 1:
            raise UserError(f"yolo: {root}: {' and '.join(found)} are both the {role} split")
    if not there["train"]:
        raise UserError(f"yolo: {root} has neither images/train nor train/images, nor a data.yaml")
    return {role: found for role, found in there.items() if found}


def _images(root: Path, folders: list[str], role: str) -> Files:
    """The images in folders, each with a name that no other has, and no labels left over."""
    found: list[str] = []
    for folder in folders:
        if not os.path.isdir(root / folder):  # which takes names of any length
            name = printable(str(root / folder), 300)
            raise UserError(f"yolo: no folder {name}; mend `{role}` in data.yaml")
        inside = sorted(p for p in (root / folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
        found += [str(image.relative_to(root)) for image in inside]
    labels = {_labels(Path(path)): path for path in reversed(found)}
    for path in found:
        if labels[_labels(Path(path))] != path:
            raise UserError(
                f"yolo: {root / path} and {labels[_labels(Path(path))]} have the same labels; "
                "rename one"
            )
    for beside in {_labels(Path(folder, "x")).parent for folder in folders}:
        for file in sorted((root / beside).rglob("*.txt")):
            if file.relative_to(root) not in labels and file.name != "classes.txt":
                raise UserError(f"yolo: {file} has no image; add it, or remove the file")
    return Files(root, found)


def _labels(image: Path) -> Path:
    """The text file of an image: below labels, where the image is below images."""
    parts = [*image.with_suffix(".txt").parts]
    if "images" in parts[:-1]:
        at = max(i for i, part in enumerate(parts[:-1]) if part == "images")
        parts[at] = "labels"
    return Path(*parts)


def _objects(images: Files, i: int) -> Objects:
    file = images.root / _labels(Path(images.paths[i]))
    with documents.reading("yolo", file):
        return _read_objects(images, i, file)


def _read_objects(images: Files, i: int, file: Path) -> Objects:
    height, width = files.shape(images, i, upright=True)
    found = Objects(f"yolo: {file}", (height, width))
    lines = documents.read(file, "yolo").split("\n") if file.is_file() else []
    for number, line in enumerate(lines, 1):
        fields, where = line.split(), f"yolo: {file} line {number}"
        if not fields:
            continue
        if len(fields) != 5:
            raise UserError(
                f"{where} has {len(fields)} numbers; write class, x, y, width and height"
            )
        label = files.whole(fields[0], "class", where)
        x, y, w, h = (files.number(value, "a side", where) for value in fields[1:])
        box = ((x - w / 2) * width, (y - h / 2) * height)
        found.add((*box, box[0] + w * width, box[1] + h * height), label, False, where)
    return found
