"""Images that do not fit in memory: decoded and cropped in threads when they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer, UInt8

from jaxdl.data import user_files
from jaxdl.data.images import jpeg, pixels
from jaxdl.data.images.crops import Box, Crop, draws
from jaxdl.data.table import Lazy
from jaxdl.errors import UserError

_CHUNK = 16  # images a thread takes at a time


@runtime_checkable
class Encoded(Protocol):
    """Encoded images, read one at a time, by many threads at once."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> bytes:
        """The bytes of image i."""

    def name(self, i: int) -> str:
        """What to call image i in an error message."""

    def fingerprint(self) -> bytes:
        """A digest that changes with the images, without reading all of them."""


@dataclass(frozen=True)
class EncodedFiles:
    """Images that are files.

    Args:
      root: the folder that holds them.
      paths: of the images, relative to `root`.
    """

    root: Path
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int) -> bytes:
        """The bytes of image i."""
        return self._ask(i, user_files.content)

    def name(self, i: int) -> str:
        """Its path."""
        return f"images: {self.root / self.paths[i]}"

    def fingerprint(self) -> bytes:
        """Of names and sizes: reading the contents would take hours."""
        digest = sha256()
        for i, path in enumerate(self.paths):
            digest.update(f"{path}:{self._ask(i, Path.stat).st_size};".encode())
        return digest.digest()

    def _ask(self, i: int, question: Callable[[Path], Any]) -> Any:
        path = self.root / self.paths[i]
        try:
            return question(path)
        except OSError as error:
            raise UserError(f"{self.name(i)}: {pixels.reason(path, error)}") from error


@dataclass(frozen=True)
class EncodedInMemory:
    """Encoded images in memory.

    Args:
      images: their bytes.
      where: what to call them in an error message.
    """

    images: Sequence[bytes]
    where: str

    def __len__(self) -> int:
        return len(self.images)

    def read(self, i: int) -> bytes:
        """The bytes of image i."""
        return self.images[i]

    def name(self, i: int) -> str:
        """Its number."""
        return f"{self.where} example {i}"

    def fingerprint(self) -> bytes:
        """Of the bytes themselves."""
        return sha256(b"".join(self.images)).digest()


class Decoded(Lazy):
    """A column of images that threads decode, uint8 (examples, height, width, channels).

    Args:
      encoded: the images, of any of the usual formats.
      shape: (height, width, channels) of one value of the column; 1 channel is grey, 3 are RGB, 4
        RGBA.
      threads: number of decoding threads; by default one for each core that this process may use.
    """

    def __init__(
        self, encoded: Encoded, shape: tuple[int, int, int], threads: int | None = None
    ) -> None:
        self.encoded = encoded
        self.shape = (len(encoded), *shape)
        self.dtype = np.dtype(np.uint8)
        self._pool = ThreadPoolExecutor(threads or _cores(), thread_name_prefix="decoded")
        self._all = np.arange(len(encoded))

    def fingerprint(self) -> UInt8[np.ndarray, " bytes"]:
        """The fingerprint of the encoded images."""
        return np.frombuffer(self.encoded.fingerprint(), np.uint8)

    def digests(self) -> UInt8[np.ndarray, "examples bytes"]:
        """A digest of the encoded bytes of each image."""

        def digest(place: int, i: int, into: np.ndarray) -> None:
            value = blake2b(self.encoded.read(i), digest_size=into.size).digest()
            into[:] = np.frombuffer(value, np.uint8)

        return self._make(self._all, (16,), digest)

    def _make(
        self,
        rows: Integer[np.ndarray, " batch"],
        shape: tuple[int, ...],
        make: Callable[[int, int, np.ndarray], None],
    ) -> UInt8[np.ndarray, "batch ..."]:
        """The values that `make(place, row, into)` writes for each row, in all threads."""
        values = np.empty((len(rows), *shape), np.uint8)
        self._fill(values, rows, make)
        return values

    def _fill(
        self,
        values: UInt8[np.ndarray, "batch ..."],
        rows: Integer[np.ndarray, " batch"],
        make: Callable[[int, int, np.ndarray], None],
    ) -> None:
        def fill(start: int) -> None:
            for place in range(start, min(start + _CHUNK, len(rows))):
                self._attempt(make, place, int(rows[place]), values[place])

        list(self._pool.map(fill, range(0, len(rows), _CHUNK)))

    def _attempt(
        self, make: Callable[[int, int, np.ndarray], None], place: int, i: int, into: np.ndarray
    ) -> None:
        """Raise a UserError that names image i in place of any other exception."""
        try:
            make(place, i, into)
        except UserError:
            raise
        except Exception as error:  # Pillow raises ten types for damaged files
            why = pixels.reason(self.encoded.read(i), error)
            raise UserError(f"{self.encoded.name(i)}: {why}") from error

    def _whole(self, i: int, upright: bool = True) -> UInt8[np.ndarray, "height width channels"]:
        """Image i in its own size: rotated as its Exif note says, or as stored."""
        encoded = self.encoded.read(i)
        plain = self.shape[-1] == 3 and jpeg.size(encoded) is not None
        image = jpeg.decode(encoded) if plain else None
        return pixels.whole(encoded, self.shape[-1], upright=upright) if image is None else image


class LazyImages(Decoded):
    """A column of images, uint8 (examples, size, size, channels).

    Indexing returns what evaluation sees, decoded and scaled by Pillow (as torchvision's Resize and
    CenterCrop do). `train_view` returns what training sees, decoded and scaled faster by
    `jaxdl.data.images.jpeg`.

    Args:
      encoded: the images, of any of the usual formats.
      crop: the part of them that is seen.
      channels: 1 is grey, 3 are RGB, 4 RGBA.
      threads: number of decoding threads; by default one for each core that this process may use.

    Raises:
      UserError: from `train_view` and indexing, if an image is missing or damaged.
    """

    def __init__(
        self, encoded: Encoded, crop: Crop, channels: int = 3, threads: int | None = None
    ) -> None:
        super().__init__(encoded, (crop.size, crop.size, channels), threads)
        self.crop, self.views = crop, crop.views

    def __getitem__(self, rows: Any) -> UInt8[np.ndarray, "..."]:
        """Images (..., size, size, channels); with ten views (..., 10, size, size, channels)."""
        rows = np.asarray(self._all[rows])

        def see(place: int, i: int, into: np.ndarray) -> None:
            image = self.crop.longest(self._whole(i))
            into[:] = self.crop.seen(pixels.scaled(image, self.crop.scaled(*image.shape[:2])))

        images = self._make(rows.ravel(), (self.views, *self.shape[1:]), see)
        views = () if self.views == 1 else (self.views,)
        return images.reshape(*rows.shape, *views, *self.shape[1:])

    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> UInt8[np.ndarray, "*batch size size channels"]:
        """A random part of each image, scaled to `size`; it does not depend on batch or threads.

        Args:
          rows: of the split, at least 0.
          epochs: the epoch of each row.
          seed: of the run.
        """
        uniform = draws(rows.ravel(), epochs.ravel(), seed)

        def view(place: int, i: int, into: np.ndarray) -> None:
            part = self._part(i, lambda h, w: self.crop.random_box(h, w, uniform[place]))
            jpeg.resize(part, into)

        return self._make(rows.ravel(), self.shape[1:], view).reshape(*rows.shape, *self.shape[1:])

    def _part(
        self, i: int, choose: Callable[[int, int], Box]
    ) -> UInt8[np.ndarray, "height width channels"]:
        """The part of image i that `choose(height, width)` selects, perhaps at a smaller scale."""
        encoded, channels, shrink = self.encoded.read(i), self.shape[-1], 1
        image, size = None, jpeg.size(encoded) if channels == 3 else None
        if size is not None:
            box = choose(*size)
            shrink = shrinkage(box, self.crop.size)
            image = jpeg.decode(encoded, shrink, quick=True)
        if image is None:  # not a plain JPEG, or a damaged one: Pillow reads it, or says why not
            image, shrink = pixels.whole(encoded, channels), 1
            box = choose(*image.shape[:2])
        top, left = round(box.top / shrink), round(box.left / shrink)
        bottom, right = (box.top + box.height) / shrink, (box.left + box.width) / shrink
        return image[top : round(bottom), left : round(right)]


def shrinkage(box: Box, size: int) -> int:
    """How far a decoder may shrink the image while the box keeps `size` pixels a side."""
    return next((n for n in (8, 4, 2) if min(box.height, box.width) >= n * size), 1)


def _cores() -> int:
    """The number of cores that this process may use, or of all where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
