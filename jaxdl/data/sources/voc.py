"""Images with boxes in Pascal VOC's format: an XML file for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from jaxdl.data import user_files
from jaxdl.data.images.annotations import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.sources import box_files
from jaxdl.data.splits import hashed_roles, require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_DEEPEST = 100  # levels of nested elements; a picture's has five
_LARGEST = 2**24  # bytes of an XML file: expat before 2.6 takes quadratic time for a long token
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
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    degenerate: Degenerate = "refuse",
    lazy: bool = False,
) -> dict[str, Table]:
    """Images with boxes in a folder like Pascal VOC's (Everingham et al. 2010, section 2).

    The splits are read from ImageSets/Main/train.txt and so on, one name on each line. Without that
    folder a hash of its name decides the split of an image, so it stays there when others are
    added.

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
      test_fraction: without lists, the expected share of the test split; 0 for none.
      validation_fraction: without lists, the expected share of the validation split; 0 for none.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images when they are needed, for data that does not fit in memory. A damaged
        image, or one of another size, is then only noticed when it is needed.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a folder or list is missing; an image is missing, listed twice, in two splits,
        damaged or of another size; a file is not XML of this form; a class is unknown, or a box not
        valid. The message names the file and line.
    """
    require_size("voc", size)
    require_fractions("voc", test_fraction, validation_fraction)
    root = box_files.folder(path, "voc")
    lists = {"train": train, "validation": validation, "test": test}
    if (root / "ImageSets" / "Main").is_dir():
        entries = {r: _listed(root, r, name) for r, name in lists.items() if name is not None}
    else:
        stems = sorted(file.stem for file in (root / annotations).glob("*.xml"))
        parts = hashed_roles(stems, test_fraction, validation_fraction)
        entries = {r: [(stem, f"voc: {root}") for stem in part] for r, part in parts.items()}
    notes = {
        role: [_Notes.read(root / annotations, stem, where) for stem, where in part]
        for role, part in entries.items()
    }
    encoded = {
        role: box_files.listed(root / images, [n.image for n in part], [n.where for n in part])
        for role, part in notes.items()
    }
    box_files.require_disjoint(encoded, "voc")
    names = classes or tuple(sorted({name for n in notes["train"] for name in n.names}))
    labels = {name: i for i, name in enumerate(names)}
    splits = {
        role: Annotated(
            encoded[role],
            [
                n.labelled(n.shape or box_files.shape(encoded[role], i, upright=False), labels)
                for i, n in enumerate(part)
            ],
            f"voc: {root} {role}",
        )
        for role, part in notes.items()
    }
    return tables(splits, names, size, degenerate, lazy)


def _listed(root: Path, role: str, name: str) -> _Entries:
    """The names in a list of ImageSets/Main, and the line of each."""
    file = root / "ImageSets" / "Main" / f"{box_files.inside(name, f'voc: config.data.{role}')}.txt"
    if not file.is_file():
        lists = ", ".join(sorted(other.stem for other in file.parent.glob("*.txt"))) or "none"
        none = "" if role == "train" else f", or None for no {role} split"
        raise UserError(
            f"voc: no {file}; its folder has {lists}: set config.data.{role} to one of them{none}"
        )
    lines = enumerate(user_files.read(file, "voc").split("\n"), 1)
    return [(line.strip(), f"voc: {file} line {i}") for i, line in lines if line.strip()]


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
    def read(cls, folder: Path, stem: str, listed: str) -> _Notes:
        """The annotations of this stem in a folder of XML files."""
        file = folder / f"{box_files.inside(stem, listed)}.xml"
        where = f"voc: {file}"
        if not file.is_file():
            raise UserError(f"{listed}: no {file}; add it, or remove the name")
        with user_files.reading("voc", file):
            root = _parse(file)
            names = [node.text for node in root.all("filename") if node.text]
            sizes = root.all("size")
            objects = tuple(_object(node, where) for node in root.all("object"))
            shape = _shape(sizes[0], where) if sizes else None
        return cls(names[0] if names else f"{stem}.jpg", shape, objects, where)

    @property
    def names(self) -> set[str]:
        """The names of the objects' classes."""
        return {each.name for each in self.objects}

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


def _shape(node: _Node, where: str) -> Size:
    height, width = (_field(node, name, where) for name in ("height", "width"))
    here = f"{where} line {node.line}"
    shape = box_files.whole(height.text, "height", here), box_files.whole(width.text, "width", here)
    if min(shape) < 1:
        raise UserError(f"{here}: size {shape[0]}×{shape[1]} (height × width); correct it")
    return shape


def _object(node: _Node, where: str) -> _Object:
    name, box = _field(node, "name", where), _field(node, "bndbox", where)
    corners = [_field(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = (
        box_files.number(corner.text, corner.tag, f"{where} line {corner.line}")
        for corner in corners
    )
    difficult = next((each.text for each in node.all("difficult")), "0")
    return _Object(
        name.text, (x1 - 1, y1 - 1, x2, y2), difficult == "1", f"{where} line {node.line}"
    )


def _field(node: _Node, tag: str, where: str) -> _Node:
    matches = node.all(tag)
    if len(matches) != 1:
        raise UserError(
            f"{where} line {node.line}: <{node.tag}> has {len(matches)} elements <{tag}>; it needs "
            "exactly one"
        )
    return matches[0]


@dataclass(slots=True)
class _Node:
    """An XML element, the line that it begins in, and the text before its first child."""

    tag: str
    line: int
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def all(self, tag: str) -> list[_Node]:
        """The children with this tag."""
        return [child for child in self.children if child.tag == tag]


def _content(file: Path) -> bytes:
    with user_files.opened(file) as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UserError(
            f"voc: {file} is larger than {_LARGEST:,} bytes, too much for one image; correct it"
        )
    return content


def _parse(file: Path) -> _Node:
    """The root of an XML file. Refuses document types, which could make a file expand endlessly."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    open_nodes, texts = [_Node("", 0)], [[""]]

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = _Node(tag, parser.CurrentLineNumber)
        if len(open_nodes) > _DEEPEST:
            raise UserError(f"voc: {file} line {node.line}: nested too deeply; mend it")
        open_nodes[-1].children.append(node)
        open_nodes.append(node)
        texts.append([])

    def end(tag: str) -> None:
        open_nodes.pop().text = "".join(texts.pop()).strip()

    def text(part: str) -> None:
        if not open_nodes[-1].children:
            texts[-1].append(part)

    def doctype(*declared: object) -> None:
        line = parser.CurrentLineNumber
        raise UserError(f"voc: {file} line {line}: has a DOCTYPE, which is not allowed; remove it")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        parser.Parse(_content(file), True)
    except expat.ExpatError as error:
        why = expat.ErrorString(error.code)
        raise UserError(f"voc: {file} line {error.lineno}: not XML ({why}); correct it") from None
    except OSError as error:
        raise UserError(f"voc: cannot read {file}: {error.strerror}") from None
    except UserError:
        raise
    except (LookupError, ValueError) as error:  # an encoding that the parser does not know
        raise UserError(f"voc: {file}: not XML ({error}); write it in UTF-8") from None
    root = open_nodes[0].children[0]
    if root.tag != "annotation":
        raise UserError(
            f"voc: {file} line {root.line}: <{printable(root.tag)}> where <annotation> is expected"
        )
    return root
