"""Images with boxes in Pascal VOC's format: an XML file for each image."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from jaxdl.data.sources import voc_xml as xml
from jaxdl.data.sources.image_finder import ImageFinder
from jaxdl.data.splits import ROLES, UNSPLIT_TEST, fill_up
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_log = logging.getLogger("jaxdl")
_USUAL = ("Annotations", "JPEGImages")  # folders
_USUAL_LISTS = {"train": "train", "validation": "val", "test": "test"}
_DIFFICULT = {"": False, "0": False, "false": False, "1": True, "true": True}
_Entries = list[tuple[str, str]]  # the stem of each XML file, and where it is listed


def voc(
    path: str,
    size: Size,
    train: str = "train",
    validation: str | None = "val",
    test: str | None = "test",
    classes: tuple[str, ...] | None = None,
    images: str = "JPEGImages",
    annotations: str = "Annotations",
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
    degenerate: Degenerate = "refuse",
    lazy: bool = False,
    outside: Outside = "refuse",
    upright: bool = False,
    origin: Literal[0, 1] = 1,
) -> dict[str, Table]:
    """Images with boxes in a folder like Pascal VOC's (Everingham et al. 2010, section 2).

    The splits are read from ImageSets/Main/train.txt and so on, one name on each line; or, as
    Roboflow writes them, from folders such as train/, valid/ and test/ that hold images and XML
    files side by side. Without either, a hash of its name decides an image's split, so it stays
    there when others are added.

    An XML file describes the image with its own name or, if there is none, the one in `<filename>`.
    Corners are pixels of the object, counted from 1, so it is xmax - xmin + 1 pixels wide. Objects
    marked `difficult` are `crowd`: whether they are detected does not count.

    Args:
      path: the folder.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      train: the list in ImageSets/Main that is the train split, such as 'trainval'.
      validation: the list of the validation split; None for no validation split.
      test: the list of the test split; None for no test split.
      classes: names of the classes, in the order of their labels; by default those in the train
        split, in alphabetical order.
      images: the folder of the images, below `path`.
      annotations: the folder of the XML files, below `path`.
      test_fraction: expected share of the test split, 0 for none, where the data has none. By
        default 0.2 of data that is not split, and 0 of other data.
      validation_fraction: likewise for the validation split; by default 0.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images when they are needed, for data that does not fit in memory. A damaged
        image, or one of another size, is then only noticed when it is needed.
      outside: refuse a box that is more than two pixels outside its image, or clip it.
      upright: the boxes are of the images rotated as their Exif notes say, as viewers show them.
      origin: the number of the first pixel: 1 as in Pascal VOC, or 0, with the right and lower
        sides where the next pixel begins, as many tools write it.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a folder or list is missing; an image is missing, listed twice, in two splits,
        damaged or of another size; a file is not XML of this form; a class is unknown, or a box not
        valid. The message names the file and line.
    """
    require_size("voc", size)
    root = box_files.folder(path, "voc")
    lists = {"train": train, "validation": validation, "test": test}
    notes_in = _folder(root, annotations, "annotations")
    images_in = _folder(root, images, "images")
    if (root / "ImageSets" / "Main").is_dir():
        given = {
            role: _listed(root, role, name, notes_in)
            for role, name in lists.items()
            if name is not None
        }
    else:
        _refuse_lists(root, lists)
        given = {r: part for r, part in _by_folder(notes_in).items() if lists[r] is not None}
        if not given:
            given = {"train": _below(notes_in, notes_in)}
            usual = 0.0 if test is None else UNSPLIT_TEST
            test_fraction = usual if test_fraction is None else test_fraction
    entries = fill_up(given, lambda entry: entry[0], test_fraction, validation_fraction, "voc")
    find = ImageFinder(images_in)
    notes = {
        role: [_Notes.read(notes_in, stem, where, origin, find) for stem, where in part]
        for role, part in entries.items()
    }
    if not (root / "ImageSets" / "Main").is_dir():
        _tell_unused(find, {each.image for part in notes.values() for each in part}, notes_in)
    encoded = {
        role: box_files.listed(images_in, [n.image for n in part], [n.where for n in part])
        for role, part in notes.items()
    }
    box_files.require_disjoint(encoded, "voc")
    if origin == 1:
        _tell_origin([n for part in notes.values() for n in part])
    names = classes or tuple(sorted({name for n in notes["train"] for name in n.names}))
    labels = {user_files.same_name(name): i for i, name in enumerate(names)}
    splits = {
        role: Annotated(
            encoded[role],
            [
                n.labelled(n.shape or n.unstated_shape(encoded[role], i, upright), labels)
                for i, n in enumerate(part)
            ],
            f"voc: {root} {role}",
            upright,
        )
        for role, part in notes.items()
    }
    return tables(splits, names, size, degenerate, lazy, outside)


def _folder(root: Path, name: str, setting: str) -> Path:
    """A folder below another, or this one if it has none with the usual name."""
    if (root / name).is_dir():
        return root / box_files.inside(name, f"voc: {setting}")
    if name not in _USUAL:
        raise UserError(f"voc: {root} has no folder {brief(name)}; correct config.data.{setting}")
    return root


def _refuse_lists(root: Path, lists: Mapping[str, str | None]) -> None:
    """Refuse names of lists if the data has no lists: they would have no effect."""
    for role, name in lists.items():
        if name not in (None, role, _USUAL_LISTS[role]):
            raise UserError(
                f"voc: {root} has no ImageSets/Main, and so no list {role}={brief(name)}; leave it "
                "out"
            )


def _by_folder(root: Path) -> dict[str, _Entries]:
    """The XML files in folders with the usual names of splits, by role."""
    given: dict[str, _Entries] = {}
    for folder in sorted(root.iterdir()):
        role = ROLES.get(folder.name.lower())
        if role is None or not folder.is_dir() or not (entries := _below(folder, root)):
            continue
        if role in given:
            raise UserError(f"voc: {folder} is a second {role} split; keep one")
        given[role] = entries
    return given if "train" in given else {}


def _below(folder: Path, root: Path) -> _Entries:
    """The XML files in a folder and below it, without suffix and relative to `root`."""
    files = user_files.below(folder, (".xml",))
    return [(str(file.relative_to(root).with_suffix("")), f"voc: {root}") for file in files]


def _tell_origin(notes: Sequence[_Notes]) -> None:
    """Warn that corners seem to be counted from 0, if one is 0."""
    zero = [each.where for n in notes for each in n.objects if min(each.box[:2]) == -1]
    if zero:
        _log.warning(
            "%s: corners are counted from 1, but %d objects have a corner at 0; if all are counted "
            "from 0, set origin=0",
            zero[0],
            len(zero),
        )


def _tell_unused(find: ImageFinder, used: Collection[str], notes: Path) -> None:
    """Warn of images without an XML file: if nothing lists the images, one may be missing.

    Args:
      find: of all images.
      used: the images of the XML files of all splits that are read.
      notes: the folder of all XML files.
    """
    others = find.unused(used)
    unused = [name for name in others if not (notes / name).with_suffix(".xml").is_file()]
    empty = "; one that shows no object needs a file without <object>"
    find.tell_left_out("voc", unused, "have no XML file", empty)


def _listed(root: Path, role: str, name: str, notes: Path) -> _Entries:
    """The stems of the XML files in a list of ImageSets/Main, and the line of each.

    A line names one by its stem; or with the suffix and folder of its image; or, in the lists of a
    class, followed by 1 or -1, whether the image has one.
    """
    file = root / "ImageSets" / "Main" / f"{box_files.inside(name, f'voc: config.data.{role}')}.txt"
    if not file.is_file():
        lists = ", ".join(sorted(other.stem for other in file.parent.glob("*.txt"))) or "none"
        none = "" if role == "train" else f", or None for no {role} split"
        raise UserError(
            f"voc: no {file}; its folder has {lists}: set config.data.{role} to one of them{none}"
        )
    lines = enumerate(user_files.read(file, "voc").split("\n"), 1)
    return [
        (_stem(notes, line.strip()), f"voc: {file} line {i}") for i, line in lines if line.strip()
    ]


def _stem(notes: Path, line: str) -> str:
    """The stem of the XML file that a line of a list names, or the line if there is none."""
    parts = Path(line.replace("\\", "/")).parts
    for each in (line, line.split()[0], Path(parts[-1]).stem) if ".." not in parts else ():
        if found := user_files.spelt(notes, f"{each}.xml"):
            return found[: -len(".xml")]
    return line


@dataclass(frozen=True)
class _Object:
    """An object as it is written, and what to call it in a message."""

    name: str
    box: tuple[float, float, float, float]
    crowd: bool
    where: str


@dataclass(frozen=True)
class _Notes:
    """The annotations of an image, from its XML file.

    Attributes:
      image: its file name.
      shape: its height and width, if the file has them.
      objects: those in the image.
      where: what to call the file in a message.
    """

    image: str
    shape: Size | None
    objects: Sequence[_Object]
    where: str

    @classmethod
    def read(cls, folder: Path, stem: str, listed: str, origin: int, find: ImageFinder) -> _Notes:
        """The annotations of this stem in a folder of XML files."""
        name = f"{box_files.inside(stem, listed)}.xml"
        file = folder / (user_files.spelt(folder, name) or name)
        where = f"voc: {file}"
        if not file.is_file():
            raise UserError(f"{listed}: no {file}; add it, or remove the name")
        with user_files.reading("voc", file):
            root = xml.parse(file)
            names = [node.text for node in root.all("filename") if node.text]
            sizes = root.all("size")
            objects = tuple(_object(node, where, origin) for node in root.all("object"))
            shape = _shape(sizes[0], where) if sizes else None
        written = names[0] if names else f"{stem}.jpg"
        return cls(find((stem, written), where) or written, shape, objects, where)

    @property
    def names(self) -> set[str]:
        """The names of the objects' classes."""
        return {each.name for each in self.objects}

    def unstated_shape(self, images: EncodedFiles, i: int, upright: bool) -> Size:
        """The size that the boxes refer to, if the file has none; image i is that of the file."""
        return box_files.unstated_shape(images, i, [each.box for each in self.objects], upright)

    def labelled(self, shape: Size, labels: Mapping[str, int]) -> Objects:
        """The objects with their labels; refuses unknown classes."""
        objects = Objects(self.where, shape)
        for each in self.objects:
            if each.name not in labels:
                raise UserError(
                    f"{each.where}: class {brief(each.name)} is unknown; the classes are "
                    f"{', '.join(map(printable, [*labels][:20]))} (those in the train split, or "
                    "config.data.classes)"
                )
            objects.add(each.box, labels[each.name], each.crowd, each.where)
        return objects


def _shape(node: xml.Node, where: str) -> Size | None:
    """Height and width; None if a tool has left them 0, or empty."""
    height, width = (_field(node, name, where) for name in ("height", "width"))
    here = f"{where} line {node.line}"
    shape = (
        box_files.whole(height.text or "0", "height", here),
        box_files.whole(width.text or "0", "width", here),
    )
    if 0 in shape:
        return None
    if min(shape) < 0:
        raise UserError(f"{here}: size {shape[0]}×{shape[1]} (height × width); correct it")
    return shape


def _object(node: xml.Node, where: str, origin: int) -> _Object:
    name, box = _field(node, "name", where), _field(node, "bndbox", where)
    corners = [_field(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = (
        box_files.number(corner.text, corner.tag, f"{where} line {corner.line}")
        for corner in corners
    )
    difficult = next((each.text for each in node.all("difficult")), "").lower()
    here = f"{where} line {node.line}"
    if not name.text:
        raise UserError(f"{here}: an object whose <name> is empty; name its class")
    if difficult not in _DIFFICULT:
        raise UserError(f"{here}: <difficult> is {brief(difficult)}; it must be 0 or 1")
    return _Object(
        user_files.same_name(name.text),
        (x1 - origin, y1 - origin, x2, y2),
        _DIFFICULT[difficult],
        here,
    )


def _field(node: xml.Node, tag: str, where: str) -> xml.Node:
    matches = node.all(tag)
    if len(matches) != 1:
        raise UserError(
            f"{where} line {node.line}: <{node.tag}> has {len(matches)} elements <{tag}>; it needs "
            "exactly one"
        )
    return matches[0]
