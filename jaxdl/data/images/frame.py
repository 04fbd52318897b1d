"""How an image of any size comes to the size that is asked for: in numbers, without pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxdl.errors import UserError

Size = tuple[int, int]  # height and width, in pixels
Fit = Literal["crop", "squeeze", "pad"]


@dataclass(frozen=True)
class Frame:
    """A size that all images come to.

    Args:
      size: height and width in pixels.
      fit: 'crop' covers the size and takes the middle, 'squeeze' changes the ratio of the sides,
        'pad' shows all of the image in the middle and makes the rest black.
    """

    size: Size
    fit: Fit = "crop"

    @classmethod
    def of(cls, size: int | Size, fit: Fit, source: str) -> Frame:
        """Of a setting: the side of a square, or height and width.

        Raises:
          UserError: a side of less than one pixel.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise UserError(f"{source}: size={size}; an image has at least 1 pixel a side")
        return cls((height, width), fit)


def scaling(shape: Size, size: Size) -> tuple[float, Size]:
    """The scale at which a picture of this shape fits a size, and its height and width there."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    return scale, (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))


def lost(shape: Size, size: Size) -> float:
    """The share of a picture of this shape that is cut off when its middle is taken."""
    down, across = size[0] / shape[0], size[1] / shape[1]
    return 1 - min(down, across) / max(down, across)
