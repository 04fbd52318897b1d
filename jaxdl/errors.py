"""The exception for a user's mistakes, and functions that make text safe to print."""

from __future__ import annotations

import difflib
import functools
import itertools
import os
import re
import reprlib
import sysconfig
import traceback
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints

_MESSAGE = 4_000  # characters of an error at most
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 60, 60
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})  # categories without a glyph
# Letters and marks that Unicode has drawn as nothing (Default_Ignorable_Code_Point).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# What joins emoji to one, and what asks for their colored form, is part of how they are written.
_EMOJI = "\u00a9\u00ae\u203c\u2049\u2100-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_JOINED = re.compile(
    f"(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])|(?<=[{_EMOJI}])\ufe0f|(?<=[0-9#*])\ufe0f(?=\u20e3)"
)

# Files whose code is not the user's: jaxdl's, Python's, and what has no file.
_NOT_OWN = (os.path.dirname(__file__) + os.sep, sysconfig.get_path("stdlib") + os.sep, "<frozen")


class UserError(ValueError):
    """A mistake that the user can correct.

    The message is one printable line, whatever it quotes: what is wrong, where, and the remedy. The
    command line prints it without a traceback and exits with status 2; a notebook, too, shows only
    this line.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), _MESSAGE)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of the traceback, which `%debug` still has."""
        return [f"{type(self).__name__}: {self}"]


class Diverged(UserError):
    """Training has produced numbers that are not finite."""


def check_choices(thing: Any, where: str = "") -> None:
    """Refuse a dataclass of which a field is none of the values that its `Literal` names.

    Raises:
      UserError: with the values that are possible.
    """
    kind: Any = type(thing)
    for name, options in _choices(kind).items():
        value = getattr(thing, name)
        if value not in options:
            listed = ", ".join(map(repr, options))
            raise UserError(f"{where}{name}: expected one of {listed}, got {brief(value)}")


@functools.cache
def _choices(kind: type) -> dict[str, tuple[Any, ...]]:
    """The values that are possible for each field of a class that is annotated with `Literal`."""
    hints = get_type_hints(kind)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def some(items: Collection[object], most: int = 4, between: str = "; ") -> str:
    """The first of several items in one line, and how many more there are."""
    shown = between.join(str(item) for item in itertools.islice(items, most))
    more = f"{between}and {len(items) - most:,} more" if len(items) > most else ""
    return shown + more


def reason(error: BaseException, most: int | None = None) -> str:
    """The first line of an exception, preceded by its type unless it is a `UserError`."""
    text = getattr(error, "fault", None) or first_line(error, most)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def first_line(error: BaseException, most: int | None = None) -> str:
    """The first line of an exception's message, or else its type; `most` characters at most."""
    return str(error).strip().partition("\n")[0][:most] or type(error).__name__


def own_line(error: BaseException) -> str:
    """The line of the user's own code that an error came through, as ` (file:12)`, or nothing.

    Own is what is neither jaxdl's, nor an installed package's, nor Python's.
    """
    lines = [""]
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(_NOT_OWN) and "-packages" not in file:
            lines.append(f" ({os.path.basename(file)}:{line})")
    return lines[-1]


def brief(value: object) -> str:
    """A foreign value for a message, as Python writes it: one short, printable line."""
    return printable(_BRIEF.repr(value), 120)


def printable(text: object, most: int | None = 200, keep: str = "") -> str:
    r"""Text of others, such as the name of a class, a file or an array, safe to print.

    Controls, line ends, bidirectional overrides, characters without width and halves of surrogate
    pairs (file names that are not UTF-8) become backslash escapes: a terminal would obey them, or
    they would forge a line or hide. Other text, such as é, 中文 or an emoji, stays as it is, and so
    do backslashes. What is printable already is returned unchanged.

    Args:
      text: anything; shown as `str` has it.
      most: characters of the result; of a longer one the middle is left out. None for all.
      keep: characters that stay as they are, such as line ends where lines are wanted.
    """
    text = _shortened(str(text), most)  # before, so that megabytes are not escaped for nothing
    if not text.isprintable() or _INVISIBLE.search(text):
        joints = {match.start() for match in _JOINED.finditer(text)}
        text = "".join(
            c if c in keep or i in joints or _visible(c) else c.encode("unicode_escape").decode()
            for i, c in enumerate(text)
        )
    return _shortened(text, most)


def _visible(character: str) -> bool:
    hidden = unicodedata.category(character) in _HIDDEN
    return not hidden and not _INVISIBLE.match(character)


def _shortened(text: str, most: int | None) -> str:
    if most is None or len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def suggestion(name: Any, options: Iterable[str], known: str = "it takes") -> str:
    """`did you mean 'x'? it takes: …` for a misspelt name."""
    listed = sorted(options)
    return f"{near(str(name), listed)}{known}: {', '.join(listed) or 'nothing'}"


def near(name: str, options: Iterable[str], most: int = 1) -> str:
    """`did you mean 'x'? ` for a misspelt name, or nothing where no option is like it."""
    found = difflib.get_close_matches(name, [*options], n=most)
    return f"did you mean {' or '.join(map(repr, found))}? " if found else ""
