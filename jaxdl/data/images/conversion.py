"""From what Pillow makes of a file to upright pixels of 1, 3 or 4 channels of 8 bits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF 6.0
_BACKGROUND = (255, 255, 255)  # where an image is transparent: paper is white
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
          6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
_log = logging.getLogger("jaxdl")


def converted(file: Image.Image, channels: int, upright: bool) -> Image.Image:
    """An image with its pixels, upright if asked for, in the mode with so many channels."""
    from PIL import Image

    image = file
    deep = any(map(_is_deep, getattr(image, "tile", ())))
    stream = getattr(image, "fp", None)
    image.load()  # this rotates a TIFF, and only then is its orientation right
    note = orientation(image)
    if image.mode.startswith(("I", "F")):
        image = _shallow(image)
    elif deep:  # Pillow has taken the upper 8 bits
        high = max(high for _, high in _extrema(image))
        _require_light(high, is_black=high == 0 and _is_black(stream))
    if upright and (turn := _TURNS.get(note)):
        image = image.transpose(Image.Transpose[turn])
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _on_paper(_with_alpha(image, deep), channels)
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def _is_deep(tile: Any) -> bool:
    """Whether Pillow will take the upper 8 of 16 bits of a part of a file."""
    arguments = tile[-1]
    largest = arguments[-1] if isinstance(arguments, tuple) and tile[0].startswith("ppm") else 0
    return ";16" in str(arguments) or largest == (1 << 16) - 1


def _with_alpha(image: Image.Image, deep: bool) -> Image.Image:
    """An image in RGBA; the color that its file names as transparent has alpha 0."""
    key = image.info.get("transparency")
    if deep and isinstance(key, tuple):  # the file's numbers have 16 bits, Pillow's pixels 8
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image.convert("RGBA")


def _on_paper(image: Image.Image, channels: int) -> Image.Image:
    """An RGBA image with so many channels; with fewer than 4 it is put on the background."""
    from PIL import Image

    clearest, most_opaque = image.getchannel("A").getextrema()
    if channels == 4 or clearest == 255:
        return image.convert(MODES[channels])
    paper = Image.new("RGBA", image.size, (*_BACKGROUND, 255))
    seen = Image.alpha_composite(paper, image).convert(MODES[channels])
    if most_opaque != 0 and all(low == 255 for low, _ in _extrema(seen)):
        tell("vanishes", _VANISHES)
    tell("transparent", _PAPER)
    return seen


_PAPER = (
    "images: transparent pixels are put on white; channels=4 keeps the transparency, if the "
    "source has that setting"
)
_VANISHES = (
    "images: some are white on a transparent background, and would be all white; give them a dark "
    "background, or set channels=4"
)
_DARK = (
    "16 bits a channel, of which the values use 12 at most, so it is almost black; multiply the "
    "values, or save it with 8 bits"
)
_DIM = (
    "images: some have 16 bits a channel, of which their values use 14 at most, so they are dark; "
    "if their camera has no more bits, multiply the values, or save them with 8"
)


def _require_light(high: float, is_black: bool) -> None:
    """Refuse 16 bits of which the values use 12 at most; warn of 14.

    Args:
      high: the largest value of the upper 8 bits.
      is_black: all 16 bits of all values are known to be 0.
    """
    if high < 16 and not is_black:
        raise ValueError(_DARK)
    if high < 64 and not is_black:
        tell("dim", _DIM)


def _is_black(stream: Any) -> bool:
    """Whether all 16 bits of the colors in a file are 0, of which Pillow shows the upper 8."""
    import cv2

    stream.seek(0)
    pixels = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels is not None and not pixels[..., :3].any()


def _shallow(image: Image.Image) -> Image.Image:
    """A grey image of 9 to 16 bits as one of 8: the upper ones of as many as the file has.

    Of LA where the file names a value that is transparent.
    """
    from PIL import Image

    values = np.asarray(image)
    tags = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    bits = max(tags.get(_BITS, (16,)))
    if values.dtype.kind == "f" or bits > 16 or values.min() < 0 or values.max() >= 1 << 16:
        raise ValueError("more than 16 bits a channel; convert it to 8")
    most = int(values.max())
    if bits == 16:
        _require_light(max(most >> 8, min(most, 1)), is_black=most == 0)
    upper = (values.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # 0 is white; of 8 bits Pillow inverts them itself
        upper = 255 - upper
    grey = Image.fromarray(upper)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    opaque = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, opaque))


def _extrema(image: Image.Image) -> list[tuple[float, float]]:
    """The least and largest value of each band but transparency."""
    bands = [band for band in image.getbands() if band != "A"]
    extrema = image.getextrema()
    return list(extrema[: len(bands)]) if isinstance(extrema[0], tuple) else [extrema]  # type: ignore[list-item]


def orientation(image: Image.Image) -> int:
    """The orientation that a note in the file gives, 1 to 8 (Exif 2.3, 4.6.4); 1 is upright.

    Pillow looks in Exif and XMP. What is not an orientation stands for none.
    """
    from PIL import ExifTags

    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and value in _TURNS else 1


def array(image: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of an image of that mode."""
    # Twice as fast for small images as numpy.asarray(image).
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)


_told: set[str] = set()
_telling = threading.Lock()


def tell(what: str, message: str, values: Callable[[], tuple[object, ...]] = tuple) -> None:
    """Log a warning, the first time in a process that it is due."""
    with _telling:
        is_new = what not in _told
        _told.add(what)
    if is_new:
        _log.warning(message, *values())
