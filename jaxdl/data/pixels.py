"""Encoded images of every kind to arrays of pixels. The only file that knows Pillow."""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np
from jaxtyping import UInt8

from jaxdl.data import documents, limits
from jaxdl.errors import UserError, printable

if TYPE_CHECKING:
    from PIL import Image

# Pillow reads more; these alone are opened, since some of the others start programs (EPS).
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
          6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
_SMALL = 10_000  # bytes of a decoded image
_CHUNK = 64  # images a thread takes at a time
_VERSION = 1  # raise it when this file makes other pixels, so that cached ones are left alone


def version() -> str:
    """What the pixels of a decoded image depend on, beside the image."""
    import PIL

    return f"{_VERSION}, Pillow {PIL.__version__}"


def room(
    count: int, shape: tuple[int, int, int], where: str
) -> UInt8[np.ndarray, "images height width channels"]:
    """An array for `count` images, unless it is larger than the memory of the machine.

    Raises:
      UserError: it is; the kernel would end the process half-way, without a word.
    """
    documents.require_memory(
        count * math.prod(shape), f"{where}: {count} images of {shape}", "a smaller size"
    )
    return np.empty((count, *shape), np.uint8)


def decode(
    encoded: Sequence[bytes | Path],
    pixels: UInt8[np.ndarray, "images height width channels"],
    where: Callable[[int], str],
    *,
    resize: bool,
) -> None:
    """Decode images of any of the usual formats into `pixels`, large ones on all cores.

    Grey, palette, CMYK and transparent images are converted to the channels of `pixels`: 1 is
    grey, 3 are red, green and blue (transparency is dropped), 4 keep the transparency.

    Args:
      encoded: the files' contents, or their paths.
      pixels: where they go.
      where: what to call image i in an error message.
      resize: scale each image until it covers the shape of `pixels`, and crop what stands over on
        both sides alike; first turned upright, where a camera noted so. Otherwise the image must
        have this shape.

    Raises:
      UserError: an image is missing, damaged, no image, of more than 8 bits a channel, of more
        pixels than `limits.PIXELS`, or of another shape; the message names it.
    """
    if pixels.shape[-1] not in _MODES:
        raise UserError(f"{where(0)}: images have 1, 3 or 4 channels, not {pixels.shape[-1]}")
    _pillow()  # here, not in the threads, which would race

    def fill(start: int) -> None:
        for i, image in enumerate(encoded[start : start + _CHUNK], start):
            try:
                pixels[i] = _decode_one(image, pixels.shape[1:], resize)
            except Exception as error:  # Pillow raises ten types for damaged files
                raise UserError(f"{where(i)}: {reason(image, error)}") from error

    # Of small images Python's part is the larger one, and threads are in each other's way.
    threads = os.cpu_count() if resize or pixels[0].nbytes > _SMALL else 1
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(0, len(encoded), _CHUNK)))


def faults(paths: Sequence[Path], channels: int) -> dict[int, str]:
    """Which of the images cannot be decoded, and why; on all cores, since it decodes them all."""
    _pillow()

    def look(start: int) -> dict[int, str]:
        found = {}
        for i, path in enumerate(paths[start : start + _CHUNK], start):
            try:
                whole(path, channels)
            except Exception as error:  # Pillow raises ten types for damaged files
                found[i] = reason(path, error)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(look, range(0, len(paths), _CHUNK))
        return {i: why for part in parts for i, why in part.items()}


def whole(
    encoded: bytes | Path, channels: int, *, upright: bool = True
) -> UInt8[np.ndarray, "height width channels"]:
    """An image of any of the usual formats in its own size, as `decode` converts it.

    Raises what Pillow does where it is not sound; `reason` tells it in words.

    Args:
      encoded: the file's contents, or its path.
      channels: 1, 3 or 4.
      upright: turned, where a camera noted so; otherwise as it is stored.
    """
    with _opened(documents.content(encoded)) as file:
        return _array(_converted(file, channels, upright), channels)


def read(path: Path, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """An image file in its own size, upright, as `decode` converts it.

    Raises:
      UserError: it is missing, damaged or no image.
    """
    try:
        return whole(path, channels)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{path}: {reason(path, error)}") from error


def size(encoded: bytes | Path, *, upright: bool = True) -> tuple[int, int]:
    """Height and width of an image, from its head; else as `whole`."""
    with _opened(encoded) as image:
        height, width = image.height, image.width
        # Pillow turns a TIFF itself, and says so before it has.
        turned = upright and image.format != "TIFF" and _orientation(image) >= 5
    return (width, height) if turned else (height, width)


def is_upright(encoded: bytes) -> bool:
    """Whether an image is sound as far as its head goes, and no camera noted that it is turned."""
    try:
        with _opened(encoded) as image:
            return _orientation(image) == 1
    except Exception:  # what it is, `whole` will tell
        return False


def scaled(
    image: UInt8[np.ndarray, "height width channels"], size: tuple[int, int]
) -> UInt8[np.ndarray, "new_height new_width channels"]:
    """An image in another size, (height, width), smoothed where it shrinks: linear filter.

    Raises ValueError where it would have more pixels than `limits.PIXELS`, as of a long strip.
    """
    from PIL import Image

    limits.require(*size)
    channels = image.shape[-1]
    shown = Image.fromarray(image[..., 0] if channels == 1 else image)
    return _array(shown.resize(size[::-1], Image.Resampling.BILINEAR), channels)


def reason(encoded: bytes | Path, error: Exception) -> str:
    """Why an image could not be decoded, and what to do."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(encoded, Path) and not os.path.isfile(encoded):  # which raises nothing
        return "not a file" if os.path.exists(encoded) else "no such file"
    size = len(encoded) if isinstance(encoded, bytes) else encoded.stat().st_size
    if size == 0:
        return "an empty file; remove or replace it"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image ({', '.join(_FORMATS)}); remove or replace it"
    if isinstance(error, Image.DecompressionBombError):
        return limits.TOO_LARGE
    if isinstance(error, MemoryError):
        return "takes more memory than there is; scale it down"
    if isinstance(error, PermissionError):
        return "cannot be read; give yourself the permission"
    why = printable(" ".join(str(error).split()), 200) or type(error).__name__
    if type(error) is ValueError:  # of ours; Pillow's read as well
        return why
    return f"a damaged image ({why}); remove or replace it"


def _decode_one(
    encoded: bytes | Path, shape: tuple[int, ...], resize: bool
) -> UInt8[np.ndarray, "height width channels"]:
    from PIL import Image, ImageOps

    height, width, channels = shape
    with _opened(documents.content(encoded)) as file:
        image = _converted(file, channels, upright=resize)
        if resize:
            image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        elif image.size != (width, height):
            raise ValueError(
                f"{image.height}×{image.width} pixels where {height}×{width} are expected; "
                "set size to resize the images"
            )
        return _array(image, channels)


@functools.cache
def _pillow() -> None:
    """Load Pillow's formats, and raise its own limit, which photographs can pass, to ours."""
    from PIL import Image

    Image.init()
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limits.PIXELS)
    # What it warns of is refused, or is in notes that are not read.
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def _opened(encoded: bytes | Path) -> Iterator[Image.Image]:
    """An image of which the head is read, and not too much to ask for; no pixels yet."""
    from PIL import Image

    _pillow()
    with documents.opened(encoded) as stream:
        limits.require_segments(stream)
        with Image.open(cast(IO[bytes], stream), formats=_FORMATS) as image:
            limits.require(image.height, image.width)
            if image.format in ("JPEG", "MPO") and isinstance(encoded, bytes):
                limits.require_scans(encoded, image.height, image.width)
            with limits.in_turn(image.height, image.width):
                yield image


def _converted(file: Image.Image, channels: int, upright: bool) -> Image.Image:
    """The pixels of an image, turned upright if that is asked for, in the mode of so many."""
    from PIL import Image

    image = file
    if image.mode.startswith(("I", "F")):
        raise ValueError("more than 8 bits a channel; convert it to 8")
    image.load()  # of a TIFF this turns it, and only then is its orientation right
    if upright and (turn := _TURNS.get(_orientation(image))):
        image = image.transpose(Image.Transpose[turn])
    if image.mode != _MODES[channels]:
        if "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert(_MODES[channels])
    return image


def _orientation(image: Image.Image) -> int:
    """How a camera noted that it was held, 1 to 8 (Exif 2.3, section 4.6.4); 1 is upright."""
    from PIL import ExifTags

    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _array(image: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    # Twice as quick for small images as numpy.asarray(image).
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)
