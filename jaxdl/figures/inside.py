"""What is inside a network of images: filters, patches that excite units, maps of a class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxdl.errors import printable
from jaxdl.figures.canvas import NAME, canvas, grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GREY = 0.93  # beside a patch that the border of its image cuts off
_COLUMNS = 3  # patches in a row, and units in a row


class Unit(NamedTuple):
    """A unit, and what excites it most.

    Attributes:
      title: what to write above.
      images: (images, height, width, channels), the most exciting first.
      boxes: (top, left, bottom, right) of what the unit sees of each, in pixels.
    """

    title: str
    images: np.ndarray
    boxes: Int[np.ndarray, "images 4"]


class Explained(NamedTuple):
    """An image, and where a class is seen in it.

    Attributes:
      title: what to write above.
      original: the image, of any size.
      seen: what the network got of it.
      grad_cam: at least 0, (rows, columns).
      saliency: at least 0, (height, width) of `seen`.
    """

    title: str
    original: np.ndarray
    seen: np.ndarray
    grad_cam: Float[np.ndarray, "rows columns"]
    saliency: Float[np.ndarray, "height width"]


def filter_grid(kernel: Float[np.ndarray, "height width inputs filters"]) -> Figure:
    """Filters in a grid. Grey is 0, and the greatest weight of each filter black or white.

    Of three inputs they are in colour, as weights of red, green and blue; of any other number, the
    input with the greatest weights is shown.
    """
    filters = np.moveaxis(kernel, -1, 0)
    columns = math.ceil(math.sqrt(1.6 * len(filters)))
    rows = -(-len(filters) // columns)
    height, width = filters.shape[1:3]
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, 3))
    for i, weights in enumerate(filters):
        if weights.shape[-1] != 3:
            strongest = np.argmax(np.square(weights).sum(axis=(0, 1)))
            weights = np.repeat(weights[..., strongest, None], 3, axis=-1)
        top, left = i // columns * (height + 1) + 1, i % columns * (width + 1) + 1
        most = np.abs(weights).max() or 1.0
        sheet[top : top + height, left : left + width] = 0.5 + 0.5 * weights / most
    figure, (ax,) = canvas(1)
    figure.set_size_inches(6, 6 * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet, interpolation="nearest")
    ax.axis("off")
    return figure


def unit_patches(units: Sequence[Unit], size: tuple[int, int], title: str) -> Figure:
    """Units, each as three rows of the patches that excite it most.

    Args:
      units: at least one.
      size: height and width of what a unit sees; where an image ends, the rest is left grey.
      title: of the figure.
    """
    most = max(int(image.max()) for unit in units for image in unit.images) or 1
    figure, axes = grid(len(units), least=_COLUMNS, width=2.3, height=2.55)
    for ax, (name, images, boxes) in zip(axes, units, strict=True):
        ax.imshow(_sheet(images, boxes, size, most), interpolation="nearest")
        ax.set_title(printable(name), fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure


def class_maps(rows: Sequence[Explained], layer: str) -> Figure:
    """Images, a row each: as it was, what the network got under Grad-CAM, and the saliency.

    Args:
      rows: at least one.
      layer: of Grad-CAM.
    """
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(3 * 2.3, len(rows) * 2.6)
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for row, (first, second, third) in zip(rows, panels, strict=True):
        _show(first, row.original)
        _show(second, row.seen)
        height, width = row.seen.shape[:2]
        second.imshow(
            row.grad_cam / (row.grad_cam.max() or 1.0),
            cmap="jet",
            alpha=0.5,
            vmin=0,
            vmax=1,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="bilinear",
        )
        # The few strongest pixels would leave all others black.
        bright = np.quantile(row.saliency, 0.995) or 1.0
        third.imshow(row.saliency, cmap="gray", vmin=0, vmax=bright)
        titles = (printable(row.title), f"Grad-CAM, {printable(layer, NAME)}", "gradient")
        for ax, name in zip((first, second, third), titles, strict=True):
            ax.axis("off")
            ax.set_title(name, fontsize=8)
    return figure


def _sheet(
    images: np.ndarray, boxes: np.ndarray, size: tuple[int, int], most: int
) -> Float[np.ndarray, "height width 3"]:
    """Patches in rows of three, each where the whole field of its unit would lie."""
    height, width = size
    gap = max(1, height // 16)
    rows, columns = -(-len(images) // _COLUMNS), min(_COLUMNS, len(images))
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for i, (image, (top, left, bottom, right)) in enumerate(zip(images, boxes, strict=True)):
        patch = _colored(image[top:bottom, left:right], most)
        down = 0 if top else height - len(patch)  # what lies above the image is missing
        across = 0 if left else width - patch.shape[1]
        y, x = i // _COLUMNS * (height + gap), i % _COLUMNS * (width + gap)
        sheet[y : y + height, x : x + width] = _GREY
        y, x = y + down, x + across
        sheet[y : y + len(patch), x : x + patch.shape[1]] = patch
    return sheet


def _colored(image: np.ndarray, most: int) -> Float[np.ndarray, "height width 3"]:
    """An image of integers in red, green and blue, from 0 to 1; of other channels the first."""
    if image.shape[-1] < 3:
        return np.repeat(image[..., :1] / most, 3, axis=-1)
    return image[..., :3] / 255


def _show(ax: Any, image: np.ndarray) -> None:
    ax.imshow(_colored(image, int(image.max()) or 1))
