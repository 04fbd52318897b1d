"""Signatures in words: types as people write them, and what a docstring says of each argument."""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from collections import abc
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin


def signature(thing: Callable[..., Any]) -> inspect.Signature:
    """What a callable takes; of a class, `__init__`, even if its metaclass hides that, as NNX's do.

    Raises:
      TypeError or ValueError: as of `inspect.signature`.
    """
    if not inspect.isclass(thing) or type(thing).__call__ is type.__call__:
        return inspect.signature(thing)
    of_init = inspect.signature(thing.__init__)  # type: ignore[misc]
    return of_init.replace(parameters=[*of_init.parameters.values()][1:])


class Documentation(NamedTuple):
    """A docstring, taken apart.

    Attributes:
      summary: its first line.
      body: the paragraphs after it, up to the first section.
      arguments: what `Args:` or `Attributes:` says of each.
    """

    summary: str
    body: str
    arguments: dict[str, str]


def documentation(thing: Callable[..., Any]) -> Documentation:
    """What the docstring of a class or function says, if it is in Google's style.

    What a class does not say of an argument, the class that it inherits it from does.
    """
    text = inspect.getdoc(thing) or ""
    if text.startswith(f"{getattr(thing, '__name__', '')}("):  # the signature: a dataclass has none
        text = ""
    before = re.split(r"^(?:Args|Attributes|Returns|Raises|Examples?):$", text, flags=re.MULTILINE)
    summary, _, body = before[0].strip().partition("\n\n")
    arguments: dict[str, str] = {}
    for part in reversed(inspect.getmro(thing)) if inspect.isclass(thing) else (thing,):
        arguments |= _arguments(inspect.cleandoc(part.__doc__ or ""))
    return Documentation(" ".join(summary.split()), body.strip("\n"), arguments)


def _arguments(text: str) -> dict[str, str]:
    """What a docstring says of each argument: a section is a title, and what is indented below."""
    sections = dict(re.findall(r"^(\w+):\n((?:[ ]+.*\n|\n)+)", text + "\n", re.MULTILINE))
    listed = textwrap.dedent(sections.get("Args") or sections.get("Attributes") or "")
    entries = re.findall(r"^([\w, ]+):\s+(.*(?:\n(?:[ ]+.*|$))*)", listed, re.MULTILINE)
    return {
        name.strip(): " ".join(said.split()) for names, said in entries for name in names.split(",")
    }


def in_words(thing: Any) -> str:
    """What an annotation or a callable is called: `int`, `float or None`, `list of str`."""
    if thing is Any:
        return "any"
    origin, parts = get_origin(thing), get_args(thing)
    if origin in (types.UnionType, Union):
        return _either([in_words(part) for part in parts])
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is list or (origin is tuple and parts[-1] is Ellipsis):
        return f"list of {in_words(parts[0])}"
    if origin is tuple:
        return f"({', '.join(map(in_words, parts))})"
    if origin is abc.Mapping:
        return "dict"
    if origin is abc.Callable:
        return "function"
    named = inspect.isclass(thing) or inspect.isroutine(thing)
    text = "None" if thing is types.NoneType else thing.__name__ if named else str(thing)
    return text.replace("typing.", "").replace("collections.abc.", "")


def _either(names: list[str]) -> str:
    if {"int", "float", "complex"} <= {*names}:  # of optax and JAX: whatever can be an array
        names = ["number", *(["None"] if "None" in names else [])]
    return " or ".join(dict.fromkeys(names))
