"""Empty figures, and the colors that figures share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = 24  # characters of a name where there are several
BLUE, RED, GREEN, GREY = "#2b6cb0", "#c53030", "#2f855a", "#718096"


def smoothed(steps: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], np.ndarray]:
    """Running means over a 25th of the points, and the steps at which they end."""
    width = max(1, len(values) // 25)
    return steps[width - 1 :], np.convolve(values, np.ones(width) / width, "valid")


def canvas(panels: int, side: float = 4.0) -> tuple[Figure, Any]:
    """A figure of as many panels in a row, each `side` inches high, and their axes.

    Its text may be anybody's (see `jaxdl.figures.plain`): `$` is a dollar.
    """
    # The figure itself: pyplot would take a second to import, and keep every figure alive.
    from jaxdl.figures.plain import PlainFigure

    figure = PlainFigure(figsize=(1.3 * side * panels, side), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def grid(images: int, least: int, width: float, height: float) -> tuple[Figure, Any]:
    """A figure with room for so many images, and their axes, without frames.

    Args:
      images: how many.
      least: how many a row has at least, if there are so many.
      width: of each image, in inches.
      height: of each image and its title, in inches.
    """
    columns = min(images, max(least, math.isqrt(images)))
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(width * columns, height * -(-images // columns))
    axes = [figure.add_subplot(-(-images // columns), columns, i + 1) for i in range(images)]
    for ax in axes:
        ax.axis("off")
    return figure, axes
