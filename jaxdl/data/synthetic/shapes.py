"""Drawn shapes with sentences: captions to learn without any files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxdl.data.images import pixels
from jaxdl.data.splits import random_state, require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError

SHAPES = ("circle", "square", "triangle")
_HALF = math.sqrt(math.pi) / 2  # of the square's side
_INNER = math.sqrt(math.pi / math.sqrt(27))  # radius of the circle in the triangle
# Half the height and width of each, in radii of a circle of its area.
REACH = {
    "circle": (1.0, 1.0),
    "square": (_HALF, _HALF),
    "triangle": (1.5 * _INNER, math.sqrt(3) * _INNER),
}
COLOURS = {"red": (230, 50, 40), "green": (50, 190, 60), "blue": (60, 90, 240),
            "yellow": (240, 215, 40)}  # fmt: skip
_SIZES = ("small", "large")
_RADII = (0.095, 0.16)  # of the circle, in sides of the image; other shapes have its area
_CHUNK = 250  # images drawn at a time


def shapes(
    train_examples: int = 4000,
    validation_examples: int = 500,
    test_examples: int = 500,
    size: int = 32,
    seed: int = 0,
) -> dict[str, Table]:
    """One or two drawn shapes on dark noise, each image with the one sentence that describes it.

    'a large green triangle', or 'a small red circle above a large blue square', or '… left of …':
    3 shapes, 4 colours, 2 sizes, and of two shapes the upper or left one comes first, so that a
    caption can be right to the letter. Two are roughly in line: a third of their distance at most
    off. There are 24 + 1152 sentences; a third of the images show one shape.

    Args:
      train_examples: images in the train split.
      validation_examples: images in the validation split; 0 for none.
      test_examples: images in the test split; 0 for none.
      size: side of the square image, in pixels, at least 16.
      seed: seed of the random drawing. A split does not depend on the sizes of the others.

    Returns:
      `image` (N, size, size, 3) uint8, and `caption` (N,) of str.
    """
    if size < 16:
        raise UserError(
            f"shapes: size={size}; shapes need at least 16 pixels a side to be recognizable"
        )
    counts = {"train": train_examples, "validation": validation_examples, "test": test_examples}
    for role, count in counts.items():
        least = 1 if role == "train" else 0
        if count < least:
            raise UserError(f"shapes: {role}_examples={count}; give at least {least}")
    return {
        role: _split(count, size, random_state("shapes", seed, stream), f"shapes {role} split")
        for stream, (role, count) in enumerate(counts.items())
        if count
    }


def twin_captions(
    size: int = 64, validation_fraction: float = 0.05, test_fraction: float = 0.05, seed: int = 0
) -> dict[str, Table]:
    """The twin of `captions`: 1000 images of `shapes` in the same splits, a caption each."""
    require_fractions("twin of captions", test_fraction, validation_fraction)
    validation, test = round(1000 * validation_fraction), round(1000 * test_fraction)
    return shapes(1000 - validation - test, validation, test, size, seed)


def _split(count: int, size: int, random: np.random.RandomState, where: str) -> Table:
    image = pixels.room(count, (size, size, 3), where)
    sentences: list[str] = []
    for start in range(0, count, _CHUNK):
        here = image[start : start + _CHUNK]
        kinds = random.randint((len(SHAPES), len(COLOURS), len(_SIZES)), size=(_CHUNK, 2, 3))
        is_pair = random.rand(_CHUNK) < 2 / 3
        is_vertical = random.rand(_CHUNK) < 1 / 2
        centres = _centres(is_pair, is_vertical, random)
        here[:] = _draw(kinds, is_pair, centres, size, random)[: len(here)]
        sentences += map(_sentence, kinds.tolist(), is_pair.tolist(), is_vertical.tolist())
    return Table({"image": image, "caption": np.array(sentences[:count], dtype=object)}, where)


def _sentence(kinds: list[list[int]], is_pair: bool, is_vertical: bool) -> str:
    first, second = (
        f"a {_SIZES[size]} {list(COLOURS)[colour]} {SHAPES[shape]}" for shape, colour, size in kinds
    )
    return f"{first} {'above' if is_vertical else 'left of'} {second}" if is_pair else first


def _centres(
    is_pair: Bool[np.ndarray, " n"],
    is_vertical: Bool[np.ndarray, " n"],
    random: np.random.RandomState,
) -> Float[np.ndarray, "n 2 2"]:
    """The centres of the two shapes of each image, (down, right), in sides of the image."""
    along = np.array([0.25, 0.75]) + random.uniform(-0.02, 0.02, (len(is_pair), 2))
    across = 0.5 + random.uniform(-0.08, 0.08, (len(is_pair), 2))
    of_pair = np.stack([along, across], axis=2)
    of_pair = np.where(is_vertical[:, None, None], of_pair, of_pair[..., ::-1])
    alone = random.uniform(0.28, 0.72, (len(is_pair), 2, 2))
    return np.where(is_pair[:, None, None], of_pair, alone)


def _draw(
    kinds: Int[np.ndarray, "n 2 3"],
    is_pair: Bool[np.ndarray, " n"],
    centres: Float[np.ndarray, "n 2 2"],
    size: int,
    random: np.random.RandomState,
) -> UInt8[np.ndarray, "n size size 3"]:
    tone = random.uniform(15, 45, (len(kinds), 1, 1, 3))
    image = tone + random.normal(0, 6, (len(kinds), size, size, 1))
    for which in (0, 1):
        shape, colour, large = kinds[:, which].T
        radius = np.array(_RADII)[large] * random.uniform(0.95, 1.05, len(kinds)) * size
        light = random.uniform(0.8, 1, (len(kinds), 1))
        shades = np.array(list(COLOURS.values()))[colour] * light
        for i in np.flatnonzero(is_pair) if which == 1 else range(len(kinds)):
            paint(image[i], SHAPES[shape[i]], centres[i, which] * size, radius[i], shades[i])
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def paint(
    image: Float[np.ndarray, "height width channels"],
    shape: str,
    centre: Float[np.ndarray, " 2"],
    radius: float,
    colour: Float[np.ndarray, " channels"],
) -> None:
    """Paint a shape on an image, in place.

    Args:
      image: numbers of any range.
      shape: one of `SHAPES`.
      centre: of its box, (down, right), in pixels.
      radius: of the circle, in pixels; other shapes have its area, and `REACH` their half sides.
      colour: in the range of the image.
    """
    reach = np.array(REACH[shape]) * radius
    start = np.maximum(0, np.floor(centre - reach).astype(int) - 1)
    stop = np.minimum(image.shape[:2], np.ceil(centre + reach).astype(int) + 1)
    # The centre of a pixel is half a pixel after its corner.
    down = (np.arange(start[0], stop[0]) + 0.5 - centre[0])[:, None]
    right = (np.arange(start[1], stop[1]) + 0.5 - centre[1])[None, :]
    distance = DISTANCES[shape](down, right, radius)
    # Within half a pixel of the edge a pixel is covered in part.
    cover = np.clip(0.5 - distance, 0, 1).astype(image.dtype)[..., None]
    window = image[start[0] : stop[0], start[1] : stop[1]]
    window += cover * (colour.astype(image.dtype) - window)


def _from_circle(down: np.ndarray, right: np.ndarray, radius: Any) -> np.ndarray:
    """Signed distance of each place from the edge, negative inside; so are the others.

    The radius is a number, or an array of them to broadcast.
    """
    return np.hypot(down, right) - radius


def _from_square(down: np.ndarray, right: np.ndarray, radius: Any) -> np.ndarray:
    return np.maximum(np.abs(down), np.abs(right)) - radius * _HALF


def _from_triangle(down: np.ndarray, right: np.ndarray, radius: Any) -> np.ndarray:
    inner = radius * _INNER
    below = down - inner / 2  # from the triangle's centre, so that its box is in the middle
    return np.maximum(below, (np.sqrt(3) * np.abs(right) - below) / 2) - inner


# Of each shape, of the radius of a circle of its area.
DISTANCES = {"circle": _from_circle, "square": _from_square, "triangle": _from_triangle}
