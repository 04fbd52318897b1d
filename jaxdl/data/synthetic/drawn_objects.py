"""Drawn images with one object each: classification and localisation without any files."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxdl.data.images import pixels
from jaxdl.data.images.annotations import Boxes, columns
from jaxdl.data.images.canvas import Size
from jaxdl.data.synthetic.drawn_boxes import drawn_splits, rounded, texture
from jaxdl.data.synthetic.shapes import COLOURS, DISTANCES, REACH
from jaxdl.data.table import Table

FILLS = ("solid", "hollow", "striped", "chequered")
_SIDES = (0.25, 0.6)  # of an object's longer side, in shorter sides of the image
_STRETCH = 1.4  # of one side of a shape at most
_PERIOD = 0.1  # of stripes and squares, in shorter sides of the image
_WALL = 0.04  # of hollow objects, likewise
_SHADE = 0.25  # of the darker stripes and squares, relative to the lighter
_STROKES = 5  # of scribble behind the object, at most
_CHUNK = 1 << 18  # pixels drawn at a time

_ARM, _WIDTH = 1.22, 0.45  # of a cross: half its length and half its width
_CORNER = math.sqrt(math.pi / 2)  # of a diamond, from its middle


def _from_cross(down: np.ndarray, right: np.ndarray, radius: Any) -> np.ndarray:
    """Signed distance of each place from the edge, about, negative inside; likewise the next."""
    down, right = np.abs(down), np.abs(right)
    upright = np.maximum(down - _ARM * radius, right - _WIDTH * radius)
    return np.minimum(upright, np.maximum(right - _ARM * radius, down - _WIDTH * radius))


def _from_diamond(down: np.ndarray, right: np.ndarray, radius: Any) -> np.ndarray:
    return (np.abs(down) + np.abs(right) - _CORNER * radius) / math.sqrt(2)


_SHAPES: dict[str, tuple[Callable[..., np.ndarray], tuple[float, float]]] = {
    **{name: (DISTANCES[name], REACH[name]) for name in DISTANCES},
    "diamond": (_from_diamond, (_CORNER, _CORNER)),
    "cross": (_from_cross, (_ARM, _ARM)),
}
CLASSES = tuple(f"{fill} {shape}" for shape in _SHAPES for fill in FILLS)


def drawn_objects(
    train_examples: int = 4000,
    validation_examples: int = 1000,
    test_examples: int = 2000,
    size: Size = (64, 64),
    seed: int = 0,
) -> dict[str, Table]:
    """One object in each image, of 20 classes: five shapes, each in four fills.

    Circles, squares, triangles, diamonds and crosses are solid, hollow, striped or chequered. Their
    longer sides are 25 to 60 % of the image's shorter side; they are stretched by up to 1.4 either
    way and have any of four colours, none of which says of what class they are. Behind them are
    clouds of colour and up to five strokes in the same colours. Boxes are exact, from edge to edge.

    Args:
      train_examples: images in the train split.
      validation_examples: images in the validation split; 0 for none.
      test_examples: images in the test split; 0 for none.
      size: height and width of the images, at least 32 pixels each.
      seed: seed of the random drawing. A split does not depend on the sizes of the others.

    Returns:
      The columns of `jaxdl.data.images.annotations`, with room for one object.

    Raises:
      UserError: a size or number is too small.
    """
    counts = {"train": train_examples, "validation": validation_examples, "test": test_examples}
    return drawn_splits("drawn_objects", counts, size, seed, _split, "fills")


def _split(count: int, size: Size, random: np.random.RandomState, where: str) -> Table:
    image = pixels.room(count, (*size, 3), where)
    boxes: list[Boxes] = []
    chunk = max(1, _CHUNK // math.prod(size))  # drawn whole, so that a longer split begins alike
    for start in range(0, count, chunk):
        here = image[start : start + chunk]
        drawn, corners, kinds = _draw(chunk, size, random)
        here[:] = drawn[: len(here)]
        none = np.zeros(1, bool)
        each = zip(corners[: len(here), None], kinds[: len(here), None], strict=True)
        boxes += [Boxes(corner, kind, none) for corner, kind in each]
    return Table({"image": image, **columns(boxes, [(1.0, size)] * count, 1)}, where, CLASSES)


def _draw(
    n: int, size: Size, random: np.random.RandomState
) -> tuple[UInt8[np.ndarray, "n height width 3"], Float[np.ndarray, "n 4"], Int[np.ndarray, " n"]]:
    """Images, boxes and classes."""
    short = min(size)
    image = texture(n, size, (30, 120), 12, random)
    _scribble(image, random)
    kind = random.randint(len(CLASSES), size=n)
    shape, fill = np.divmod(kind, len(FILLS))
    stretch = random.uniform(1, _STRETCH, (n, 2))
    stretch[np.arange(n), random.randint(2, size=n)] = 1
    reach = np.array([reach for _, reach in _SHAPES.values()])[shape] * stretch
    radius = random.uniform(*_SIDES, n) * short / 2 / reach.max(1)
    half = reach * radius[:, None]
    centre = half + random.rand(n, 2) * (np.array(size) - 2 * half)

    # ---- Places as seen from the object; its edge is that of a shape that is not stretched.
    down, right = _from(centre, size)
    edge = np.empty(image.shape[:3], np.float32)
    for number, (distance, _) in enumerate(_SHAPES.values()):
        rows = shape == number
        tall, wide = stretch[rows].astype(np.float32).T[..., None, None]
        around = radius[rows, None, None].astype(np.float32)
        edge[rows] = distance(down[rows] / tall, right[rows] / wide, around)
    cover = np.clip(0.5 - edge, 0, 1)  # within half a pixel of the edge a pixel is covered in part
    hollow = (fill == FILLS.index("hollow"))[:, None, None]
    cover = np.where(hollow, np.minimum(cover, np.clip(edge + _WALL * short + 0.5, 0, 1)), cover)
    colour = _colours(n, random)[:, None, None] * _light(down, right, fill, short)[..., None]
    image += cover[..., None] * (colour - image)
    ends = np.concatenate([centre - half, centre + half], 1)
    return rounded(image), ends[:, [1, 0, 3, 2]], kind


def _from(
    centre: Float[np.ndarray, "n 2"], size: Size
) -> tuple[Float[np.ndarray, "n height 1"], Float[np.ndarray, "n 1 width"]]:
    """How far the middles of the pixels of each row and column are from (down, right)."""
    down, right = (np.arange(side) + 0.5 - centre[:, i, None] for i, side in enumerate(size))
    return down.astype(np.float32)[:, :, None], right.astype(np.float32)[:, None]


def _light(
    down: np.ndarray, right: np.ndarray, fill: Int[np.ndarray, " n"], short: int
) -> Float[np.ndarray, "n height width"]:
    """Of each place of an object: 1, or less in the darker stripes and squares of its fill."""
    turn = np.float32(2 * math.pi / (_PERIOD * short))
    light = np.ones(np.broadcast_shapes(down.shape, right.shape), np.float32)
    striped, chequered = (fill == FILLS.index(name) for name in ("striped", "chequered"))
    light[striped] = np.sin((down + right)[striped] * (turn / 1.3))
    light[chequered] = 2 * (np.sin(down * turn) * np.sin(right * turn))[chequered]
    return _SHADE + (1 - _SHADE) * np.clip(0.5 + 1.5 * light, 0, 1)


def _scribble(image: Float[np.ndarray, "n height width 3"], random: np.random.RandomState) -> None:
    """Draw up to five straight strokes on each image, in place."""
    n, *size = image.shape[:3]
    count = random.randint(_STROKES + 1, size=n)
    for i in range(_STROKES):
        start, stop = random.rand(2, n, 2) * size
        colour = _colours(n, random)
        rows = np.flatnonzero(i < count)
        length = np.maximum(np.hypot(*(stop - start)[rows].T), 1e-6)[:, None, None]
        down, right = _from(start[rows], (size[0], size[1]))
        y, x = ((stop - start)[rows].T[..., None, None] / length).astype(np.float32)
        along, across = down * y + right * x, down * x - right * y
        beyond = np.maximum(np.maximum(-along, along - length.astype(np.float32)), 0)
        away = np.hypot(across, beyond)
        cover = np.clip(0.015 * min(size) + 0.5 - away, 0, 1)[..., None]
        image[rows] += cover * (colour[rows, None, None] - image[rows])


def _colours(n: int, random: np.random.RandomState) -> Float[np.ndarray, "n 3"]:
    colour = np.array(list(COLOURS.values()))[random.randint(len(COLOURS), size=n)]
    return (colour * random.uniform(0.8, 1, (n, 1))).astype(np.float32)
