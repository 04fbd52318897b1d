"""Pictures of any size on canvases of one: scaled until they fit, at the top left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from jaxdl.data import jpeg, pixels
from jaxdl.data.photos import Decoded, Encoded
from jaxdl.errors import UserError

Size = tuple[int, int]


def fit(
    image: UInt8[np.ndarray, "height width channels"], size: Size
) -> tuple[UInt8[np.ndarray, "new_height new_width channels"], float, Size]:
    """Scale a picture as large as a canvas holds, and lay it at its top left; the rest is 0.

    Args:
      image: the picture, of any size.
      size: height and width of the canvas.

    Returns:
      The canvas; by how much the picture was scaled, both sides alike; and the height and width
      that it takes of the canvas, in whole pixels.
    """
    canvas = np.zeros((*size, image.shape[-1]), np.uint8)
    scale, extent = scaling(image.shape[:2], size)
    _lay(image, extent, canvas)
    return canvas, scale, extent


def scaling(shape: Size, size: Size) -> tuple[float, Size]:
    """By how much a picture of this height and width is scaled, and what it then takes."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    return scale, (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))


class Canvases(Decoded):
    """A column of pictures on canvases, uint8, (examples, height, width, 3), made as needed.

    Training and evaluation see the same, what `fit` makes of each.

    Args:
      encoded: the pictures.
      shapes: height and width of each, as its boxes are given. A picture that a camera noted to be
        turned is turned where only that gives this shape, since tools differ in whether they look
        at such notes: COCO's sizes are those of the pixels as they are stored.
      where: what says so of each, for messages.
      size: height and width of a canvas.
      upright: turn such a picture in any case.
      threads: how many decode; by default one for each core that this process may use.

    Raises:
      UserError: from `drawn` and indexing, at a picture that is missing, not sound, or of another
        shape.
    """

    def __init__(
        self,
        encoded: Encoded,
        shapes: Sequence[Size],
        where: Sequence[str],
        size: Size,
        upright: bool = False,
        threads: int | None = None,
    ) -> None:
        super().__init__(encoded, (*size, 3), threads)
        self._shapes, self._where, self._size, self._upright = shapes, where, size, upright

    def __getitem__(self, rows: Any) -> UInt8[np.ndarray, "..."]:
        """Canvases (..., height, width, 3)."""
        rows = np.asarray(self._all[rows])
        made = self._made(rows.ravel(), self.shape[1:], self._see)
        return made.reshape(*rows.shape, *self.shape[1:])

    def drawn(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> UInt8[np.ndarray, "*batch height width channels"]:
        """The same: what is random is done on the device, with the boxes."""
        return self[rows]

    def read(self, where: str) -> UInt8[np.ndarray, "examples height width channels"]:
        """All of them, to be held in memory.

        Raises:
          UserError: also where the machine's memory is too small; `where` says of what.
        """
        made = pixels.room(len(self), (*self._size, 3), where)
        self._fill(made, self._all, self._see)
        return made

    def _see(self, place: int, i: int, into: np.ndarray) -> None:
        into[:] = 0
        _lay(self._picture(i), scaling(self._shapes[i], self._size)[1], into)

    def _picture(self, i: int) -> UInt8[np.ndarray, "height width channels"]:
        shape = self._shapes[i]
        for upright in (True,) if self._upright else (False, True):
            image = self._whole(i, upright)
            if image.shape[:2] == shape:
                return image
        raise UserError(
            f"{self._where[i]}: says {shape[0]}×{shape[1]} pixels (height × width), but "
            f"{self.encoded.name(i)} has {image.shape[0]}×{image.shape[1]}; mend the size and the "
            "boxes, or take the image they are of"
        )


def _lay(
    image: UInt8[np.ndarray, "height width channels"],
    extent: Size,
    canvas: UInt8[np.ndarray, "new_height new_width channels"],
) -> None:
    jpeg.resize(image, canvas[: extent[0], : extent[1]])
