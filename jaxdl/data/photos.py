"""Images that do not fit in memory: decoded and cropped as they are needed, in threads."""

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

from jaxdl.data import documents, jpeg, pixels
from jaxdl.data.crops import Box, Crop, draws
from jaxdl.data.table import Lazy
from jaxdl.errors import UserError

_CHUNK = 16  # images a thread takes at a time


@runtime_checkable
class Encoded(Protocol):
    """Encoded images, one by one. Read by many threads at a time."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> bytes:
        """The bytes of image i."""

    def name(self, i: int) -> str:
        """What to call image i in an error message."""

    def fingerprint(self) -> bytes:
        """A digest that changes with the images, without reading them."""


@dataclass(frozen=True)
class Files:
    """Images that are files.

    Args:
      root: the folder that holds them.
      paths: below it.
    """

    root: Path
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int) -> bytes:
        """The bytes of image i."""
        return self._asked(i, documents.content)

    def name(self, i: int) -> str:
        """Its path."""
        return f"images: {self.root / self.paths[i]}"

    def fingerprint(self) -> bytes:
        """Of names and sizes: to read what they hold would take hours."""
        digest = sha256()
        for i, path in enumerate(self.paths):
            digest.update(f"{path}:{self._asked(i, Path.stat).st_size};".encode())
        return digest.digest()

    def _asked(self, i: int, question: Callable[[Path], Any]) -> Any:
        path = self.root / self.paths[i]
        try:
            return question(path)
        except OSError as error:
            raise UserError(f"{self.name(i)}: {pixels.reason(path, error)}") from error


@dataclass(frozen=True)
class Held:
    """Images that are held in memory, encoded.

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
    """A column of images that are decoded in threads, uint8, (examples, height, width, channels).

    Args:
      encoded: the images, of any of the usual formats.
      shape: of what is made of one: (height, width, channels). Of channels, 1 is grey, 3 are red,
        green and blue, 4 keep the transparency.
      threads: how many decode; by default one for each core that this process may use.
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
        """Of the encoded images: see there."""
        return np.frombuffer(self.encoded.fingerprint(), np.uint8)

    def digests(self) -> UInt8[np.ndarray, "examples bytes"]:
        """Of the bytes of each image."""

        def digest(place: int, i: int, into: np.ndarray) -> None:
            found = blake2b(self.encoded.read(i), digest_size=into.size).digest()
            into[:] = np.frombuffer(found, np.uint8)

        return self._made(self._all, (16,), digest)

    def _made(
        self,
        rows: Integer[np.ndarray, " batch"],
        shape: tuple[int, ...],
        make: Callable[[int, int, np.ndarray], None],
    ) -> UInt8[np.ndarray, "batch ..."]:
        """What `make(place, row, into)` makes of each row, in all threads."""
        made = np.empty((len(rows), *shape), np.uint8)
        self._fill(made, rows, make)
        return made

    def _fill(
        self,
        made: UInt8[np.ndarray, "batch ..."],
        rows: Integer[np.ndarray, " batch"],
        make: Callable[[int, int, np.ndarray], None],
    ) -> None:
        def fill(start: int) -> None:
            for place in range(start, min(start + _CHUNK, len(rows))):
                self._attempt(make, place, int(rows[place]), made[place])

        list(self._pool.map(fill, range(0, len(rows), _CHUNK)))

    def _attempt(
        self, make: Callable[[int, int, np.ndarray], None], place: int, i: int, into: np.ndarray
    ) -> None:
        """The boundary: whatever goes wrong with image i is one line that names it."""
        try:
            make(place, i, into)
        except UserError:
            raise
        except Exception as error:  # Pillow raises ten types for damaged files
            why = pixels.reason(self.encoded.read(i), error)
            raise UserError(f"{self.encoded.name(i)}: {why}") from error

    def _whole(self, i: int, upright: bool = True) -> UInt8[np.ndarray, "height width channels"]:
        """Image i in its own size: turned, where a camera noted so, or as it is stored."""
        encoded = self.encoded.read(i)
        plain = self.shape[-1] == 3 and jpeg.size(encoded) is not None
        image = jpeg.decode(encoded) if plain else None
        return pixels.whole(encoded, self.shape[-1], upright=upright) if image is None else image


class Photos(Decoded):
    """A column of images, uint8, (examples, size, size, channels).

    Indexing gives what evaluation sees, decoded and scaled as Pillow does (and so as torchvision's
    Resize and CenterCrop do). `drawn` gives what training sees, by quicker means: see
    `jaxdl.data.jpeg`.

    Args:
      encoded: the images, of any of the usual formats.
      crop: what is seen of them.
      channels: 1 is grey, 3 are red, green and blue, 4 keep the transparency.
      threads: how many decode; by default one for each core that this process may use.

    Raises:
      UserError: from `drawn` and indexing, at an image that is missing or not sound.
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
            image = self._whole(i)
            into[:] = self.crop.seen(pixels.scaled(image, self.crop.scaled(*image.shape[:2])))

        seen = self._made(rows.ravel(), (self.views, *self.shape[1:]), see)
        views = () if self.views == 1 else (self.views,)
        return seen.reshape(*rows.shape, *views, *self.shape[1:])

    def drawn(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> UInt8[np.ndarray, "*batch size size channels"]:
        """A part of each image, scaled to the size; whatever the batch, and however many threads.

        Args:
          rows: of the split, at least 0.
          epochs: of each.
          seed: of the run.
        """
        uniform = draws(rows.ravel(), epochs.ravel(), seed)

        def draw(place: int, i: int, into: np.ndarray) -> None:
            part = self._part(i, lambda h, w: self.crop.drawn(h, w, uniform[place]))
            jpeg.resize(part, into)

        return self._made(rows.ravel(), self.shape[1:], draw).reshape(*rows.shape, *self.shape[1:])

    def _part(
        self, i: int, choose: Callable[[int, int], Box]
    ) -> UInt8[np.ndarray, "height width channels"]:
        """The part of image i that `choose(height, width)` names, perhaps smaller than it is."""
        encoded, channels, shrink = self.encoded.read(i), self.shape[-1], 1
        image, size = None, jpeg.size(encoded) if channels == 3 else None
        if size is not None:
            box = choose(*size)
            shrink = shrinkage(box, self.crop.size)
            image = jpeg.decode(encoded, shrink, quick=True)
        if image is None:  # no plain JPEG, or not a sound one: Pillow takes it, or says why not
            image, shrink = pixels.whole(encoded, channels), 1
            box = choose(*image.shape[:2])
        top, left = round(box.top / shrink), round(box.left / shrink)
        bottom, right = (box.top + box.height) / shrink, (box.left + box.width) / shrink
        return image[top : round(bottom), left : round(right)]


def shrinkage(box: Box, size: int) -> int:
    """By how much a decoder may shrink the image, so that the box keeps at least `size` a side."""
    return next((n for n in (8, 4, 2) if min(box.height, box.width) >= n * size), 1)


def _cores() -> int:
    """How many this process may use, where the system says; all of them otherwise."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
