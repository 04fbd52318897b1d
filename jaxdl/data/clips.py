"""Clips: each image together with the frames before it, gathered when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Integer, Shaped, UInt8

from jaxdl.data.table import Lazy, Table
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Clips:
    """How images become clips; `config.data.clips` sets these.

    The image of each example becomes a clip that ends with it. Other columns do not change, so they
    belong to the last frame. A clip stays within one recording: examples with equal `within` and
    consecutive frame numbers. At the beginning of a recording its first frame is repeated.

    Args:
      length: frames in a clip.
      stride: distance in frames between two of them.
      within: columns in which the examples of a recording are equal, such as ('drive',).
      frame: column of the frame numbers.
      column: column of the images.
      first: columns whose values at the first frame are added as `first_…`, such as ('steering',):
        `random_reverse` needs them.

    Raises:
      UserError: a length or stride below 1.
    """

    length: int
    stride: int = 1
    within: tuple[str, ...] = ()
    frame: str = "frame"
    column: str = "image"
    first: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse clips without frames."""
        for name in ("length", "stride"):
            if getattr(self, name) < 1:
                raise UserError(f"clips: {name}={getattr(self, name)}; it must be at least 1")


class Frames(Lazy):
    """A column of clips (examples, length, ...), gathered from their frames when indexed.

    Args:
      frames: the single images, in memory.
      rows: the frames of each clip.
    """

    def __init__(
        self, frames: Shaped[np.ndarray, "frames ..."], rows: Integer[np.ndarray, "examples length"]
    ) -> None:
        self.frames, self.rows = frames, rows
        self.shape, self.dtype = (*rows.shape, *frames.shape[1:]), frames.dtype

    def __getitem__(self, rows: Any) -> Shaped[np.ndarray, "..."]:
        """Clips (..., length, height, width, channels)."""
        return self.frames[self.rows[rows]]

    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> Shaped[np.ndarray, "*batch length ..."]:
        """The same in every epoch."""
        return self[rows]

    def fingerprint(self) -> UInt8[np.ndarray, " bytes"]:
        """A digest of the frames and of the rows of the clips."""
        digest = sha256(np.ascontiguousarray(self.frames).data)
        digest.update(np.ascontiguousarray(self.rows, np.int64).data)
        return np.frombuffer(digest.digest(), np.uint8)

    def digests(self) -> UInt8[np.ndarray, "examples bytes"]:
        """The digests of the frames of each clip, one after the other."""
        frames = np.ascontiguousarray(self.frames)
        each = [blake2b(frame.data, digest_size=16).digest() for frame in frames]
        digests = np.frombuffer(b"".join(each), np.uint8).reshape(len(each), -1)
        return digests[self.rows].reshape(len(self), -1)


def clip(splits: Mapping[str, Table], clips: Clips) -> dict[str, Table]:
    """The splits, with clips in place of images.

    Raises:
      UserError: a column is missing, of the wrong kind or exists already, or two examples of a
        recording have the same frame number.
    """
    return {role: _clipped(table, clips) for role, table in splits.items()}


def _clipped(table: Table, clips: Clips) -> Table:
    needed = (clips.column, clips.frame, *clips.within, *clips.first)
    table.require(needed, "Set config.data.clips")
    for name in (f"first_{name}" for name in clips.first):
        if name in table.columns:
            raise UserError(
                f"{table.where}: column {name!r} exists already, and config.data.clips.first "
                "would add it; leave it out of config.data.columns"
            )
    images = table.columns[clips.column]
    if isinstance(images, Lazy):
        raise UserError(
            f"{table.where}: clips need images in memory, and column {clips.column!r} is "
            "decoded on demand; leave out config.data.crop"
        )
    for name in (clips.frame, *clips.within):
        column = table.columns[name]
        if column.ndim != 1 or column.dtype.kind not in "iub":
            raise UserError(
                f"{table.where}: column {name!r} must have one whole number for each example, "
                f"to find the recordings; got shape {column.shape} of {column.dtype}"
            )
    rows = _rows(table, clips)
    first = {f"first_{name}": table.columns[name][rows[:, 0]] for name in clips.first}
    clipped = {clips.column: Frames(images, rows), **first}
    return replace(table, columns={**table.columns, **clipped})


def _rows(table: Table, clips: Clips) -> Int[np.ndarray, "examples length"]:
    """The rows of the frames of each clip; the examples may be in any order."""
    number = table.columns[clips.frame].astype(np.int64)
    recording = [table.columns[name] for name in clips.within]
    order = np.lexsort((number, *recording))  # by recording, then by number
    new = _changes(recording, order)
    gap = np.diff(number[order])
    if (twice := np.flatnonzero(~new[1:] & (gap == 0))).size:
        first, second = order[twice[0]], order[twice[0] + 1]
        raise UserError(
            f"{table.where}: examples {first} and {second} are both {clips.frame} "
            f"{number[first]}; name the columns that differ between recordings in "
            "config.data.clips.within"
        )
    new[1:] |= gap != 1
    place = np.arange(len(order))
    begin = np.maximum.accumulate(np.where(new, place, 0))
    back = np.arange(clips.length - 1, -1, -1) * clips.stride
    rows = np.empty((len(order), clips.length), np.int64)
    rows[order] = order[np.maximum(begin[:, None], place[:, None] - back)]
    return rows


def _changes(columns: list[np.ndarray], order: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Where, in this order, any column differs from the example before."""
    new = np.zeros(len(order), bool)
    new[0] = True
    for column in columns:
        new[1:] |= column[order][1:] != column[order][:-1]
    return new
