"""The rows of batch t: a pure function of (number of examples, seed, t).

`ShuffledEpochs` shuffles each epoch; in `ContiguousStreams` each batch continues the one before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxdl.errors import UserError


@dataclass(frozen=True, eq=False)
class ShuffledEpochs:
    """An endless stream of shuffled epochs, divided into batches.

    Epochs follow one another without a gap, so a batch may end one and begin the next; each epoch
    visits every example once, for any batch size.

    Args:
      examples: number of examples in the split.
      batch_size: examples in a batch.
      seed: at least 0.
      shuffle: a fresh permutation each epoch, or the order of the split.
      lengths: of each example. If set, a batch has examples of similar length, to reduce
        padding (bucketing), and the order of the batches is shuffled.

    Raises:
      UserError: a batch is larger than the split.
    """

    examples: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    lengths: Int[np.ndarray, " examples"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse batches larger than the split."""
        _check_batch(self.examples, self.batch_size)

    @property
    def steps_per_epoch(self) -> float:
        """Batches in an epoch; fractional if the batch size does not divide it."""
        return self.examples / self.batch_size

    def rows(self, step: int) -> Int[np.ndarray, " batch"]:
        """The rows of the split that make the batch of a step."""
        place = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epoch, within = np.divmod(place, self.examples)
        parts = [self._epoch(int(e))[within[epoch == e]] for e in np.unique(epoch)]
        return np.concatenate(parts)

    def epochs(self, step: Any) -> Int[Any, " batch"]:
        """The epoch of each row of that batch, counted from 0; `step` may be traced."""
        size, place = self.batch_size, np.arange(self.batch_size, dtype=np.int32)
        if isinstance(step, int):
            return (step * size + place.astype(int)) // self.examples
        # step * size may be beyond an int32. So the quotient is guessed in float32, and corrected
        # by the remainder, which is small: int32 wraps around, and so the difference is right.
        whole, part = step // self.examples, step % self.examples
        guess = (part * (size / self.examples)).astype(step.dtype)
        rest = part * size + place - guess * self.examples
        return whole * size + guess + rest // self.examples

    @functools.cached_property
    def _epoch(self) -> Callable[[int], np.ndarray]:
        """The rows of an epoch. Two are cached for each order, since several are read in turn."""
        return functools.lru_cache(maxsize=2)(self._permuted)

    def _permuted(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.examples, dtype=np.int32)
        # NumPy promises never to change Philox's raw stream, unlike Generator.permutation. Ties (a
        # chance of 2^-64 for each pair) go to the lower row.
        philox = np.random.Philox(key=np.array([self.seed, epoch], np.uint64))
        shuffled = np.argsort(philox.random_raw(self.examples), kind="stable").astype(np.int32)
        if self.lengths is None:
            return shuffled
        head = -epoch * self.examples % self.batch_size  # completes the last batch of epoch - 1
        whole = (self.examples - head) // self.batch_size
        first, rest = shuffled[:head], shuffled[head:]
        alike = rest[np.argsort(self.lengths[rest], kind="stable")]
        batches = alike[: whole * self.batch_size].reshape(whole, self.batch_size)
        turn = np.argsort(philox.random_raw(whole), kind="stable")
        return np.concatenate([first, batches[turn].ravel(), alike[whole * self.batch_size :]])


@dataclass(frozen=True)
class ContiguousStreams:
    """The split divided into as many streams as a batch has rows, each read in order.

    Row i of batch t + 1 continues row i of batch t, except at the start of an epoch. The remaining
    examples at the end, fewer than a batch, are left out.

    Args:
      examples: number of examples in the split, in their order.
      batch_size: examples in a batch.

    Raises:
      UserError: a batch larger than the split.
    """

    examples: int
    batch_size: int

    def __post_init__(self) -> None:
        """Refuse batches larger than the split."""
        _check_batch(self.examples, self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.examples // self.batch_size

    def rows(self, step: int) -> Int[np.ndarray, " batch"]:
        """The rows of the split that make the batch of a step."""
        length = self.steps_per_epoch
        return (np.arange(self.batch_size) * length + step % length).astype(np.int32)

    def epochs(self, step: Any) -> Int[Any, " batch"]:
        """The epoch of each row of that batch, counted from 0; `step` may be traced."""
        return step // self.steps_per_epoch + np.zeros(self.batch_size, int)


def eval_streams(
    examples: int, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]]:
    """Rows and mask of batches that visit each example exactly once, each continuing the last.

    Streams that are too short are padded with the first example, masked out.
    """
    length = -(-examples // batch_size)
    for step in range(length):
        rows = np.arange(batch_size, dtype=np.int32) * length + np.int32(step)
        mask = rows < examples
        yield np.where(mask, rows, 0).astype(np.int32), mask


def eval_batches(
    examples: int, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]]:
    """Rows and mask of batches that visit each example exactly once, in order.

    The last batch is padded with its own first example, masked out.
    """
    for start in range(0, examples, batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        mask = rows < examples
        yield np.where(mask, rows, start).astype(np.int32), mask


def _check_batch(examples: int, batch_size: int) -> None:
    if not 1 <= batch_size <= examples:
        raise UserError(
            f"config.training.batch_size: {batch_size} does not fit a training split of "
            f"{examples} examples; choose 1 to {examples}"
        )
