"""How large an image may be: checked in its header, before a decoder allocates memory for it.

Decoders have limits of their own, but different ones, and some check too late: Pillow's for
decompression bombs is 179 million pixels, OpenCV's 2³⁰, libjpeg's 65,500 a side.
"""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from io import BufferedIOBase

PIXELS = 2**28  # of one image: more than a camera's 200 million, and more than WebP can hold
TOO_LARGE = f"has more than {PIXELS:,} pixels, the most that is decoded; scale it down"

_LARGE = 2**24  # above so many pixels, images are decoded one at a time
_PASSES = 16  # over `PIXELS` take half a minute; progressive JPEGs usually have ten
_SEGMENTS = 1000  # before a JPEG's first scan; ICC profiles take up to 255
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # a marker that is not part of a scan's data
_BARE = {
    0x00,
    0x01,
    *range(0xD0, 0xDA),
    0xC8,
    *range(0xF0, 0xFE),
}  # markers that Pillow does not take for segments

_turn = threading.Lock()


def require(height: int, width: int) -> None:
    """Raise ValueError for an image of more than `PIXELS` pixels."""
    if height * width > PIXELS:
        raise ValueError(TOO_LARGE)


def require_scans(encoded: bytes, height: int, width: int) -> None:
    """Raise ValueError for a JPEG of so many scans that decoding it would take minutes.

    A scan is a pass over all pixels, and may take as few as 14 bytes of the file.
    """
    most = _PASSES * PIXELS // max(1, height * width)
    # The marker's two bytes may occur in notes too: few of them are proof, many are not.
    if encoded.count(_SCAN) > most and _scans(encoded) > most:
        raise ValueError(f"a JPEG of more than {most:,} scans; save it again, or remove it")


def require_segments(stream: BufferedIOBase) -> None:
    """Raise ValueError for a JPEG of so many segments that Pillow would take hours to join them.

    Other formats pass. The stream is at its start, before and after the call.
    """
    segments = 0
    is_jpeg = stream.read(2) == b"\xff\xd8"
    while is_jpeg and (byte := stream.read(1)):
        if byte != b"\xff":  # between two segments: skipped
            continue
        while (kind := stream.read(1)) == b"\xff":
            pass
        if kind == b"\xda":  # the first scan
            break
        if kind and kind[0] not in _BARE:
            stream.seek(max(0, int.from_bytes(stream.read(2), "big") - 2), 1)
            segments += 1
        if segments > _SEGMENTS:
            raise ValueError(f"more than {_SEGMENTS:,} segments before the pixels; save it again")
    stream.seek(0)


def in_turn(height: int, width: int) -> AbstractContextManager[object]:
    """A context for decoding: one thread at a time for large images, which may take 4 GB each."""
    return _turn if is_large(height, width) else nullcontext()


def is_large(height: int, width: int) -> bool:
    """Whether images of this size are decoded one at a time."""
    return height * width > _LARGE


def _scans(encoded: bytes) -> int:
    """The number of scans, counted segment by segment."""
    scans, place = 0, 2
    while (marker := _MARKER.search(encoded, place)) and marker[0] != _END:
        scans += marker[0] == _SCAN
        place = marker.end() + int.from_bytes(encoded[marker.end() : marker.end() + 2], "big")
    return scans
