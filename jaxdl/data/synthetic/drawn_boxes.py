"""Drawn images with boxes, shapes and blood cells: detection without any files."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxdl.data.images import pixels
from jaxdl.data.images.annotations import Boxes, columns, require_size
from jaxdl.data.images.canvas import Size
from jaxdl.data.splits import random_state
from jaxdl.data.synthetic.shapes import COLOURS, REACH, SHAPES, paint
from jaxdl.data.table import Table
from jaxdl.errors import UserError

_MOST = 6  # shapes of an image
_SIDES = (0.10, 0.45)  # of a shape's longer side, in shorter sides of the image
_HIDDEN = 0.4  # largest overlap of two boxes, as a share of the smaller one
_CHUNK = 1 << 22  # pixels drawn at a time

CELLS = ("RBC", "WBC", "Platelets")
_COUNTS = ((7, 13), (1, 2), (0, 3))  # least and most cells of each class
_RADII = ((0.085, 0.115), (0.16, 0.22), (0.025, 0.04))  # of cells, in heights of the image
_STAINS = ((205, 140, 140), (150, 110, 185), (140, 95, 170))
_INSIDES = ((225, 185, 178), (95, 55, 140), (110, 65, 150))  # pale middle, nucleus, grains
_CORES = (0.4, 0.62, 0.5)  # of an inside, in radii


def drawn_boxes(
    train_examples: int = 1000,
    validation_examples: int = 200,
    test_examples: int = 200,
    size: Size = (96, 96),
    seed: int = 0,
) -> dict[str, Table]:
    """Circles, squares and triangles on textured noise, up to six in an image; a tenth have none.

    Their longer sides are 10 to 45 % of the image's shorter side, and each has one of four colours.
    A later shape hides up to 40 % of the box of an earlier one. Boxes are exact, from edge to edge.

    Args:
      train_examples: images in the train split.
      validation_examples: images in the validation split; 0 for none.
      test_examples: images in the test split; 0 for none.
      size: height and width of the images, at least 32 pixels each.
      seed: seed of the random drawing. A split does not depend on the sizes of the others.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: a size or number is too small.
    """
    counts = {"train": train_examples, "validation": validation_examples, "test": test_examples}
    return drawn_splits("drawn_boxes", counts, size, seed, functools.partial(_table, draw=_shapes))


def drawn_cells(size: Size) -> dict[str, Table]:
    """The twin of BCCD: red discs with a pale middle, large cells with a nucleus, tiny dots.

    Args:
      size: height and width of the images, in pixels.

    Returns:
      72 train, 24 validation and 24 test images with the columns of
      `jaxdl.data.images.annotations`, under BCCD's names of the three classes.
    """
    counts = {"train": 72, "validation": 24, "test": 24}
    return drawn_splits("twin of bccd", counts, size, 0, functools.partial(_table, draw=_cells))


class _Scenes(NamedTuple):
    """Images with the same room for objects; only those that are `shown` exist."""

    image: UInt8[np.ndarray, "n height width 3"]
    kind: Int[np.ndarray, "n objects"]
    centre: Float[np.ndarray, "n objects 2"]
    half: Float[np.ndarray, "n objects 2"]
    shown: Bool[np.ndarray, "n objects"]

    def boxes(self) -> list[Boxes]:
        """The objects of each image, their boxes clipped to it."""
        ends = np.stack([self.centre - self.half, self.centre + self.half], 2)[..., ::-1]
        boxes = np.clip(ends, 0, self.image.shape[2:0:-1]).reshape(*self.kind.shape, 4)
        each = zip(boxes, self.kind, self.shown, strict=True)
        return [Boxes(box[s], kind[s], np.zeros(s.sum(), bool)) for box, kind, s in each]


_Draw = Callable[[int, Size, np.random.RandomState], _Scenes]


def drawn_splits(
    source: str,
    counts: Mapping[str, int],
    size: Size,
    seed: int,
    draw: Callable[[int, Size, np.random.RandomState, str], Table],
    details: str = "objects",
) -> dict[str, Table]:
    """The splits of a source that draws its images, each from random numbers of its own.

    Args:
      source: its name, for messages.
      counts: images in each split; of those but train there may be none.
      size: height and width of the images.
      seed: seed of the random drawing. A split does not depend on the sizes of the others.
      draw: makes a split of (number of images, size, random numbers, what messages call it).
      details: what could not be recognized in smaller images.

    Raises:
      UserError: a size or number is too small.
    """
    require_size(source, size)
    if min(size) < 32:
        raise UserError(
            f"{source}: size={size}; {details} need at least 32 pixels a side to be recognizable"
        )
    for role, count in counts.items():
        least = 1 if role == "train" else 0
        if count < least:
            raise UserError(f"{source}: {role}_examples={count}; give at least {least}")
    return {
        role: draw(count, size, random_state(source, seed, stream), f"{source}, {role} split")
        for stream, (role, count) in enumerate(counts.items())
        if count
    }


def _table(
    count: int, size: Size, random: np.random.RandomState, where: str, *, draw: _Draw
) -> Table:
    image = pixels.room(count, (*size, 3), where)
    boxes: list[Boxes] = []
    chunk = max(1, _CHUNK // math.prod(size))
    for start in range(0, count, chunk):
        scenes = draw(min(chunk, count - start), size, random)
        image[start : start + chunk] = scenes.image
        boxes += scenes.boxes()
    room = scenes.kind.shape[1]  # the same for all splits, whatever they contain
    classes = CELLS if draw is _cells else SHAPES
    return Table({"image": image, **columns(boxes, [(1.0, size)] * count, room)}, where, classes)


def _shapes(n: int, size: Size, random: np.random.RandomState) -> _Scenes:
    kind = random.randint(len(SHAPES), size=(n, _MOST))
    side = random.uniform(*_SIDES, (n, _MOST)) * min(size)
    reach = np.array([REACH[shape] for shape in SHAPES])
    radius = side / 2 / reach.max(1)[kind]
    half = radius[..., None] * reach[kind]
    count = np.where(random.rand(n) < 0.1, 0, random.randint(1, _MOST + 1, n))
    shown = np.arange(_MOST) < count[:, None]
    centre, shown = _placed(half, shown, np.array(size), 0.0, random)
    image = texture(n, size, (30, 120), 12, random)
    colour = np.array(list(COLOURS.values()))[random.randint(len(COLOURS), size=(n, _MOST))]
    colour = colour * random.uniform(0.8, 1, (n, _MOST, 1))
    for at in zip(*np.nonzero(shown), strict=True):
        paint(image[at[0]], SHAPES[kind[at]], centre[at], radius[at], colour[at])
    return _Scenes(rounded(image), kind, centre, half, shown)


def _cells(n: int, size: Size, random: np.random.RandomState) -> _Scenes:
    kind = np.repeat(np.arange(len(CELLS)), [most for _, most in _COUNTS])
    count = np.stack([random.randint(least, most + 1, n) for least, most in _COUNTS], 1)
    first = np.concatenate([np.arange(most) for _, most in _COUNTS])
    shown = first < count[:, kind]
    bounds = np.array(_RADII)[kind] * size[0]
    radius = random.uniform(bounds[:, 0], bounds[:, 1], (n, len(kind)))
    # Red cells come last, so that the rare kinds find a place.
    order = np.argsort(kind == 0, kind="stable")
    kind, shown, radius = kind[order], shown[:, order], radius[:, order]
    half = np.stack([radius, radius], -1)
    centre, shown = _placed(half, shown, np.array(size), 0.5, random)
    image = texture(n, size, (215, 240), 5, random)
    light = random.uniform(0.93, 1.05, (n, len(kind)))
    # Painted in reverse, so that the rare kinds, placed first, are on top.
    for i, j in zip(*np.nonzero(shown[:, ::-1]), strict=True):
        at, cell = (i, -1 - j), kind[-1 - j]
        for stain, share in ((_STAINS[cell], 1.0), (_INSIDES[cell], _CORES[cell])):
            paint(image[i], "circle", centre[at], radius[at] * share, np.array(stain) * light[at])
    kinds = np.tile(kind, (n, 1))
    return _Scenes(rounded(image), kinds, centre, half, shown)


def _placed(
    half: Float[np.ndarray, "n objects 2"],
    candidates: Bool[np.ndarray, "n objects"],
    limits: Int[np.ndarray, " 2"],
    outside: float,
    random: np.random.RandomState,
) -> tuple[Float[np.ndarray, "n objects 2"], Bool[np.ndarray, "n objects"]]:
    """Random centres, and which objects have a place where they overlap no other too much.

    Up to a share `outside` of half a box may be outside the image.
    """
    room = half * (1 - outside)
    centre = np.zeros_like(half)
    shown = np.zeros_like(candidates)
    for i in range(half.shape[1]):
        left = candidates[:, i].copy()
        for _ in range(5):
            at = room[:, i] + random.rand(len(half), 2) * (limits - 2 * room[:, i])
            centre[left, i] = at[left]
            least = np.maximum(centre - half, (centre[:, i] - half[:, i])[:, None])
            most = np.minimum(centre + half, (centre[:, i] + half[:, i])[:, None])
            shared = np.maximum(most - least, 0).prod(-1)
            smaller = 4 * np.minimum(half.prod(-1), half[:, i].prod(-1)[:, None])
            fits = (np.where(shown, shared / smaller, 0) <= _HIDDEN).all(1)
            shown[:, i] |= left & fits
            left &= ~fits
    return centre, shown


def texture(
    n: int, size: Size, tones: tuple[float, float], grain: int, random: np.random.RandomState
) -> np.ndarray:
    """Coarse clouds of colour with fine grey grain, (n, height, width, 3) float32."""
    tone = random.uniform(*tones, (n, 1, 1, 3))
    clouds = tone + random.normal(0, (tones[1] - tones[0]) / 5, (n, 6, 6, 3))
    down, right = (_interpolation(6, side) for side in size)
    rows = down @ clouds.astype(np.float32).reshape(n, 6, 6 * 3)
    image = right @ rows.reshape(n, size[0], 6, 3)
    image += random.randint(-grain, grain + 1, (n, *size, 1), np.int8)
    return image


def _interpolation(old: int, new: int) -> np.ndarray:
    """The float32 matrix that interpolates linearly between `old` evenly spaced numbers."""
    place = np.linspace(0, old - 1, new, dtype=np.float32)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(old, dtype=np.float32)))


def rounded(image: np.ndarray) -> UInt8[np.ndarray, "n height width 3"]:
    """Numbers as bytes, those outside 0 … 255 clipped."""
    return np.clip(np.rint(image, out=image), 0, 255, out=image).astype(np.uint8)
