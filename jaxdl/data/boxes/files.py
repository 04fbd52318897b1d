"""What the sources of a user's own files have in common: where images are, and plain numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.data import pixels
from jaxdl.data.boxes.canvas import Size
from jaxdl.data.photos import Files
from jaxdl.errors import UserError, brief, printable


def inside(name: str, where: str) -> str:
    """A relative path, refused where it leads out of the folder that it is below."""
    plain = os.path.normpath(name)
    if not name or os.path.isabs(plain) or plain.split(os.sep)[0] == "..":
        raise UserError(f"{where}: path {brief(name)} leads out of its folder; write one below it")
    return plain


def folder(path: str, source: str) -> Path:
    """A folder that is there."""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"{source}: no folder {root}; set config.data.path to the data's folder")
    return root


def listed(root: Path, names: Sequence[str], where: Sequence[str]) -> Files:
    """Images that annotations name.

    Args:
      root: the folder they are in.
      names: their paths below it.
      where: what to call each entry in a message: the file, and the line or number.

    Raises:
      UserError: a path leads out of the folder, an image stands twice, or is not there.
    """
    seen: dict[str, str] = {}
    for name, entry in zip(names, where, strict=True):
        plain = inside(name, entry)
        if plain in seen:
            raise UserError(
                f"{entry}: image {brief(name)} is listed twice, before by {seen[plain]}"
            )
        seen[plain] = entry
        if not os.path.isfile(root / plain):  # which takes names of any length
            raise UserError(
                f"{entry}: no image {printable(root / plain, 300)}; add it, or remove the entry"
            )
    return Files(root, [*seen])


def require_disjoint(splits: Mapping[str, Files], source: str) -> None:
    """Refuse an image that is in two splits, which would make the test easier than it says."""
    owner: dict[Path, str] = {}
    for role, files in splits.items():
        for path in files.paths:
            file = files.root / path
            other = owner.setdefault(file, role)
            if other != role:
                raise UserError(
                    f"{source}: {file} is both in the {other} and the {role} split; splits must "
                    "be disjoint"
                )


def shape(files: Files, i: int, *, upright: bool) -> Size:
    """Height and width of image i, from its head."""
    path = files.root / files.paths[i]
    try:
        return pixels.size(path, upright=upright)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{files.name(i)}: {pixels.reason(path, error)}") from error


def number(value: Any, what: str, where: str) -> float:
    """A number that is written as such, or as text; whether it is finite, `tables` asks."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{where}: {what} is {brief(value)}, not a number; mend it")


def whole(value: Any, what: str, where: str) -> int:
    """The same of a whole number, of at most 2⁵³: above, floats are not all of them."""
    found = number(value, what, where)
    if not found.is_integer() or abs(found) > 2**53:  # infinite ones and nan are none either
        raise UserError(f"{where}: {what} is {brief(value)}, not a whole number; mend it")
    return int(found)
