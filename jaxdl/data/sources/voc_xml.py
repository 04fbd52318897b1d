"""The XML of Pascal VOC's files, as trees whose elements know their lines; for `voc`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from jaxdl.data import user_files
from jaxdl.errors import UserError, printable

_DEEPEST = 100  # levels of nested elements; a picture's has five
_LARGEST = 2**24  # bytes of an XML file: expat before 2.6 takes quadratic time for a long token


@dataclass(slots=True)
class Node:
    """An XML element, the line that it begins in, and the text before its first child."""

    tag: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str) -> list[Node]:
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


def parse(file: Path) -> Node:
    """The root of an XML file. Refuses document types, which could make a file expand endlessly."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    open_nodes, texts = [Node("", 0)], [[""]]

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, parser.CurrentLineNumber)
        if len(open_nodes) > _DEEPEST:
            raise UserError(f"voc: {file} line {node.line}: nested too deeply; correct it")
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
