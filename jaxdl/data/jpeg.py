"""JPEG at speed: scaled decoding by libjpeg-turbo, and resizing. Knows simplejpeg and OpenCV.

Both leave the interpreter free while they work, so threads decode in parallel.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxdl.data import limits, pixels

_own = threading.local()


def size(encoded: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that `decode` can take as it is; None of any other image.

    Not of CMYK, of what is no sound JPEG or past what `limits` allow, and of a photograph that is
    to be turned: those are Pillow's, or refused there.
    """
    import simplejpeg

    if _has_notes(encoded) and not pixels.is_upright(encoded):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        limits.require(height, width)
        limits.require_scans(encoded, height, width)
    except ValueError:
        return None
    return (height, width) if colours in ("YCbCr", "RGB", "Gray") else None


def decode(
    encoded: bytes, shrink: int = 1, *, quick: bool = False
) -> UInt8[np.ndarray, "height width 3"] | None:
    """The pixels of a JPEG, or None where something is wrong with it.

    They are where the next call in the same thread puts its own: to get memory from the system
    for each image would take time.

    Args:
      encoded: an image that has a `size`.
      shrink: 1, 2, 4 or 8: scale both sides by 1/shrink, rounded up, in the frequency domain,
        which reads less and smooths as it should.
      quick: an eighth faster, and coarser in colour: not smoothed chroma (as DALI) and the fast
        cosine transform (as FFCV; Leclerc et al. 2023). Good enough to train on.
    """
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(encoded)
    least = {}
    if shrink > 1:
        least = {"min_height": -(-height // shrink), "min_width": -(-width // shrink)}
    room = None if limits.is_large(height, width) else _room(3 * height * width)
    try:
        with limits.in_turn(height, width):
            return simplejpeg.decode_jpeg(
                encoded,
                "RGB",
                fastdct=quick,
                fastupsample=quick,
                min_factor=shrink,
                buffer=room,
                **least,
            )
    except ValueError:  # damaged, or followed by what is no part of it
        return None


def _has_notes(encoded: bytes) -> bool:
    """Whether a camera's notes (Exif) are among the segments for applications, the first ones."""
    place = 2
    while b"\xff\xe0" <= encoded[place : place + 2] <= b"\xff\xef":
        if encoded[place + 4 : place + 10] == b"Exif\0\0":
            return True
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")
    return False


def _room(size: int) -> np.ndarray:
    """So many bytes, the same again in each thread."""
    if getattr(_own, "room", np.empty(0)).size < size:
        _own.room = np.empty(size, np.uint8)
    return _own.room


def encode(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The image as a JPEG, of quality 90."""
    import simplejpeg

    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=90, colorspace="RGB")


def resize(
    image: UInt8[np.ndarray, "old_height old_width channels"],
    into: UInt8[np.ndarray, "height width channels"],
) -> None:
    """Scale an image to the shape of `into`, and write it there.

    Linearly, which sees every pixel where sides shrink to no less than half; below that each pixel
    is the mean of those that it covers.
    """
    cv2 = _cv2()
    height, width, _ = into.shape
    small = 2 * height >= image.shape[0] and 2 * width >= image.shape[1]
    how = cv2.INTER_LINEAR if small else cv2.INTER_AREA
    cv2.resize(image, (width, height), dst=into, interpolation=how)


@functools.cache
def _cv2() -> Any:
    import cv2

    cv2.setNumThreads(1)  # the callers are as many threads as there are cores
    return cv2
