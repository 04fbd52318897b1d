"""What the sources of boxes share: paths below a folder, lists of images, and numbers as text."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.images.annotations import Corners
from jaxdl.data.images.frame import Size
from jaxdl.data.images.lazy import EncodedFiles
from jaxdl.errors import UserError, brief, printable

_log = logging.getLogger("jaxdl")
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:[\\/]|\\\\")  # URLs and Windows
_DEEPEST = 6  # folders and a name that are looked for of a path of another machine


def inside(name: str, where: str, root: Path | None = None) -> str:
    """A path below a folder, as this system writes it; refused if it leads out of the folder.

    With `root`, which is the folder, also one that other systems, machines and tools write: see
    `_below`.
    """
    plain = os.path.normpath(name) if root is None else _below(root, name)
    if root is not None and _ELSEWHERE.match(name) and not os.path.exists(root / plain):
        raise UserError(
            f"{where}: {brief(name)} is a path on another machine, and nothing below {root} has "
            "its name; copy it there"
        )
    if not name or os.path.isabs(plain) or plain.split(os.sep)[0] == "..":
        raise UserError(f"{where}: path {brief(name)} leads out of its folder; give one inside it")
    return plain


def _below(root: Path, name: str) -> str:
    """The form of a path in which it exists below a folder, or else the path itself.

    Tried are the path, absolute ones that lead into the folder too; with slashes for backslashes;
    without the `../` before it (as Roboflow writes it), or without the names of the folder itself
    (images/a.jpg in images). Of an absolute path of another machine, and of a URL, the end that
    exists below the folder is taken, with a warning.
    """
    plain = os.path.normpath(name)
    if os.path.isabs(plain):
        for place in (os.path.abspath(root), os.path.realpath(root)):
            plain = plain.removeprefix(os.path.join(place, ""))
    elif not plain.startswith("..") and os.path.exists(root / plain):
        return plain  # as almost all; COCO has 118,287
    slashed = os.path.normpath(name.replace("\\", "/"))
    bare = re.sub(r"^(\.\./)+", "", slashed)
    parts = bare.split("/")
    shorter = ["/".join(parts[k:]) for k in (1, 2, 3) if parts[:k] == [*root.parts[-k:]]]
    if found := _existing(root, [plain, slashed, bare, *shorter]):
        return found
    if os.path.isabs(name) or _ELSEWHERE.match(name):
        forms = dict.fromkeys((slashed, os.path.normpath(unquote(slashed))))
        ends = [form.split("/")[-k:] for form in forms for k in range(_DEEPEST, 0, -1)]
        if found := _existing(root, ["/".join(end) for end in ends]):
            _tell_tail(root, name, found)
            return found
    return plain


def _existing(root: Path, names: Sequence[str]) -> str | None:
    """The first of the names that exists in a folder, as it is spelt there."""
    plain = (name for name in names if name and not os.path.isabs(name))
    spelt = (user_files.spelt(root, name, os.path.exists) for name in plain)
    return next(filter(None, spelt), None)


_told: set[Path] = set()


def _tell_tail(root: Path, name: str, found: str) -> None:
    """Say, once for each folder, that paths of another machine are taken for files here."""
    if root not in _told:
        _told.add(root)
        _log.warning(
            "%s: paths of another machine are taken for those below this folder, such as %s for %s",
            *(root, found, brief(name)),
        )


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
                    f"be disjoint: leave {role} out, and a share of train is held out by its "
                    "fraction"
                )


def shape(files: EncodedFiles, i: int, *, upright: bool) -> Size:
    """Height and width of image i, from its header; no pixels are decoded."""
    path = files.root / files.paths[i]
    try:
        return pixels.size(path, upright=upright)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{files.name(i)}: {pixels.reason(path, error)}") from error


def unstated_shape(files: EncodedFiles, i: int, boxes: Sequence[Corners], upright: bool) -> Size:
    """Height and width that the boxes of an image are in, where its annotation does not say.

    If a note in the image swaps its sides, that of the two in which all boxes lie; if they lie in
    both, that of the pixels as stored, and this is told.
    """
    shown = shape(files, i, upright=True)
    stored = shown if upright else shape(files, i, upright=False)
    if stored == shown:
        return shown
    fit = {
        size: all(x <= size[1] and y <= size[0] for *_, x, y in boxes) for size in (stored, shown)
    }
    if fit[stored] == fit[shown]:
        _log.warning(
            "%s: has a note to rotate it, and its annotation has no size; its boxes are taken to "
            "be of the pixels as stored: set upright=True if they are of the picture as viewers "
            "show it",
            files.name(i),
        )
    return shown if fit[shown] and not fit[stored] else stored


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
