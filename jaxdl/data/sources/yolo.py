"""Images with boxes in YOLO's format: a text file for each image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from jaxdl.data import user_files
from jaxdl.data.images.annotations import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.images.lazy import EncodedFiles
from jaxdl.data.sources import box_files
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_ROLES = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def yolo(
    path: str, size: Size, degenerate: Degenerate = "refuse", lazy: bool = False
) -> dict[str, Table]:
    """Images with boxes in the format of Darknet and its successors.

    The folder has images/train and labels/train, or train/images and train/labels; likewise for val
    and test. To photo.jpg belongs photo.txt with a line for each object: class, centre (x, y),
    width and height, as fractions of the image's sides. An image without this file has no objects.

    The names of the classes, and the folders of images if they are elsewhere below the folder, are
    read from data.yaml (`names`, `train`, `val`, `test`); without it, the names are read from
    classes.txt, one on each line. Images are rotated as their Exif note says.

    Args:
      path: the folder, or a YAML file in it if that is not called data.yaml.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images when they are needed, for data that does not fit in memory. A damaged
        image is then only noticed when it is needed.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a folder or the names of the classes are missing; a text file belongs to no image
        or to two; an image is damaged; a line is not five numbers, of an unknown class, or of a box
        that is not valid. The message names the file and line.
    """
    require_size("yolo", size)
    place = Path(path).expanduser()
    description = place if place.suffix in (".yaml", ".yml") else place / "data.yaml"
    root = box_files.folder(str(description.parent), "yolo")
    if description.is_file():
        with user_files.reading("yolo", description):
            document = _read(description)
            names, folders = _names(document, description), _named_folders(document, description)
    else:
        names, folders = _lines(root / "classes.txt"), _usual_folders(root)
    images = {role: _images(root, parts, role) for role, parts in folders.items()}
    box_files.require_disjoint(images, "yolo")
    splits = {
        role: Annotated(
            encoded,
            [_objects(encoded, i) for i in range(len(encoded))],
            f"yolo: {root} {role}",
            upright=True,
        )
        for role, encoded in images.items()
    }
    return tables(splits, names, size, degenerate, lazy)


def _read(file: Path) -> Mapping[str, Any]:
    """A YAML file, with all values as text: tags and merged keys could make it grow endlessly."""
    import yaml

    class Text(yaml.BaseLoader): ...

    def refuse(loader: Text, name: str, node: yaml.Node) -> None:
        raise yaml.constructor.ConstructorError(problem="a tag", problem_mark=node.start_mark)

    for prefix in ("!", "tag:yaml.org,2002:python/"):
        Text.add_multi_constructor(prefix, refuse)
    try:
        document = yaml.load(user_files.read(file, "yolo"), Text)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"yolo: {file}{line}: not YAML ({error.problem}); correct it") from None
    except yaml.YAMLError as error:
        raise UserError(f"yolo: {file}: not YAML ({type(error).__name__}); correct it") from None
    if not isinstance(document, dict):
        raise UserError(f"yolo: {file}: it must have `names: …` and `train: …`")
    return document


def _names(document: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    names = document.get("names")
    if isinstance(names, dict) and names.keys() == {*map(str, range(len(names)))}:
        names = [names[i] for i in sorted(names, key=int)]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(f"yolo: {file}: names must be a list, or numbered from 0; correct it")
    if document.get("nc", str(len(names))) != str(len(names)):
        raise UserError(f"yolo: {file}: nc is not {len(names)}, the number of names; correct it")
    return _distinct(names, file)


def _lines(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise UserError(f"yolo: neither data.yaml nor {file} exists; one must name the classes")
    lines = [line.strip() for line in user_files.read(file, "yolo").split("\n")]
    return _distinct([line for line in lines if line], file)


def _distinct(names: list[str], file: Path) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        wrong = f"class {brief(twice[0])} is listed twice" if twice else "no classes"
        raise UserError(f"yolo: {file}: {wrong}; correct it")
    return tuple(names)


def _named_folders(document: Mapping[str, Any], file: Path) -> dict[str, list[str]]:
    """The folders of images that a description names, by role."""
    base = _text(document.get("path"))
    folders: dict[str, list[str]] = {}
    for role, (key, *_) in _ROLES.items():
        value = _text(document.get(key))
        parts = [value] if isinstance(value, str) and value else value or []
        plain = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
        if not plain or not isinstance(base, str):
            raise UserError(f"yolo: {file}: {key} must be a folder, or a list of folders")
        if parts:
            where = f"yolo: {file}: {key}"
            paths = [box_files.inside(str(PurePath(base, part)), where) for part in parts]
            folders[role] = list(dict.fromkeys(paths))
    if "train" not in folders:
        raise UserError(f"yolo: {file}: no `train`; add the folder of its images")
    return folders


def _text(value: Any) -> Any:
    """A value of YAML, where its words for null become an empty text."""
    return "" if value in (None, "~", "null", "Null", "NULL") else value


def _usual_folders(root: Path) -> dict[str, list[str]]:
    usual = {
        role: [name for n in names for name in (f"images/{n}", f"{n}/images")]
        for role, names in _ROLES.items()
    }
    folders = {role: [n for n in names if (root / n).is_dir()] for role, names in usual.items()}
    for role, names in folders.items():
        if len(names) > 1:
            raise UserError(f"yolo: {root}: {' and '.join(names)} are both the {role} split")
    if not folders["train"]:
        raise UserError(f"yolo: {root} has neither images/train nor train/images, nor a data.yaml")
    return {role: names for role, names in folders.items() if names}


def _images(root: Path, folders: list[str], role: str) -> EncodedFiles:
    """The images in folders; refuses two with the same labels, and labels without an image."""
    paths: list[str] = []
    for folder in folders:
        if not os.path.isdir(root / folder):  # which takes names of any length
            name = printable(str(root / folder), 300)
            raise UserError(f"yolo: no folder {name}; correct `{role}` in data.yaml")
        files = sorted(p for p in (root / folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
        paths += [str(file.relative_to(root)) for file in files]
    labels = {_labels(Path(path)): path for path in reversed(paths)}
    for path in paths:
        if labels[_labels(Path(path))] != path:
            raise UserError(
                f"yolo: {root / path} and {labels[_labels(Path(path))]} have the same labels; "
                "rename one"
            )
    for parent in {_labels(Path(folder, "x")).parent for folder in folders}:
        for file in sorted((root / parent).rglob("*.txt")):
            if file.relative_to(root) not in labels and file.name != "classes.txt":
                raise UserError(f"yolo: {file} has no image; add the image or remove the file")
    return EncodedFiles(root, paths)


def _labels(image: Path) -> Path:
    """The text file of an image: in its path, `images` is replaced by `labels`."""
    parts = [*image.with_suffix(".txt").parts]
    if "images" in parts[:-1]:
        at = max(i for i, part in enumerate(parts[:-1]) if part == "images")
        parts[at] = "labels"
    return Path(*parts)


def _objects(images: EncodedFiles, i: int) -> Objects:
    file = images.root / _labels(Path(images.paths[i]))
    with user_files.reading("yolo", file):
        return _read_objects(images, i, file)


def _read_objects(images: EncodedFiles, i: int, file: Path) -> Objects:
    height, width = box_files.shape(images, i, upright=True)
    objects = Objects(f"yolo: {file}", (height, width))
    lines = user_files.read(file, "yolo").split("\n") if file.is_file() else []
    for number, line in enumerate(lines, 1):
        fields, where = line.split(), f"yolo: {file} line {number}"
        if not fields:
            continue
        if len(fields) != 5:
            raise UserError(
                f"{where} has {len(fields)} numbers; write class, x, y, width and height"
            )
        label = box_files.whole(fields[0], "class", where)
        x, y, w, h = (box_files.number(value, "a side", where) for value in fields[1:])
        box = ((x - w / 2) * width, (y - h / 2) * height)
        objects.add((*box, box[0] + w * width, box[1] + h * height), label, False, where)
    return objects
