"""The images below a folder that annotations name, with or without suffix and folders."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from jaxdl.data.images.pixels import SUFFIXES
from jaxdl.data.splits import role_in
from jaxdl.data.user_files import below, same_name
from jaxdl.errors import UserError, printable, some

_log = logging.getLogger("jaxdl")


class ImageFinder:
    """Finds images below a folder by what tools write for them.

    Args:
      folder: of the images.

    Attributes:
      folder: the same.
      images: their paths below it, in alphabetical order.
      folders: the paths of the folders that these are in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = [str(file.relative_to(folder)) for file in below(folder, SUFFIXES)]
        self.folders = sorted({str(Path(image).parent) for image in self.images})
        self._of_role: dict[str | None, list[str]] = {}
        for each in self.folders:
            self._of_role.setdefault(role_in(Path(each).name), []).append(each)
        self._by_stem: dict[str, list[str]] = {}
        for image in self.images:
            self._by_stem.setdefault(_forms(image)[-1][-1], []).append(image)

    def __call__(self, names: Sequence[str], where: str) -> str | None:
        """The path of the image that the first of the names stands for that stands for any.

        A name may lack the suffix or have another, as formats are converted; it may lack folders
        before it, or have more, as on another machine. Of images that differ only in their
        suffixes, that with the file name of one of the names is taken.

        Raises:
          UserError: several images have the name.
        """
        files = {PurePosixPath(name.replace("\\", "/")).name for name in names}
        for name in names:
            found = self.named(name)
            same = [image for image in found if Path(image).name in files]
            if len(found) > 1 and len(same) != 1:
                raise UserError(
                    f"{where}: could belong to {' or '.join(found[:2])}; remove one of them, or "
                    "write its folder before the name"
                )
            if found:
                return (same or found)[0]
        return None

    def in_split(self, name: str, role: str, where: str) -> str | None:
        """The image of a name, best in a folder that is called as the split; None if it has none.

        Raises:
          UserError: several images have the name.
        """
        within = [f"{folder}/{name}" for folder in self._of_role.get(role, ())]
        return self([*within, name], where) if name else None

    def unused(self, used: Iterable[str]) -> list[str]:
        """The images that are none of these."""
        known = {*used}
        return [image for image in self.images if image not in known]

    def tell_left_out(self, source: str, unused: Sequence[str], why: str, remedy: str = "") -> None:
        """Warn of images that a source leaves out, if there are any.

        Args:
          source: its name.
          unused: the images.
          why: what is said of them, such as 'no row names'.
          remedy: what to do about it, after a semicolon.
        """
        if unused:
            _log.warning(
                "%s: %s: left out %d of %d images, which %s: %s%s",
                *(source, self.folder, len(unused), len(self.images), why),
                *(some([printable(name) for name in unused], 3, ", "), remedy),
            )

    def named(self, name: str) -> list[str]:
        """The images whose whole path, as far as it goes, ends a name; or else that end in it."""
        for parts in _forms(name.replace("\\", "/")):
            images = {image: _forms(image)[-1] for image in self._by_stem.get(parts[-1], ())}
            ends = {i: len(own) for i, own in images.items() if parts[-len(own) :] == own}
            if ends:
                return [i for i, length in ends.items() if length == max(ends.values())]
            if found := [i for i, own in images.items() if own[-len(parts) :] == parts]:
                return found
        return []


def _forms(name: str) -> list[tuple[str, ...]]:
    """The folders and the name in a path: as it is, and without an image's suffix."""
    path = PurePosixPath(same_name(name) or ".")
    bare = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return [path.parts or ("",), bare.parts or ("",)]
