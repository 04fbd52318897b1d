"""Which examples make batch t: a pure function of (number of examples, seed, t)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from jaxdl.errors import UserError


@dataclass(frozen=True)
class Order:
    """The endless stream of shuffled epochs, cut into batches.

    Epochs follow one another without a gap, so a batch may end one and begin the next; each epoch
    visits every example once, whatever the batch size.

    Args:
      examples: number of examples in the split.
      batch_size: examples a batch.
      seed: at least 0.
      shuffle: a fresh permutation each epoch, or the order of the split.

    Raises:
      UserError: a batch larger than the split.
    """

    examples: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        """Refuse batches that would hold an example twice."""
        if not 1 <= self.batch_size <= self.examples:
            raise UserError(
                f"config.training.batch_size: {self.batch_size} does not fit a training split of "
                f"{self.examples} examples; choose 1 to {self.examples}"
            )

    @property
    def steps_per_epoch(self) -> float:
        """Batches an epoch; not whole where the batch size does not divide."""
        return self.examples / self.batch_size

    def rows(self, step: int) -> Int[np.ndarray, " batch"]:
        """The rows of the split that make the batch of a step."""
        place = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epoch, within = np.divmod(place, self.examples)
        parts = [self._epoch(int(e))[within[epoch == e]] for e in np.unique(epoch)]
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.examples, dtype=np.int32)
        return _permutation(self.examples, self.seed, epoch)


@functools.lru_cache(maxsize=2)
def _permutation(examples: int, seed: int, epoch: int) -> np.ndarray:
    # NumPy promises Philox's raw stream for ever, and Generator.permutation's not; ties, of one
    # chance in 2^64 a pair, go to the lower row.
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(examples)
    return np.argsort(bits, kind="stable").astype(np.int32)


def once(
    examples: int, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]]:
    """Rows and mask of batches that visit each example exactly once, in order.

    The last batch is filled up with its first example, masked out.
    """
    for start in range(0, examples, batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        mask = rows < examples
        yield np.where(mask, rows, start).astype(np.int32), mask
