"""Pictures of any size on canvases of one size: scaled to fit, at the top left (letterboxing)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from jaxdl.data.images import jpeg, pixels
from jaxdl.data.images.frame import Size, scaling
from jaxdl.data.images.lazy import Decoded, Encoded
from jaxdl.errors import UserError

_log = logging.getLogger("jaxdl")


def fit(
    image: UInt8[np.ndarray, "height width channels"], size: Size
) -> tuple[UInt8[np.ndarray, "new_height new_width channels"], float, Size]:
    """Scale a picture to fit a canvas and put it at the top left; the rest is 0.

    Args:
      image: the picture, of any size.
      size: height and width of the canvas, in pixels.

    Returns:
      The canvas; the scale of the picture, the same for both sides; and its height and width on the
      canvas, in whole pixels.
    """
    canvas = np.zeros((*size, image.shape[-1]), np.uint8)
    scale, extent = scaling(image.shape[:2], size)
    jpeg.resize(image, canvas[: extent[0], : extent[1]])
    return canvas, scale, extent


class Canvases(Decoded):
    """A column of pictures on canvases, uint8 (examples, height, width, 3), made when needed.

    Training and evaluation see the same, the result of `fit`.

    Args:
      encoded: the pictures.
      shapes: height and width of each, in which its boxes are. A picture with an Exif note that it
        is rotated is rotated only if that gives this shape, since tools differ in whether they read
        the note: COCO's sizes are those of the pixels as stored.
      where: the annotation of each, for messages.
      size: height and width of a canvas, in pixels.
      upright: always rotate such a picture.
      threads: number of decoding threads; by default one for each core that this process may use.

    Raises:
      UserError: from `train_view` and indexing, if a picture is missing, damaged, or of another
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
        self._told = False

    def __getitem__(self, rows: Any) -> UInt8[np.ndarray, "..."]:
        """Canvases (..., height, width, 3)."""
        rows = np.asarray(self._all[rows])
        canvases = self._make(rows.ravel(), self.shape[1:], self._canvas)
        return canvases.reshape(*rows.shape, *self.shape[1:])

    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> UInt8[np.ndarray, "*batch height width channels"]:
        """The same canvases: augmentation happens on the device, together with the boxes."""
        return self[rows]

    def read(self, where: str) -> UInt8[np.ndarray, "examples height width channels"]:
        """All canvases in memory.

        Args:
          where: what to call the images in a message.

        Raises:
          UserError: also if the machine's memory is too small.
        """
        canvases = pixels.room(len(self), (*self._size, 3), where)
        self._fill(canvases, self._all, self._canvas)
        return canvases

    def _canvas(self, place: int, i: int, into: np.ndarray) -> None:
        into[:] = 0
        height, width = scaling(self._shapes[i], self._size)[1]
        jpeg.resize(self._picture(i), into[:height, :width])

    def _tell_notes(self, i: int, image: np.ndarray) -> None:
        """Say once that boxes may be of the picture as shown, where its shape does not tell."""
        encoded = self.encoded.read(i)
        if self._told or jpeg.size(encoded) is not None or pixels.is_upright(encoded):
            return
        if pixels.size(encoded, upright=True) == pixels.size(encoded, upright=False):
            self._told = True
            _log.warning(
                "%s: has a note to rotate or mirror it, and its boxes are taken to be of the "
                "pixels as stored; set upright=True if they are of the picture as viewers show it",
                self.encoded.name(i),
            )

    def _picture(self, i: int) -> UInt8[np.ndarray, "height width channels"]:
        shape = self._shapes[i]
        for upright in (True,) if self._upright else (False, True):
            image = self._whole(i, upright)
            if image.shape[:2] == shape:
                if not self._upright:
                    self._tell_notes(i, image)
                return image
        raise UserError(
            f"{self._where[i]}: says {shape[0]}×{shape[1]} pixels (height × width), but "
            f"{self.encoded.name(i)} has {image.shape[0]}×{image.shape[1]}; correct the size and "
            "the boxes, or use the image that they belong to"
        )
