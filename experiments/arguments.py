"""What the command lines of studies share: types of arguments, and mistakes in one line."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from jaxdl.errors import UserError

_FORMATS = (".jpg", ".pdf", ".png", ".svg", ".webp")


def count(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def weight(text: str) -> float:
    """A number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value


def seed(text: str) -> int:
    """An integer from 0 to 2³² - 1."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2³² - 1, got {text!r}")
    return int(text)


def picture(text: str) -> Path:
    """A path to draw to; known to be none before hours are spent on what is drawn."""
    path = Path(text)
    if path.suffix not in _FORMATS or path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file of {', '.join(_FORMATS)}, got {text!r}")
    return path


@contextlib.contextmanager
def in_one_line(parser: argparse.ArgumentParser) -> Iterator[None]:
    """A mistake of the user ends the study with one line, and status 2."""
    try:
        yield
    except UserError as error:
        parser.exit(2, f"{error}\n")
