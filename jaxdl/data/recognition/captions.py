"""What images with captions are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdl.data import user_files
from jaxdl.data.recognition.recognized import FEW, Recognized, counted, named
from jaxdl.data.sources.captions import captions, captions_in
from jaxdl.errors import printable

_SIDE = 64  # pixels


def recognize_captions(path: str, place: Path, pictures: Sequence[Path]) -> Recognized | None:
    """Images and a file of their captions; None if there is none.

    Args:
      path: of the folder.
      place: the same, with ~ expanded.
      pictures: the images in it and below.

    Raises:
      UserError: the source refuses them.
    """
    if (found := captions_in(place)) is None:
        return None
    file, first = found
    parents = {part for picture in pictures for part in picture.relative_to(place).parents}
    folders = [file.parent, *(place / part for part in sorted(parents))]
    folder = next((each for each in folders if user_files.spelt(each, first)), pictures[0].parent)

    def below(inner: Path) -> str:
        return str(Path(path, inner.relative_to(place)))

    settings: dict[str, Any] = {"path": below(file), "images": below(folder), "size": _SIDE}
    if len(pictures) < FEW:
        settings |= {"validation_fraction": 0.0, "test_fraction": 0.0}
    splits = captions(**settings)
    example = printable(str(splits["train"].columns["caption"][0]), 60)
    notes: tuple[str, ...] = (
        f"captions: {counted(splits)}, such as {example!r}",
        f"reads them in {printable(file.name)}, and the images in {printable(below(folder))}",
    )
    beside = user_files.below(place, (".txt", ".csv", ".json", ".jsonl"), deep=False)
    files = (*beside, *sorted(place.glob("annotations/*captions*.json")))
    if others := [each.name for each in files if each != file]:
        notes += (f"does not read {named(others)}",)
    return Recognized("captions", settings, splits, notes)
