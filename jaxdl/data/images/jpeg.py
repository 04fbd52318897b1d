"""Fast JPEG: scaled decoding by libjpeg-turbo, and resizing. Knows simplejpeg and OpenCV.

Both release the GIL, so threads decode in parallel.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxdl.data import limits
from jaxdl.data.images import pixels

_own = threading.local()
_SCAN, _NOTES = 0xDA, 0xE1  # the second bytes of markers: of the pixels, and of Exif and XMP;
_SEGMENTS = frozenset({*range(0xC0, 0xD0), *range(0xDB, 0xFF)})  # and of what comes before


def size(encoded: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that `decode` can read; None for any other image.

    None for CMYK, a damaged JPEG, one beyond `limits`, or one that its Exif note says to rotate:
    `jaxdl.data.images.pixels` reads or refuses those.
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
    """The pixels of a JPEG, or None if it is damaged.

    The next call in the same thread overwrites them: allocating memory for each image is slow.

    Args:
      encoded: an image that has a `size`.
      shrink: 1, 2, 4 or 8: scale both sides by 1/shrink, rounded up, in the frequency domain,
        which decodes less and smooths correctly.
      quick: an eighth faster, with less exact colours: chroma is not smoothed (as in DALI), and the
        cosine transform is the fast one (as in FFCV; Leclerc et al. 2023). For training.
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
    except ValueError:  # damaged, or followed by other bytes
        return None


def _has_notes(encoded: bytes) -> bool:
    """Whether Exif or XMP notes are among the segments before the pixels, wherever they stand."""
    place = 2
    while encoded[place : place + 1] == b"\xff" and (marker := encoded[place + 1]) != _SCAN:
        if marker == _NOTES or marker not in _SEGMENTS:  # or something odd, which Pillow knows
            return True
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")
    return encoded[place : place + 1] != b"\xff"


def _room(size: int) -> np.ndarray:
    """A buffer of at least `size` bytes, reused within each thread."""
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

    Linear interpolation while no side shrinks to less than half; otherwise the mean of the pixels
    that each new pixel covers.
    """
    cv2 = _cv2()
    height, width, _ = into.shape
    small = 2 * height >= image.shape[0] and 2 * width >= image.shape[1]
    how = cv2.INTER_LINEAR if small else cv2.INTER_AREA
    cv2.resize(image, (width, height), dst=into, interpolation=how)


@functools.cache
def _cv2() -> Any:
    import cv2

    cv2.setNumThreads(1)  # there is one calling thread for each core already
    return cv2
