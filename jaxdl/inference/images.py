"""Turns images, files or arrays, into the columns that a run was trained on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from jaxdl.data.clips import clip
from jaxdl.data.images import pixels
from jaxdl.data.images.canvas import Canvases
from jaxdl.data.images.frame import Fit, scaling
from jaxdl.data.images.lazy import Decoded, Encoded, EncodedFiles, EncodedInMemory, LazyImages
from jaxdl.data.table import Table
from jaxdl.data.user_files import below
from jaxdl.errors import UserError, brief
from jaxdl.files import local
from jaxdl.inference.restored import RestoredRun


class Resized(Decoded):
    """A column of images, each brought to the shape that the run was trained on, as `fit` says."""

    def __init__(self, encoded: Encoded, shape: tuple[int, int, int], fit: Fit) -> None:
        super().__init__(encoded, shape)
        self.fit = fit

    def __getitem__(self, rows: Any) -> UInt8[np.ndarray, "..."]:
        """Images (..., height, width, channels)."""
        rows = np.asarray(self._all[rows])
        images = np.empty((rows.size, *self.shape[1:]), np.uint8)
        wanted = rows.ravel().tolist()
        encoded = [self.encoded.read(i) for i in wanted]
        pixels.decode(encoded, images, lambda i: self.encoded.name(wanted[i]), self.fit)
        return images.reshape(*rows.shape, *self.shape[1:])

    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> Shaped[np.ndarray, "*batch height width channels"]:
        """The same in every epoch."""
        return self[rows]


def image_columns(run: RestoredRun, name: str, images: Encoded) -> dict[str, Any]:
    """The columns that evaluation would make of images of any size.

    Args:
      run: says how: cropped, on canvases, as clips, or scaled.
      name: of the column of images.
      images: of clips, the frames of a drive, in their order.

    Returns:
      The column, and for a detector `scale` and `extent`.

    Raises:
      UserError: an image is missing or damaged; some only when they are read.
    """
    shape = tuple(run.columns[name]["shape"])
    if "extent" in run.columns:
        sizes = [_size(images, i) for i in range(len(images))]
        scales, extents = zip(*(scaling(size, shape[:2]) for size in sizes), strict=True)
        where = [images.name(i) for i in range(len(images))]
        return {
            name: Canvases(images, sizes, where, shape[:2], upright=True),
            "scale": np.array(scales, np.float32),
            "extent": np.array(extents, np.float32),
        }
    if run.crop is not None:
        return {name: LazyImages(images, run.crop, shape[-1])}
    resized = Resized(images, shape[-3:], run.fit)
    if run.clips is None:
        return {name: resized}
    paths = images.paths if isinstance(images, EncodedFiles) else [""] * len(images)
    _, drives = np.unique([str(Path(path).parent) for path in paths], return_inverse=True)
    return {name: as_clips(run, resized[:], drives)}


def as_clips(
    run: RestoredRun,
    frames: Shaped[np.ndarray, "frames ..."],
    drives: Integer[np.ndarray, " frames"],
) -> Any:
    """The clips that end with each frame; the frames of a drive are in their order."""
    assert run.clips is not None
    clips = replace(run.clips, within=("drive",), frame="frame", first=())
    number = np.empty_like(drives)
    number[np.argsort(drives, kind="stable")] = np.arange(len(frames))
    table = Table({clips.column: frames, "frame": number, "drive": drives})
    return clip({"": table}, clips)[""].columns[clips.column]


def encoded(images: Sequence[Any], channels: int) -> Encoded:
    """Paths of images, or arrays (height, width, channels) of uint8, each of any size.

    Raises:
      UserError: one is neither.
    """
    if all(isinstance(image, str | Path) for image in images):
        return EncodedFiles(Path(), [str(path) for path in images])
    return EncodedInMemory([_png(i, image, channels) for i, image in enumerate(images)], "images:")


def image_files(places: Sequence[str]) -> list[Path]:
    """Paths of images: files, and the images in folders, in alphabetical order.

    Raises:
      UserError: a file does not exist, or a folder has no images.
    """
    files: list[Path] = []
    for path in map(local, places):
        inside = below(path, pixels.SUFFIXES, deep=False)
        if path.is_dir() and not inside:
            suffixes = ", ".join(pixels.SUFFIXES)
            raise UserError(f"{path}: a folder without images right in it ({suffixes})")
        if not path.exists():
            raise UserError(f"{path}: no such file; give images, or folders of them")
        files += inside if path.is_dir() else [path]
    return files


def _png(number: int, image: Any, channels: int) -> bytes:
    """An array as a file, which loses nothing, so that arrays and files are read alike."""
    from PIL import Image

    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != channels:
        raise UserError(
            f"image {number}: expected uint8 of shape (height, width, {channels}), raw as in "
            f"training, got {array.dtype} {array.shape if array.ndim else brief(image)}"
        )
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if channels == 1 else array).save(file, "png", compress_level=1)
    return file.getvalue()


def _size(images: Encoded, i: int) -> tuple[int, int]:
    content = images.read(i)
    try:
        return pixels.size(content)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{images.name(i)}: {pixels.reason(content, error)}") from error
