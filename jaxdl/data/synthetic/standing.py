"""Drawn people who stand, and places without them: the twin of `pedestrians`."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from jaxdl.data.splits import random_state
from jaxdl.data.table import Table

_HEIGHT, _WIDTH = 128, 64
_SIZES = {"train": 300, "validation": 60, "test": 60}
# Of a figure: top and bottom, left and right of head, body and legs, from its middle, in pixels.
_PARTS = ((-48, -34, -6, 6), (-32, 4, -11, 11), (5, 48, -10, -2), (5, 48, 2, 10))


def standing() -> dict[str, Table]:
    """A person is a head, a body and two legs; every image has bars, which lie or stand anywhere.

    Returns:
      300 train, 60 validation and 60 test examples, half of them with a person; `image` (N, 128,
      64, 3) uint8, `image/filename` (N,) of str and `label` (N,) int32.
    """
    return {role: _drawn(role, i) for i, role in enumerate(_SIZES)}


def _drawn(role: str, stream: int) -> Table:
    random, count = random_state("standing", stream), _SIZES[role]
    label = np.arange(count, dtype=np.int32) % 2
    columns = {
        "image": np.stack([_draw(bool(person), random) for person in label]),
        "image/filename": np.array([f"{role}{i:03}.png" for i in range(count)], object),
        "label": label,
    }
    return Table(columns, f"twin of pedestrians, {role} split", ("background", "person"))


def _draw(person: bool, random: np.random.RandomState) -> UInt8[np.ndarray, "128 64 3"]:
    image = random.uniform(40, 215, 3) + random.normal(0, 12, (_HEIGHT, _WIDTH, 3))
    for _ in range(4):
        y, x = random.randint(0, _HEIGHT), random.randint(0, _WIDTH)
        high, wide = random.permutation([random.randint(3, 9), random.randint(15, 60)])
        image[y : y + high, x : x + wide] = random.uniform(0, 255, 3)
    if person:
        y, x = random.randint(60, 69), random.randint(28, 37)
        colours = random.uniform(0, 255, (3, 3))
        for (top, bottom, left, right), colour in zip(_PARTS, colours[[0, 1, 2, 2]], strict=True):
            image[y + top : y + bottom, x + left : x + right] = colour
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)
