"""Images with boxes as Pascal VOC has them: an XML file for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from jaxdl.data import documents
from jaxdl.data.boxes import files
from jaxdl.data.boxes.objects import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.splits import hashed_roles, require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_DEEPEST = 100  # elements in one another; of a picture's, five are
_LARGEST = 2**24  # bytes of an XML file: expat before 2.6 takes time squared for a long token
_Entries = list[tuple[str, str]]  # stems of XML files, and what lists each


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
    """Images with boxes in a folder as Pascal VOC's (Everingham et al. 2010, section 2).

    Which image is in which split is read from ImageSets/Main/train.txt and so on, a name a line.
    Without that folder an image belongs to a split by a hash of its name, so it stays there when
    others are added.

    Corners are pixels of the object, counted from 1, so it is xmax - xmin + 1 pixels wide. Objects
    marked `difficult` are `crowd`: to find them or not counts neither way.

    Args:
      path: the folder.
      size: height and width of the canvas that each image is scaled to fit.
      train: the list in ImageSets/Main that is the train split, such as 'trainval'.
      validation: the same of the validation split; None for no such split.
      test: the same of the test split.
      classes: names of the classes, in the order of their labels; by default those in the train
        split, in alphabetical order.
      images: the folder of the images.
      annotations: the folder of the XML files.
      test_fraction: where there are no lists, the expected share of the test split; 0 for none.
      validation_fraction: the same of the validation split.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images as they are needed, for data that memory does not hold. Whether an image
        is sound, and of its size, is then only seen when it is needed.

    Returns:
      The columns of `jaxdl.data.boxes`.

    Raises:
      UserError: a folder or list that is not there, an image that is missing, listed twice, in two
        splits, not sound or not of its size, a file that is no such XML, an unknown class, or a box
        that is not sound; the message says in which file and line.
    """
    require_size("voc", size)
    require_fractions("voc", test_fraction, validation_fraction)
    root = files.folder(path, "voc")
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
    found = {
        role: files.listed(root / images, [n.image for n in part], [n.where for n in part])
        for role, part in notes.items()
    }
    files.require_disjoint(found, "voc")
    names = classes or tuple(sorted({name for n in notes["train"] for name in n.names}))
    labels = {name: i for i, name in enumerate(names)}
    splits = {
        role: Annotated(
            found[role],
            [
                n.objects(n.shape or files.shape(found[role], i, upright=False), labels)
                for i, n in enumerate(part)
            ],
            f"voc: {root} {role}",
        )
        for role, part in notes.items()
    }
    return tables(splits, names, size, degenerate, lazy)


def _listed(root: Path, role: str, name: str) -> _Entries:
    """The names in a list, and the line of each."""
    file = root / "ImageSets" / "Main" / f"{files.inside(name, f'voc: config.data.{role}')}.txt"
    if not file.is_file():
        there = ", ".join(sorted(other.stem for other in file.parent.glob("*.txt"))) or "none"
        none = "" if role == "train" else ", or None for no such split"
        raise UserError(f"voc: no {file}; there is {there}: set config.data.{role} to one{none}")
    lines = enumerate(documents.read(file, "voc").split("\n"), 1)
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
    """What an XML file says of an image.

    Attributes:
      image: its file name.
      shape: its height and width, if it says.
      found: the objects.
      where: what to call the file in a message.
    """

    image: str
    shape: Size | None
    found: Sequence[_Object]
    where: str

    @classmethod
    def read(cls, folder: Path, stem: str, listed: str) -> _Notes:
        """Those of an image in a folder of XML files."""
        file = folder / f"{files.inside(stem, listed)}.xml"
        where = f"voc: {file}"
        if not file.is_file():
            raise UserError(f"{listed}: no {file}; add it, or remove the name")
        with documents.reading("voc", file):
            root = _parse(file)
            names = [node.text for node in root.all("filename") if node.text]
            sizes = root.all("size")
            found = tuple(_object(node, where) for node in root.all("object"))
            shape = _shape(sizes[0], where) if sizes else None
        return cls(names[0] if names else f"{stem}.jpg", shape, found, where)

    @property
    def names(self) -> set[str]:
        """Of the classes."""
        return {each.name for each in self.found}

    def objects(self, shape: Size, labels: Mapping[str, int]) -> Objects:
        """The objects, of classes that there are."""
        objects = Objects(self.where, shape)
        for each in self.found:
            if each.name not in labels:
                raise UserError(
                    f"{each.where}: class {brief(each.name)} is unknown; there are "
                    f"{', '.join(map(printable, [*labels][:20]))} (those of the train split, or "
                    "config.data.classes)"
                )
            objects.add(each.box, labels[each.name], each.crowd, each.where)
        return objects


def _shape(node: _Node, where: str) -> Size:
    height, width = (_field(node, name, where) for name in ("height", "width"))
    here = f"{where} line {node.line}"
    shape = files.whole(height.text, "height", here), files.whole(width.text, "width", here)
    if min(shape) < 1:
        raise UserError(f"{here}: size {shape[0]}×{shape[1]} (height × width); mend it")
    return shape


def _object(node: _Node, where: str) -> _Object:
    name, box = _field(node, "name", where), _field(node, "bndbox", where)
    corners = [_field(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = (
        files.number(corner.text, corner.tag, f"{where} line {corner.line}") for corner in corners
    )
    difficult = next((found.text for found in node.all("difficult")), "0")
    return _Object(
        name.text, (x1 - 1, y1 - 1, x2, y2), difficult == "1", f"{where} line {node.line}"
    )


def _field(node: _Node, tag: str, where: str) -> _Node:
    found = node.all(tag)
    if len(found) != 1:
        raise UserError(
            f"{where} line {node.line}: <{node.tag}> has {len(found)} times <{tag}>; it needs one"
        )
    return found[0]


@dataclass(slots=True)
class _Node:
    """An element of XML, the line it begins in, and the text before its first element."""

    tag: str
    line: int
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def all(self, tag: str) -> list[_Node]:
        """The elements right below of that tag."""
        return [child for child in self.children if child.tag == tag]


def _content(file: Path) -> bytes:
    with documents.opened(file) as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UserError(f"voc: {file} is larger than {_LARGEST:,} bytes; it is of one image")
    return content


def _parse(file: Path) -> _Node:
    """The root of an XML file. Document types are refused: they can make a file expand at will."""
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
        raise UserError(f"voc: {file} line {line}: a DOCTYPE, which is never read; remove it")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        parser.Parse(_content(file), True)
    except expat.ExpatError as error:
        why = expat.ErrorString(error.code)
        raise UserError(f"voc: {file} line {error.lineno}: no XML ({why}); mend it") from None
    except OSError as error:
        raise UserError(f"voc: cannot read {file}: {error.strerror}") from None
    except UserError:
        raise
    except (LookupError, ValueError) as error:  # an encoding that Python's parser lacks
        raise UserError(f"voc: {file}: no XML ({error}); write it in UTF-8") from None
    root = open_nodes[0].children[0]
    if root.tag != "annotation":
        raise UserError(
            f"voc: {file} line {root.line}: <{printable(root.tag)}> where <annotation> is expected"
        )
    return root
