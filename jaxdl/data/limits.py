"""How much an image may ask for. Looked up in its head, before any decoder makes room for it.

Decoders have limits of their own, but each another one, and some after the fact: Pillow's for
decompression bombs is 179 million pixels, OpenCV's 2³⁰, libjpeg's 65,500 a side.
"""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from io import BufferedIOBase

PIXELS = 2**28  # of one image: a camera's 200 million are fewer, and so is all that WebP holds
TOO_LARGE = f"claims more than {PIXELS:,} pixels, the most that is decoded; scale it down"

_LARGE = 2**24  # pixels from which images are decoded one at a time
_PASSES = 16  # over `PIXELS`, half a minute; progressive JPEGs usually have ten scans
_SEGMENTS = 1000  # before a JPEG's first scan; ICC profiles take up to 255
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of those that are not part of a scan's data
_BARE = {0x00, 0x01, *range(0xD0, 0xDA), 0xC8, *range(0xF0, 0xFE)}  # no segment for Pillow

_turn = threading.Lock()


def require(height: int, width: int) -> None:
    """Refuse an image of more pixels than `PIXELS`.

    Raises:
      ValueError: it has.
    """
    if height * width > PIXELS:
        raise ValueError(TOO_LARGE)


def require_scans(encoded: bytes, height: int, width: int) -> None:
    """Refuse a JPEG of so many scans that to decode it takes longer than any photograph does.

    A scan is a pass over all pixels, and may be no more than 14 bytes of the file.

    Raises:
      ValueError: it has.
    """
    most = _PASSES * PIXELS // max(1, height * width)
    # Its marker's two bytes occur in notes as well, so few of them are proof, many are not.
    if encoded.count(_SCAN) > most and _scans(encoded) > most:
        raise ValueError(f"a JPEG of more than {most:,} scans; write it anew, or remove it")


def require_segments(stream: BufferedIOBase) -> None:
    """Refuse a JPEG with so many segments before its pixels that Pillow takes hours to join them.

    Other formats pass. The stream is at its start, before and afterwards.

    Raises:
      ValueError: there are.
    """
    segments = 0
    is_jpeg = stream.read(2) == b"\xff\xd8"
    while is_jpeg and (byte := stream.read(1)):
        if byte != b"\xff":  # no one's, and skipped
            continue
        while (kind := stream.read(1)) == b"\xff":
            pass
        if kind == b"\xda":  # the first scan
            break
        if kind and kind[0] not in _BARE:
            stream.seek(max(0, int.from_bytes(stream.read(2), "big") - 2), 1)
            segments += 1
        if segments > _SEGMENTS:
            raise ValueError(f"more than {_SEGMENTS:,} segments before the pixels; write it anew")
    stream.seek(0)


def in_turn(height: int, width: int) -> AbstractContextManager[object]:
    """Keeps threads from decoding several large images at a time, each of which may take 4 GB."""
    return _turn if is_large(height, width) else nullcontext()


def is_large(height: int, width: int) -> bool:
    """Whether images of this size are decoded one at a time."""
    return height * width > _LARGE


def _scans(encoded: bytes) -> int:
    """How many there are, segment by segment."""
    scans, place = 0, 2
    while (marker := _MARKER.search(encoded, place)) and marker[0] != _END:
        scans += marker[0] == _SCAN
        place = marker.end() + int.from_bytes(encoded[marker.end() : marker.end() + 2], "big")
    return scans
