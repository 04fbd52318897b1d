"""The classes of images in their file names, such as cat in cat.12.jpg."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from pathlib import Path

from jaxdl.data.images.pixels import SUFFIXES
from jaxdl.data.sources.class_folders import Labelled
from jaxdl.data.sources.label_tables import by_folder
from jaxdl.data.user_files import below, same_name
from jaxdl.errors import UserError, brief, printable

NUMBERED = r"(.*?[^\W\d_].*?)[ ._(-]*\d+\)?"  # words, and a number that is not of the class

_log = logging.getLogger("jaxdl")


def named_images(root: Path, pattern: str) -> dict[str, Labelled]:
    """The images whose names hold their class, by the split that their folder is called as.

    A folder in which no name does is left out, with a warning.

    Args:
      root: the folder of the images.
      pattern: a regular expression for the whole name without suffix; its group is the class.

    Raises:
      UserError: the pattern is not valid, or names that it does not fit are beside others.
    """
    try:
        fits = re.compile(pattern)
    except re.error as error:
        raise UserError(f"images: label_in_name={pattern!r}: {error}") from None
    if fits.groups != 1:
        raise UserError(
            f"images: label_in_name={pattern!r}: has {fits.groups} groups; put the class, and "
            r"nothing else, into one, as in '(.+)\.\d+' for cat.12.jpg"
        )
    folders = defaultdict[Path, list[tuple[str, str | None]]](list)
    for file in below(root, SUFFIXES):
        match = fits.fullmatch(same_name(file.stem))
        folders[file.parent].append((str(file.relative_to(root)), match and match[1]))
    labelled: list[tuple[str, str]] = []
    for folder, images in folders.items():
        named = [(image, kind) for image, kind in images if kind]
        if not named:
            _log.warning("images: left out %s: no name in it has a class", printable(str(folder)))
        elif len(named) < len(images):
            first = next(image for image, kind in images if not kind)
            raise UserError(
                f"images: {root / first}: no class in its name, as in {brief(named[0][0])}; rename "
                f"or move it, or change label_in_name={pattern!r}"
            )
        labelled += named
    if not labelled:
        raise UserError(f"images: {root}: no image has a name like label_in_name={pattern!r}")
    return by_folder(labelled)
