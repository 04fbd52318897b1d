"""What coco, voc and yolo share: paths below a folder, lists of images, and numbers as text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.images.frame import Size
from jaxdl.data.images.lazy import EncodedFiles
from jaxdl.errors import UserError, brief, printable


def inside(name: str, where: str, root: Path | None = None) -> str:
    """A path below a folder, as this system writes it; refused if it leads out of the folder.

    With `root`, which is the folder, also one that other systems and tools write: with backslashes,
    absolute but into the folder, or with `../` before what is in it (as Roboflow does).
    """
    plain = os.path.normpath(name)
    if root is not None and "\\" in name and not os.path.exists(root / plain):
        with suppress(UserError):
            other = inside(name.replace("\\", "/"), where, root)
            plain = other if os.path.exists(root / other) else plain
    if root is not None and os.path.isabs(plain):
        for place in (os.path.abspath(root), os.path.realpath(root)):
            plain = plain.removeprefix(os.path.join(place, ""))
    if root is not None and plain.startswith(".."):
        below = re.sub(r"^(\.\./)+", "", plain)
        plain = below if os.path.exists(root / below) else plain
    if not name or os.path.isabs(plain) or plain.split(os.sep)[0] == "..":
        raise UserError(f"{where}: path {brief(name)} leads out of its folder; give one inside it")
    return plain


def folder(path: str, source: str) -> Path:
    """The folder of this path; refused if it does not exist."""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"{source}: no folder {root}; set config.data.path to the data's folder")
    return root


def listed(root: Path, names: Sequence[str], where: Sequence[str]) -> EncodedFiles:
    """The images that annotations name.

    Args:
      root: the folder that they are in.
      names: their paths, relative to `root`.
      where: what to call each entry in a message: the file, and the line or number.

    Raises:
      UserError: a path leads out of the folder, or an image is listed twice or missing.
    """
    seen: dict[str, str] = {}
    for name, entry in zip(names, where, strict=True):
        plain = inside(name, entry, root)
        found = user_files.spelt(root, plain)
        if found is None:
            raise UserError(
                f"{entry}: no image {printable(root / plain, 300)}; add it, or remove the entry"
            )
        if found in seen:
            raise UserError(f"{entry}: image {brief(name)} is listed twice, first by {seen[found]}")
        seen[found] = entry
    return EncodedFiles(root, [*seen])


def require_disjoint(splits: Mapping[str, EncodedFiles], source: str) -> None:
    """Refuse an image that is in two splits: the test would be easier than it seems."""
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


def shape(files: EncodedFiles, i: int, *, upright: bool) -> Size:
    """Height and width of image i, from its header; no pixels are decoded."""
    path = files.root / files.paths[i]
    try:
        return pixels.size(path, upright=upright)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{files.name(i)}: {pixels.reason(path, error)}") from error


def number(value: Any, what: str, where: str) -> float:
    """A number, or a text of one. May be infinite or nan, which `tables` refuses."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{where}: {what} is {brief(value)}, not a number; correct it")


def whole(value: Any, what: str, where: str) -> int:
    """A whole number, or a text of one, of at most 2⁵³: a float holds every one up to there."""
    real = number(value, what, where)
    if not real.is_integer() or abs(real) > 2**53:  # infinities and nan are not integers either
        raise UserError(f"{where}: {what} is {brief(value)}, not a whole number; correct it")
    return int(real)
