"""Decodes images of every format into arrays of pixels. It and `conversion` alone know Pillow."""

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

from jaxdl.data import limits, user_files
from jaxdl.data.images import conversion
from jaxdl.data.images.frame import Fit, Size, lost, scaling
from jaxdl.errors import UserError, printable

if TYPE_CHECKING:
    from PIL import Image

# The suffixes of the images in a folder.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Only these are opened: Pillow reads others too, some by starting programs (EPS).
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_SMALL = 10_000  # bytes of a decoded image
_CHUNK = 64  # images a thread takes at a time
_MUCH = 0.2  # of an image: if the crop to the middle loses more, there is a warning
_VERSION = 4  # increase it when this file makes other pixels, so that cached ones are not used


def version() -> str:
    """What decoded pixels depend on apart from the image, for the keys of caches."""
    import PIL

    return f"{_VERSION}, Pillow {PIL.__version__}"


def room(
    count: int, shape: tuple[int, int, int], where: str
) -> UInt8[np.ndarray, "images height width channels"]:
    """An uninitialized array for `count` images.

    Args:
      count: number of images.
      shape: (height, width, channels).
      where: what to call the images in a message.

    Raises:
      UserError: it is larger than the memory of the machine.
    """
    user_files.require_memory(
        count * math.prod(shape), f"{where}: {count} images of {shape}", "choose a smaller size"
    )
    return np.empty((count, *shape), np.uint8)


def decode(
    encoded: Sequence[bytes | Path],
    pixels: UInt8[np.ndarray, "images height width channels"],
    where: Callable[[int], str],
    fit: Fit | None,
) -> None:
    """Decode images of any of the usual formats into `pixels`, large ones on all cores.

    Grey, palette, CMYK and transparent images are converted to the channels of `pixels`: 1 is
    grey, 3 are red, green and blue (what is transparent is put on white), 4 keep the transparency.
    Of 9 to 16 bits a channel the upper 8 are taken.

    Args:
      encoded: the files' contents, or their paths.
      pixels: the array to fill.
      where: what to call image i in an error message.
      fit: rotate each image as its Exif note says, and scale it to the shape of `pixels`, as
        `Frame` says. None for images that must have this shape, and are not rotated.

    Raises:
      UserError: an image is missing, damaged, not an image, of more than 16 bits a channel, of more
        pixels than `limits.PIXELS`, or of another shape; the message names it.
    """
    if pixels.shape[-1] not in conversion.MODES:
        raise UserError(f"{where(0)}: images have 1, 3 or 4 channels, not {pixels.shape[-1]}")
    _pillow()  # here, not in the threads, which would race

    def fill(start: int) -> None:
        for i, image in enumerate(encoded[start : start + _CHUNK], start):
            try:
                pixels[i] = _decode_one(image, pixels.shape[1:], fit, functools.partial(where, i))
            except Exception as error:  # Pillow raises ten types for damaged files
                raise UserError(f"{where(i)}: {reason(image, error)}") from error

    # For small images most of the time is spent in Python, and threads would wait for the GIL.
    threads = os.cpu_count() if fit or pixels[0].nbytes > _SMALL else 1
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(0, len(encoded), _CHUNK)))


def faults(paths: Sequence[Path], channels: int) -> dict[int, str]:
    """The images that cannot be decoded, and why; decodes all of them, on all cores."""
    _pillow()

    def find(start: int) -> dict[int, str]:
        faults = {}
        for i, path in enumerate(paths[start : start + _CHUNK], start):
            try:
                whole(path, channels)
            except Exception as error:  # Pillow raises ten types for damaged files
                faults[i] = reason(path, error)
        return faults

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(find, range(0, len(paths), _CHUNK))
        return {i: why for part in parts for i, why in part.items()}


def whole(
    encoded: bytes | Path, channels: int, *, upright: bool = True
) -> UInt8[np.ndarray, "height width channels"]:
    """An image of any of the usual formats in its own size, converted as by `decode`.

    Raises Pillow's exceptions if it is damaged; `reason` puts them into words.

    Args:
      encoded: the file's contents, or its path.
      channels: 1, 3 or 4.
      upright: rotate it as its Exif note says.
    """
    with _opened(user_files.content(encoded)) as file:
        return conversion.array(conversion.converted(file, channels, upright), channels)


def read(path: Path, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """An image file in its own size, upright, converted as by `decode`.

    Raises:
      UserError: it is missing, damaged or not an image.
    """
    try:
        return whole(path, channels)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{path}: {reason(path, error)}") from error


def size(encoded: bytes | Path, *, upright: bool = True) -> tuple[int, int]:
    """Height and width of an image, from its header; arguments and errors as of `whole`."""
    with _opened(encoded) as image:
        height, width = image.height, image.width
        # Pillow rotates a TIFF itself, and reports the rotated size.
        is_turned = upright and image.format != "TIFF" and conversion.orientation(image) >= 5
    return (width, height) if is_turned else (height, width)


def is_upright(encoded: bytes) -> bool:
    """Whether the header of an image is readable and has no Exif note to rotate it."""
    try:
        with _opened(encoded) as image:
            return conversion.orientation(image) == 1
    except Exception:  # `whole` will report it
        return False


def scaled(
    image: UInt8[np.ndarray, "height width channels"], size: Size
) -> UInt8[np.ndarray, "new_height new_width channels"]:
    """An image in another size, by a linear filter that smooths when it shrinks.

    Raises ValueError if it would have more pixels than `limits.PIXELS`.
    """
    from PIL import Image

    limits.require(*size)
    channels = image.shape[-1]
    original = Image.fromarray(image[..., 0] if channels == 1 else image)
    return conversion.array(original.resize(size[::-1], Image.Resampling.BILINEAR), channels)


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
        return "needs more memory than the machine has; scale it down"
    if isinstance(error, PermissionError):
        return "cannot be read; change its permissions"
    why = printable(" ".join(str(error).split()), 200) or type(error).__name__
    if type(error) is ValueError:  # ours, or one of Pillow's that reads well
        return why
    return f"a damaged image ({why}); remove or replace it"


def _decode_one(
    encoded: bytes | Path, shape: tuple[int, ...], fit: Fit | None, name: Callable[[], str]
) -> UInt8[np.ndarray, "height width channels"]:
    height, width, channels = shape
    with _opened(user_files.content(encoded)) as file:
        image = conversion.converted(file, channels, upright=fit is not None)
        if fit is not None:
            image = _fitted(image, (height, width), fit, name)
        elif image.size != (width, height):
            raise ValueError(
                f"{image.height}×{image.width} pixels where {height}×{width} are expected; "
                "set size to resize the images"
            )
        return conversion.array(image, channels)


def _fitted(image: Image.Image, size: Size, fit: Fit, name: Callable[[], str]) -> Image.Image:
    """An image in this size, as `Frame` says."""
    from PIL import Image, ImageOps

    (height, width), linear = size, Image.Resampling.BILINEAR
    if fit == "squeeze":
        return image.resize((width, height), linear)
    if fit == "crop":
        if (share := lost((image.height, image.width), size)) > _MUCH:
            _tell_crop(share, size, name)
        return ImageOps.fit(image, (width, height), linear)
    _, (h, w) = scaling((image.height, image.width), size)
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image.resize((w, h), linear), ((width - w) // 2, (height - h) // 2))
    return canvas


def _tell_crop(share: float, size: Size, name: Callable[[], str]) -> None:
    """Warn once that much of an image is not seen."""
    conversion.tell(
        "crop",
        "%s: the middle, %d×%d, leaves out %d %% of the image, and likewise of others of its "
        "shape; fit='pad' or 'squeeze' shows all, and size=(height, width) need not be square",
        lambda: (name(), *size, round(100 * share)),
    )


@functools.cache
def _pillow() -> None:
    """Load Pillow's formats, and raise its limit of pixels, too low for photographs, to ours."""
    from PIL import Image

    Image.init()
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limits.PIXELS)
    # Its warnings are about what is refused anyway, or about notes that are not read.
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def _opened(encoded: bytes | Path) -> Iterator[Image.Image]:
    """An image whose header is read and within `limits`; its pixels are not read yet."""
    from PIL import Image

    _pillow()
    with user_files.opened(encoded) as stream:
        limits.require_segments(stream)
        with Image.open(cast(IO[bytes], stream), formats=_FORMATS) as image:
            limits.require(image.height, image.width)
            if image.format in ("JPEG", "MPO") and isinstance(encoded, bytes):
                limits.require_scans(encoded, image.height, image.width)
            with limits.in_turn(image.height, image.width):
                yield image
