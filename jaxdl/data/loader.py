"""Makes the inputs of compiled calls of several steps from the rows of a split, ahead of the calls.

A small split is kept on the device, and a call gets only row numbers. Others stay on the host, and
a call gets whole batches. Either way the input of the next call is made while this one computes.
With lazy columns a call gets one batch, and several batches are made ahead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, Integer

from jaxdl.data.order import ContiguousStreams, ShuffledEpochs
from jaxdl.data.table import Table
from jaxdl.signals import result

RESIDENT_BYTES = 1 << 30  # a split up to this size is kept on the device
_STREAM_BYTES = 1 << 26  # of the batches of one call, if they are streamed from the host
_AHEAD_BYTES = 1 << 30  # of batches with lazy columns that are made ahead
_MOST_STEPS = 256
_MOST_AHEAD = 3


class DeviceLoader:
    """Inputs of compiled calls, up to `steps` batches each, made ahead of the calls.

    Args:
      table: the training split.
      order: which rows make batch t.
      local: the positions of a batch to make; by default all. With several processes, each makes
        those of its own devices.
      on_device: keep the split on the device; None decides by its size. A split with lazy columns
        stays on the host.
      seed: of the random views of lazy columns.

    Attributes:
      columns: the split that is passed to every call; empty if batches are streamed.
      steps: the most steps a call can take; the leading axis of every input.
      waited: seconds that `take` has waited for input.
    """

    def __init__(
        self,
        table: Table,
        order: ShuffledEpochs | ContiguousStreams,
        on_device: bool | None = None,
        seed: int = 0,
        local: Int[np.ndarray, " local"] | None = None,
    ) -> None:
        self._local = np.arange(order.batch_size) if local is None else local
        sizes = {name: column.nbytes for name, column in table.columns.items()}
        self._table, self._order, self._seed = table, order, seed
        on_device = sum(sizes.values()) <= RESIDENT_BYTES if on_device is None else on_device
        self.columns = dict(table.columns) if on_device and not table.lazy else {}
        batch_bytes = max(1, sum(sizes.values()) * len(self._local) // len(table))
        self.steps, self._most_ahead = _MOST_STEPS, 1
        if table.lazy:
            self.steps = 1
            self._most_ahead = max(1, min(_MOST_AHEAD, _AHEAD_BYTES // batch_bytes))
        elif not self.columns:
            self.steps = max(1, min(_MOST_STEPS, _STREAM_BYTES // batch_bytes))
        self.waited = 0.0
        # The second worker starts a batch while the first decodes the last images of its own.
        self._workers = ThreadPoolExecutor(min(2, self._most_ahead), thread_name_prefix="loader")
        self._ahead: dict[tuple[int, int], Future[Any]] = {}

    def prepare(self, step: int, n: int) -> None:
        """Start making the input of the `n` steps from `step`, and of single steps after it."""
        calls = [(step, n), *((step + i, 1) for i in range(1, self._most_ahead))]
        for call, future in self._ahead.items():
            if call not in calls:
                future.cancel()
        self._ahead = {
            call: self._ahead.get(call) or self._workers.submit(self.make, *call) for call in calls
        }

    def take(self, step: int, n: int) -> Any:
        """The input of the `n` steps from `step`, once it is ready.

        Raises:
          Stopped: a signal asked to stop while waiting for it.
        """
        start = time.perf_counter()
        if (step, n) not in self._ahead:
            self.prepare(step, n)
        ready = result(self._ahead.pop((step, n)))
        self.waited += time.perf_counter() - start
        return ready

    def make(self, step: int, n: int) -> Any:
        """Rows (steps, batch), or batches of that shape; only the first `n` steps count."""
        rows = np.zeros((self.steps, len(self._local)), np.int32)
        epochs = np.zeros_like(rows)
        for i in range(n):
            rows[i] = self._order.rows(step + i)[self._local]
            epochs[i] = self._order.epochs(step + i)[self._local]
        if self.columns:
            return rows
        batches = self._table.train_view(rows[:n], epochs[:n], self._seed)
        missing = self.steps - n
        if not missing:
            return batches
        return {
            k: np.pad(v, ((0, missing),) + ((0, 0),) * (v.ndim - 1)) for k, v in batches.items()
        }

    def close(self) -> None:
        """Stop the workers."""
        self._workers.shutdown(wait=False, cancel_futures=True)


def batches(
    table: Table,
    plan: Iterable[tuple[Integer[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]],
) -> Iterator[dict[str, np.ndarray]]:
    """The batches of a split at these (rows, mask) pairs, with their `mask`, made ahead of use."""
    workers = ThreadPoolExecutor(2, thread_name_prefix="batches")
    ahead: deque[Future[dict[str, np.ndarray]]] = deque()
    try:
        for rows, mask in plan:
            ahead.append(workers.submit(lambda r, m: {**table[r], "mask": m}, rows, mask))
            if len(ahead) > 2:
                yield result(ahead.popleft())
        while ahead:
            yield result(ahead.popleft())
    finally:
        workers.shutdown(wait=False, cancel_futures=True)


def fetch(columns: Mapping[str, jax.Array], rows: Any) -> Any:
    """The batch of an input: these rows of the split on the device, or the input itself."""
    if not columns:
        return rows
    return {name: column[rows] for name, column in columns.items()}
