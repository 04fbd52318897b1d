"""From the rows of a split to what a compiled call of several steps takes.

Small splits live on the device, and a call is fed row numbers only. Others stay with the host, and
a call is fed whole batches. Either way the next call's input is made while this one computes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jaxdl.data.order import Order, Streams
from jaxdl.data.table import Table

RESIDENT_BYTES = 1 << 30  # a split up to this size is held on the device
_STREAM_BYTES = 1 << 26  # what one call's batches may take where they are streamed
_MOST_STEPS = 256


class Feed:
    """Inputs of compiled calls: up to `steps` batches each, made one call ahead.

    Args:
      table: the training split.
      order: which rows make batch t.
      resident: hold the split on the device; None decides by its size.

    Attributes:
      columns: the split as it is handed to every call; empty where batches are streamed.
      steps: the most steps a call can take; the leading axis of every input.
      waited: seconds that `take` has waited for input.
    """

    def __init__(self, table: Table, order: Order | Streams, resident: bool | None = None) -> None:
        sizes = {name: column.nbytes for name, column in table.columns.items()}
        self._table, self._order = table, order
        resident = sum(sizes.values()) <= RESIDENT_BYTES if resident is None else resident
        self.columns = dict(table.columns) if resident else {}
        batch_bytes = sum(sizes.values()) * order.batch_size // len(table)
        self.steps = _MOST_STEPS
        if not resident:
            self.steps = max(1, min(_MOST_STEPS, _STREAM_BYTES // max(1, batch_bytes)))
        self.waited = 0.0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[tuple[int, int], Future[Any]] | None = None

    def prepare(self, step: int, n: int) -> None:
        """Start making the input of the `n` steps from `step`."""
        self._ahead = (step, n), self._worker.submit(self.make, step, n)

    def take(self, step: int, n: int) -> Any:
        """The input of the `n` steps from `step`, waiting for it where it is not ready."""
        start = time.perf_counter()
        if self._ahead is None or self._ahead[0] != (step, n):
            self.prepare(step, n)
        assert self._ahead is not None
        ready = self._ahead[1].result()
        self._ahead = None
        self.waited += time.perf_counter() - start
        return ready

    def make(self, step: int, n: int) -> Any:
        """Rows, (steps, batch), or batches of that shape; only the first `n` steps count."""
        rows = np.zeros((self.steps, self._order.batch_size), np.int32)
        for i in range(n):
            rows[i] = self._order.rows(step + i)
        if self.columns:
            return rows
        batches = self._table[rows[:n]]
        room = self.steps - n
        return {k: np.pad(v, ((0, room),) + ((0, 0),) * (v.ndim - 1)) for k, v in batches.items()}

    def close(self) -> None:
        """Stop the worker."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def fetch(columns: Mapping[str, jax.Array], given: Any) -> Any:
    """The batch that an input names: its rows of the resident split, or the batch itself."""
    if not columns:
        return given
    return {name: column[given] for name, column in columns.items()}
