"""The part of an image that is seen: random in training, fixed in evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Integer, UInt8

from jaxdl.errors import UserError

_LONGEST = 16  # times as long as wide
_TRIES = 10
_DRAWS = 2 * _TRIES + 2  # an area and a ratio for each try, and a position


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Crop:
    """The part of an image that is seen. A source with `crop` decodes images when they are needed.

    In training each epoch takes a rectangle of random area and ratio, scaled to the size (Szegedy
    et al. 2015, "Going deeper with convolutions", section 6). In evaluation the image is scaled
    until its shorter side is `resize`, and its middle is taken.

    Args:
      size: side in pixels of the square that the model sees.
      area: smallest and largest share of the image that the rectangle covers. None takes a square
        of `size`, at random, from the image scaled as in evaluation (Krizhevsky et al. 2012,
        section 4.1: 224 of 256).
      ratio: smallest and largest ratio of the rectangle's width to its height.
      resize: shorter side of the scaled image in pixels; by default 8/7 of `size`, 256 for 224.
      views: 1, or 10: the four corners, the middle, and the mirror images of all five, whose
        predictions are averaged (Krizhevsky et al. 2012, section 4.1).

    Raises:
      UserError: a number outside its range.
    """

    size: int
    area: tuple[float, float] | None = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    resize: int | None = None
    views: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if self.size < 1:
            raise UserError(f"size={self.size}: an image has at least 1 pixel a side")
        if self.shorter < self.size:
            raise UserError(
                f"resize={self.resize}: less than size={self.size}; scale the shorter side to at "
                "least the size that is cropped"
            )
        if self.area is not None and not (
            len(self.area) == 2 and 0 < self.area[0] <= self.area[1] <= 1
        ):
            raise UserError(f"area={self.area}: give two shares, 0 < smallest ≤ largest ≤ 1")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise UserError(f"ratio={self.ratio}: give two numbers, 0 < smallest ≤ largest")
        if self.views not in (1, 10):
            raise UserError(f"views={self.views}: give 1 (the middle) or 10 (corners, mirrored)")

    @property
    def shorter(self) -> int:
        """The shorter side of the scaled image, in pixels."""
        return round(self.size * 8 / 7) if self.resize is None else self.resize

    def random_box(self, height: int, width: int, uniform: Float64[np.ndarray, " draws"]) -> Box:
        """The part of an image of `height` and `width` that training sees.

        As torchvision's RandomResizedCrop: up to ten rectangles are tried; if none fits, the
        middle is taken, as wide or as high as the ratio allows.

        Args:
          height: of the image, in pixels.
          width: of the image, in pixels.
          uniform: numbers in [0, 1), from `draws`.
        """
        *tries, down, right = uniform.tolist()
        if self.area is None:
            side = max(1, round(self.size * min(height, width) / self.shorter))
            return _placed(height, width, side, side, down, right)
        narrow, wide = map(math.log, self.ratio)
        for area, ratio in zip(tries[::2], tries[1::2], strict=True):
            pixels = height * width * (self.area[0] + area * (self.area[1] - self.area[0]))
            stretch = math.exp(narrow + ratio * (wide - narrow))
            w, h = round(math.sqrt(pixels * stretch)), round(math.sqrt(pixels / stretch))
            if 0 < w <= width and 0 < h <= height:
                return _placed(height, width, h, w, down, right)
        w = max(1, min(width, round(height * self.ratio[1])))
        h = max(1, min(height, round(width / self.ratio[0])))
        return Box((height - h) // 2, (width - w) // 2, h, w)

    def longest(
        self, image: UInt8[np.ndarray, "height width channels"]
    ) -> UInt8[np.ndarray, "new_height new_width channels"]:
        """The middle of an image that is more than 16 times as long as wide, as others are.

        A line of 1 by 6000 pixels, scaled until it covers the square, would take gigabytes.
        """
        most = _LONGEST * min(image.shape[:2])
        down, across = (max(0, length - most) // 2 for length in image.shape[:2])
        return image[down : down + most, across : across + most]

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image once its shorter side is `shorter`."""
        short = min(height, width)
        return self.shorter * height // short, self.shorter * width // short

    def seen(
        self, image: UInt8[np.ndarray, "height width channels"]
    ) -> UInt8[np.ndarray, "views size size channels"]:
        """What evaluation sees of a scaled image: its middle, or the ten views."""
        last = [length - self.size for length in image.shape[:2]]
        middle = tuple(round(length / 2) for length in last)
        corners = [(0, 0), (0, last[1]), (last[0], 0), (last[0], last[1])]
        places = [middle] if self.views == 1 else [*corners, middle]
        views = np.stack([image[y : y + self.size, x : x + self.size] for y, x in places])
        return views if self.views == 1 else np.concatenate([views, views[:, :, ::-1]])


def draws(
    rows: Integer[np.ndarray, " batch"], epochs: Integer[np.ndarray, " batch"], seed: int
) -> Float64[np.ndarray, "batch draws"]:
    """Uniform numbers in [0, 1) for each example: a function of its row, its epoch and the seed.

    They do not depend on the batch. NumPy promises never to change Philox's raw stream. Like that
    of `ShuffledEpochs` it is keyed by seed and epoch; its counter holds the row, and a 1 in a word
    that is 0 in the stream of the order.
    """
    words = np.empty((len(rows), _DRAWS), np.uint64)
    for epoch in np.unique(epochs):
        philox = np.random.Philox(key=np.array([seed, epoch], np.uint64))
        state = philox.state  # setting it takes a tenth of the time of a new Philox
        state["state"]["counter"][3] = 1
        for i in np.flatnonzero(epochs == epoch):
            state["state"]["counter"][1] = rows[i]
            philox.state = state
            words[i] = philox.random_raw(_DRAWS)
    return (words >> np.uint64(11)) * 2.0**-53


def _placed(height: int, width: int, h: int, w: int, down: float, right: float) -> Box:
    return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w)
