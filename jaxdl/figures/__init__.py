"""Figures of a finished run. Each is a function of `Finished` that returns a Matplotlib figure.

To add one, write such a function in the file of its subject and name it in `FIGURES`, or leave it
in your own code and name it in the config as `'package.module:function'`. What can be drawn of an
experiment and its state alone may stand in `PREVIEWS` too, and is then drawn at each evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.figures.answers import answers_gallery
from jaxdl.figures.classification import class_accuracy, confusion, gallery
from jaxdl.figures.curves import learning_curves
from jaxdl.figures.detection import (
    boxes_gallery,
    detections,
    draw_boxes,
    precision_recall,
    show_detections,
)
from jaxdl.figures.driving import steering, steering_strip
from jaxdl.figures.finished import Finished
from jaxdl.figures.language import captions
from jaxdl.figures.polynomial import descent_path, polynomial_fit
from jaxdl.files import make_parent, refuse_special, replace_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "PREVIEWS",
    "Finished",
    "answers_gallery",
    "boxes_gallery",
    "draw",
    "draw_boxes",
    "gallery",
    "learning_curves",
    "preview",
    "save",
    "show_detections",
]

FIGURES: dict[str, Callable[[Finished], Figure]] = {
    "captions": captions,
    "class_accuracy": class_accuracy,
    "confusion": confusion,
    "descent_path": descent_path,
    "detections": detections,
    "polynomial_fit": polynomial_fit,
    "precision_recall": precision_recall,
    "steering": steering,
    "steering_strip": steering_strip,
}


PREVIEWS: dict[str, Callable[[Any, Any], Figure]] = {"detections": show_detections}


def preview(
    figures: Mapping[str, Callable[[Finished], Figure]],
    experiment: Any,
    state: Any,
    step: int,
    folder: Path,
    attempt: Callable[..., None],
) -> None:
    """Draw those of the figures that need no end, each into a folder of its own, by step.

    `attempt` calls a function, and tells if it fails; so does that of `draw`.
    """
    for name in sorted(figures.keys() & PREVIEWS.keys()):
        path = folder / name / f"{step:08}.png"
        attempt(_draw, lambda name=name: PREVIEWS[name](experiment, state), path)


def draw(
    figures: Mapping[str, Callable[[Finished], Figure]],
    run: Finished,
    folder: Path,
    attempt: Callable[..., None],
) -> None:
    """Draw the learning curves and the given figures into a folder, as PNG."""
    for name, function in {"learning_curves": learning_curves, **figures}.items():
        path = folder / f"{name.rpartition(':')[2]}.png"
        attempt(_draw, lambda function=function: function(run), path)


def _draw(make: Callable[[], Figure], path: Path) -> None:
    """Draw a figure of a run, below whose top nothing leads elsewhere."""
    for folder in (path.parent.parent, path.parent):
        refuse_special(folder)
    save(make(), path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its suffix says in which format.

    Raises:
      UserError: the file cannot be written, or a link, a pipe or a device is in its place.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:] or None, dpi=120, bbox_inches="tight")
    replace_bytes(make_parent(path), drawn.getvalue())
