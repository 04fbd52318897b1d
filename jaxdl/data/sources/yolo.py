"""Images with boxes in YOLO's format: a text file for each image."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

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
from jaxdl.data.images.pixels import SUFFIXES
from jaxdl.data.sources import box_files
from jaxdl.data.splits import NAMES, ROLES, UNSPLIT_TEST, fill_up
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_log = logging.getLogger("jaxdl")
DARKNET = re.compile("obj_(.+)_data", re.I)  # folders of images and labels that CVAT writes
# A folder of images -> that of their labels.
FOLDERS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}
_PIXELS = 10  # a box is not so many times as large as its image, unless it is in pixels


def yolo(
    path: str,
    size: Size,
    degenerate: Degenerate = "refuse",
    lazy: bool = False,
    outside: Outside = "refuse",
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
) -> dict[str, Table]:
    """Images with boxes in the format of Darknet and its successors.

    The folder has images/train and labels/train, or train/images and train/labels; likewise for val
    and test; or obj_train_data with images and labels side by side, likewise for valid and test, as
    CVAT writes it. If it is not split, it has images and labels, or all files side by side; then a
    hash of its path decides the split of an image, so it stays there when others are added.

    To photo.jpg belongs photo.txt with a line for each object: class, centre (x, y), width and
    height, as fractions of the image's sides; or class and the corners of a polygon, of which the
    box around it is taken. An image without this file has no objects.

    The names of the classes, and the folders of images if they are elsewhere below the folder, or
    text files that list images, are read from data.yaml, or the only other YAML file in the folder
    (`names`, `train`, `val`, `test`; `nc` where classes have no names); without it, the names are
    read from classes.txt, one on each line, which may be among the labels, or from Darknet's
    obj.names. Images are rotated as their Exif note says.

    Args:
      path: the folder, or a YAML file in it if that is not called data.yaml.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images when they are needed, for data that does not fit in memory. A damaged
        image is then only noticed when it is needed.
      outside: refuse a box that is more than two pixels outside its image, or clip it.
      test_fraction: expected share of the test split, 0 for none, where the data has none. By
        default 0.2 of data that is not split, and 0 of other data.
      validation_fraction: likewise for the validation split; by default 0.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a folder or the names of the classes are missing; a text file belongs to no image
        or to two; an image is damaged; a line is neither five numbers nor a polygon, of an unknown
        class, or of a box that is not valid. The message names the file and line.
    """
    require_size("yolo", size)
    place = Path(path).expanduser()
    named = place.suffix in (".yaml", ".yml")
    root = box_files.folder(str(place.parent if named else place), "yolo")
    description = place if named else description_in(root)
    if description is not None and description.is_file():
        with user_files.reading("yolo", description):
            document = _read(description)
            names, folders = _names(document, description), _named_folders(document, description)
    else:
        document = {}
        names, folders = _lines(class_list(root)), _usual_folders(root)
        if not folders:
            folders = {"train": [_unsplit(root)]}
            test_fraction = UNSPLIT_TEST if test_fraction is None else test_fraction
    keypoints = "kpt_shape" in document
    given = {role: _images(root, parts, role, names).paths for role, parts in folders.items()}
    parts = fill_up(given, lambda path: path, test_fraction, validation_fraction, "yolo")
    images = {role: EncodedFiles(root, paths) for role, paths in parts.items()}
    box_files.require_disjoint(images, "yolo")
    splits = {
        role: Annotated(
            encoded,
            _objects(encoded, role, keypoints),
            f"yolo: {root} {role}",
            upright=True,
        )
        for role, encoded in images.items()
    }
    return tables(splits, names, size, degenerate, lazy, outside)


def description_in(root: Path) -> Path | None:
    """The data.yaml of a folder, or the only other YAML file in it that names classes."""
    if (usual := root / "data.yaml").is_file():
        return usual
    found = []
    for file in user_files.below(root, (".yaml", ".yml"), deep=False):
        with suppress(UserError):
            if "names" in _read(file):
                found.append(file)
    return found[0] if len(found) == 1 else None


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
    names, count = document.get("names"), _text(document.get("nc"))
    if names is None and isinstance(count, str) and count.isdecimal() and len(count) < 6:
        names = [*map(str, range(int(count)))]
    if isinstance(names, dict) and names.keys() == {*map(str, range(len(names)))}:
        names = [names[i] for i in sorted(names, key=int)]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(f"yolo: {file}: names must be a list, or numbered from 0; correct it")
    if count not in ("", str(len(names))):
        raise UserError(f"yolo: {file}: nc is not {len(names)}, the number of names; correct it")
    return _distinct([*map(user_files.same_name, names)], file)


def _lines(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise UserError(f"yolo: neither data.yaml nor {file} exists; one must name the classes")
    lines = [line.strip() for line in user_files.read(file, "yolo").split("\n")]
    return _distinct([user_files.same_name(line) for line in lines if line], file)


def _distinct(names: list[str], file: Path) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        wrong = f"class {brief(twice[0])} is listed twice" if twice else "no classes"
        raise UserError(f"yolo: {file}: {wrong}; correct it")
    return tuple(names)


def _named_folders(document: Mapping[str, Any], file: Path) -> dict[str, list[str]]:
    """The folders of images, and lists of images, that a description names, by role."""
    base = _text(document.get("path"))
    folders: dict[str, list[str]] = {}
    for role, keys in NAMES.items():
        named = [key for key in keys if _text(document.get(key))]
        if len(named) > 1:
            raise UserError(f"yolo: {file}: {' and '.join(named)} are both the {role} split")
        value = _text(document.get((named or keys)[0]))
        parts = [value] if isinstance(value, str) and value else value or []
        plain = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
        if not plain or not isinstance(base, str):
            raise UserError(
                f"yolo: {file}: {(named or keys)[0]} must be a folder, or a list of folders"
            )
        if parts and role == "test" and not any(_is_there(file, base, part) for part in parts):
            _log.warning(
                "yolo: %s: test: no %s; continuing without a test split", file, brief(parts[0])
            )
        elif parts:
            where = f"yolo: {file}: {named[0]}"
            paths = [_place(base, part, where, file.parent) for part in parts]
            folders[role] = list(dict.fromkeys(paths))
    if "train" not in folders:
        raise UserError(f"yolo: {file}: no `train`; add the folder of its images")
    return folders


def _is_there(file: Path, base: str, part: str) -> bool:
    """Whether a folder or list that a description names exists."""
    try:
        return os.path.exists(file.parent / _place(base, part, "", file.parent))
    except UserError:
        return False


def _place(base: str, part: str, where: str, root: Path) -> str:
    """A folder or list that a description names, relative to its own folder.

    `path` is often a folder on the machine where the data was made: what does not exist there is
    looked for next to the description.
    """
    whole = str(PurePath(base, part))
    if not os.path.exists(root / whole):
        with suppress(UserError):
            beside = box_files.inside(part, where, root)
            whole = beside if os.path.exists(root / beside) else whole
    return box_files.inside(whole, where, root)


def _text(value: Any) -> Any:
    """A value of YAML, where its words for null become an empty text."""
    return "" if value in (None, "~", "null", "Null", "NULL") else value


def _usual_folders(root: Path) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for folder in _folders(root):
        inner = _folders(folder)
        if darknet := DARKNET.fullmatch(folder.name):
            called = {folder: darknet[1]}
        elif folder.name in FOLDERS:
            called = {place: place.name for place in inner}
        else:
            called = {place: folder.name for place in inner if place.name in FOLDERS}
        for place, name in called.items():
            if role := ROLES.get(name.lower()):
                folders.setdefault(role, []).append(str(place.relative_to(root)))
    for role, names in folders.items():
        if len(names) > 1:
            raise UserError(f"yolo: {root}: {' and '.join(names)} are both the {role} split")
    if [*folders] == ["train"] and DARKNET.fullmatch(folders["train"][0]):
        return {}  # CVAT calls it so where nothing is split
    if folders and "train" not in folders:
        raise UserError(f"yolo: {root} has neither images/train nor train/images, nor a data.yaml")
    return {role: folders[role] for role in NAMES if role in folders}


def _folders(place: Path) -> list[Path]:
    """The user's folders in a folder, in the order of their names."""
    with user_files.reading("yolo", place):
        entries = sorted(place.iterdir())
    return [entry for entry in entries if user_files.is_data(entry.name) and entry.is_dir()]


def _unsplit(root: Path) -> str:
    """The folder of the images of data that is not split."""
    for name in (*FOLDERS, *filter(DARKNET.fullmatch, os.listdir(root)), "."):
        if user_files.below(root / name, SUFFIXES, deep=name != "."):
            return name
    raise UserError(
        f"yolo: {root} has neither images/train, train/images nor images, nor a data.yaml"
    )


def class_list(root: Path) -> Path:
    """The file with the names of the classes; LabelImg puts it next to the labels."""
    inner = [f"{folder}/classes.txt" for pair in FOLDERS.items() for folder in pair]
    files = [root / name for name in ("classes.txt", *inner, "obj.names")]
    return next((file for file in files if file.is_file()), files[0])


def _images(root: Path, places: list[str], role: str, names: tuple[str, ...]) -> EncodedFiles:
    """The images in folders and lists; refuses two with the same labels, and labels without one."""
    paths: list[str] = []
    for place in places:
        if os.path.isfile(root / place) and Path(place).suffix == ".txt":
            paths += _listed(root, root / place)
            continue
        if not os.path.isdir(root / place):  # which takes names of any length
            name = printable(str(root / place), 300)
            raise UserError(f"yolo: no folder or list {name}; correct `{role}` in data.yaml")
        paths += [str(file.relative_to(root)) for file in user_files.below(root / place, SUFFIXES)]
        _require_images(root, Path(place), paths, names)
    labels: dict[Path, str] = {}
    for path in paths:
        other = labels.setdefault(_labels(Path(path)), path)
        if other != path:
            raise UserError(f"yolo: {root / path} and {other} have the same labels; rename one")
    return EncodedFiles(root, paths)


def _listed(root: Path, file: Path) -> Sequence[str]:
    """The images that a text file names, one on each line."""
    lines = [*enumerate(user_files.read(file, "yolo").split("\n"), 1)]
    names = [(line.strip(), f"yolo: {file} line {i}") for i, line in lines if line.strip()]
    return box_files.listed(root, [name for name, _ in names], [where for _, where in names]).paths


def _require_images(root: Path, folder: Path, images: list[str], names: tuple[str, ...]) -> None:
    """Refuse labels in the folder next to one of images that belong to none of the images.

    A list of the classes may lie there, as LabelImg writes it; it must agree with the names.
    """
    known = {user_files.same_name(str(_labels(Path(path)))) for path in images}
    for file in user_files.below(root / _labels(folder / "x").parent, (".txt",)):
        name = user_files.same_name(str(file.relative_to(root).with_suffix(".txt")))
        if file.name == "classes.txt":
            if file.stat().st_size and (own := _lines(file)) != names:
                raise UserError(
                    f"yolo: {file}: its classes are {brief(own)}, those of the data "
                    f"{brief(names)}; make them the same, in the same order, or remove the file if "
                    "the numbers in its labels are those of the data"
                )
        elif name not in known:
            raise UserError(f"yolo: {file} has no image; add the image or remove the file")


def _labels(image: Path) -> Path:
    """The text file of an image: in its path, the last `images` is replaced by `labels`."""
    parts = [*image.with_suffix(".txt").parts]
    if at := [i for i, part in enumerate(parts[:-1]) if part in FOLDERS]:
        parts[at[-1]] = FOLDERS[parts[at[-1]]]
    return Path(*parts)


def _labels_of(images: EncodedFiles, i: int) -> Path:
    """The text file of an image, which need not exist; without a folder of labels, next to it."""
    image = Path(images.paths[i])
    labels = _labels(image)
    if not (images.root / labels.parent).is_dir():
        labels = image.with_suffix(".txt")
    return images.root / (user_files.spelt(images.root, str(labels)) or labels)


def _objects(images: EncodedFiles, role: str, keypoints: bool) -> list[Objects]:
    """The objects of each image; warns of images that have no text file, and so none."""
    files = [_labels_of(images, i) for i in range(len(images))]
    if unlabelled := [file for file in files if not file.is_file()]:
        _log.warning(
            "yolo: %s %s: %d of %d images have no text file, and so no objects; if they have, the "
            "first belongs at %s",
            *(images.root, role, len(unlabelled), len(images), unlabelled[0]),
        )
    objects = []
    for i, file in enumerate(files):
        with user_files.reading("yolo", file):
            objects.append(_read_objects(images, i, file, keypoints))
    return objects


def _read_objects(images: EncodedFiles, i: int, file: Path, keypoints: bool) -> Objects:
    height, width = box_files.shape(images, i, upright=True)
    objects = Objects(f"yolo: {file}", (height, width))
    lines = user_files.read(file, "yolo").split("\n") if file.is_file() else []
    for number, line in enumerate(lines, 1):
        fields, where = line.split(), f"yolo: {file} line {number}"
        if not fields:
            continue
        label = box_files.whole(fields[0], "class", where)
        numbers = [box_files.number(value, "a side", where) for value in fields[1:]]
        x1, y1, x2, y2 = _corners(numbers[:4] if keypoints else numbers, where)
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
        if max(map(abs, (x1, y1, x2, y2))) > _PIXELS:
            raise UserError(
                f"{where}: box {brief(box)} is outside its image; YOLO's numbers are shares of its "
                "sides, from 0 to 1: divide pixels by the width and the height"
            )
        objects.add(box, label, False, where)
    return objects


def _corners(numbers: list[float], where: str) -> tuple[float, float, float, float]:
    """(x₁, y₁, x₂, y₂) of a box, or around a polygon."""
    if len(numbers) == 4:
        x, y, w, h = numbers
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        across, down = numbers[::2], numbers[1::2]
        return min(across), min(down), max(across), max(down)
    raise UserError(
        f"{where} has {len(numbers) + 1} numbers; write class, x, y, width and height, or class "
        "and the corners of a polygon, x and y of each"
    )
