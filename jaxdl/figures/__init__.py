"""Figures of a run: functions of `FinishedRun` that return a Matplotlib figure.

They know results only: numbers, tables, and functions that give predictions, but not the model. To
add one, write such a function in the file of its subject and add it to `FIGURES`, or keep it in
your own code and name it in the config as `'package.module:function'`. `@needs` above it says what
it needs of a run, so that its lack is told before training. A figure that needs neither `result`
nor `history` may be named in `PREVIEWS` too, and is drawn at every evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxdl.figures.answers import answers_gallery
from jaxdl.figures.classification import class_accuracy, confusion, gallery
from jaxdl.figures.curves import learning_curves
from jaxdl.figures.detection import (
    boxes_gallery,
    detections,
    draw_boxes,
    precision_recall,
)
from jaxdl.figures.driving import steering, steering_strip
from jaxdl.figures.episode import episode
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.inside import class_maps, filter_grid, unit_patches
from jaxdl.figures.language import captions
from jaxdl.figures.localization import localizations
from jaxdl.figures.needs import PlannedRun, needs, undrawable
from jaxdl.figures.piano_roll import piano_roll
from jaxdl.figures.polynomial import descent_path, polynomial_fit
from jaxdl.figures.reconstruction import codes, reconstructions, samples
from jaxdl.files import make_parent, refuse_special, replace_bytes, special

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "PREVIEWS",
    "FigureFolder",
    "FinishedRun",
    "PlannedRun",
    "answers_gallery",
    "boxes_gallery",
    "class_maps",
    "draw",
    "draw_boxes",
    "drawn",
    "filter_grid",
    "gallery",
    "learning_curves",
    "needs",
    "preview",
    "save",
    "undrawable",
    "undrawn",
    "unit_patches",
]

_MOST = 40  # figures of a run
_LARGEST = 8 << 20  # bytes of a figure
_PNG = b"\x89PNG\r\n\x1a\n"

Figures = Mapping[str, Callable[[FinishedRun], "Figure"]]  # name -> function

FIGURES: dict[str, Callable[[FinishedRun], Figure]] = {
    function.__name__: function
    for function in (
        captions,
        class_accuracy,
        codes,
        confusion,
        descent_path,
        detections,
        episode,
        localizations,
        piano_roll,
        polynomial_fit,
        precision_recall,
        reconstructions,
        samples,
        steering,
        steering_strip,
    )
}

PREVIEWS = frozenset({"detections", "localizations"})


class FigureFolder(NamedTuple):
    """Where the figures of a run go.

    Attributes:
      folder: the run's folder of figures.
      attempt: calls its first argument with the others; it says what failed instead of raising it.
      publish: takes the name and the PNG file of each.
    """

    folder: Path
    attempt: Callable[..., None]
    publish: Callable[[str, bytes], None]

    def draw(self, function: Callable[[FinishedRun], Figure], run: FinishedRun, place: str) -> None:
        """Draw a figure as folder/place.png."""
        self.attempt(self._draw, function, run, self.folder / f"{place}.png")

    def _draw(
        self, function: Callable[[FinishedRun], Figure], run: FinishedRun, path: Path
    ) -> None:
        """Save a figure, unless its folder or the one above it is a link that leads elsewhere."""
        for folder in (path.parent.parent, path.parent):
            refuse_special(folder)
        name = path.relative_to(self.folder).parts[0].removesuffix(".png")
        self.publish(name, save(function(run), path))


def preview(figures: Figures, run: FinishedRun, folder: FigureFolder, step: int) -> None:
    """Draw those of the figures that are in `PREVIEWS`, as name/step.png, of the results so far."""
    for name in sorted(figures.keys() & PREVIEWS):
        folder.draw(figures[name], run, f"{name}/{step:08}")


def draw(figures: Figures, run: FinishedRun, folder: FigureFolder) -> None:
    """Draw the learning curves and the given figures, as name.png."""
    for name, function in {"learning_curves": learning_curves, **figures}.items():
        folder.draw(function, run, name.rpartition(":")[2])


def drawn(folder: Path) -> dict[str, Path]:
    """Name -> PNG of each figure in a folder; of those drawn at each evaluation, the last.

    The learning curves come first. Links, and files that are too large or no PNG, are left out.
    """
    if special(folder) or not folder.is_dir():
        return {}
    found = dict[str, Path]()
    places = sorted(folder.iterdir(), key=lambda path: (path.stem != "learning_curves", path.name))
    for path in places[:_MOST]:
        if not special(path) and path.is_dir():
            inner = sorted(path.glob("*.png"))
            path = inner[-1] if inner else path
        if special(path) or not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        with path.open("rb") as file:
            if file.read(len(_PNG)) == _PNG:
                found[str(path.relative_to(folder)).removesuffix(".png")] = path
    return found


def undrawn(figures: Figures, folder: Path) -> list[str]:
    """The files of figures that are not in their folder, since drawing or writing them failed."""
    files = [f"{name.rpartition(':')[2]}.png" for name in ("learning_curves", *figures)]
    return [file for file in files if not (folder / file).exists()]


def save(figure: Figure, path: Path) -> bytes:
    """Write a figure to a file, in the format of its suffix; returns what is written.

    Raises:
      UserError: the file cannot be written, or a link, a pipe or a device is in its place.
    """
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:] or None, dpi=120)
    replace_bytes(make_parent(path), image.getvalue())
    return image.getvalue()
