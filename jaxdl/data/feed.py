"""From the rows of a split to what a compiled call of several steps takes.

Small splits live on the device, and a call is fed row numbers only. Others stay with the host, and
a call is fed whole batches. Either way the next call's input is made while this one computes; of
columns that are made on demand a call takes one batch, and the inputs of several are on their way.
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

from jaxdl.data.order import Order, Streams
from jaxdl.data.table import Table
from jaxdl.signals import result

RESIDENT_BYTES = 1 << 30  # a split up to this size is held on the device
_STREAM_BYTES = 1 << 26  # what one call's batches may take where they are streamed
_AHEAD_BYTES = 1 << 30  # what batches made on demand may take that are on their way
_MOST_STEPS = 256
_MOST_AHEAD = 3


class Feed:
    """Inputs of compiled calls: up to `steps` batches each, made ahead of the calls.

    Args:
      table: the training split.
      order: which rows make batch t.
      local: places in a batch that are made; by default all. Of several processes each makes those
        that its devices hold.
      resident: hold the split on the device; None decides by its size. Columns that are made on
        demand never are.
      seed: of what is drawn for such columns.

    Attributes:
      columns: the split as it is handed to every call; empty where batches are streamed.
      steps: the most steps a call can take; the leading axis of every input.
      waited: seconds that `take` has waited for input.
    """

    def __init__(
        self,
        table: Table,
        order: Order | Streams,
        resident: bool | None = None,
        seed: int = 0,
        local: Int[np.ndarray, " local"] | None = None,
    ) -> None:
        self._local = np.arange(order.batch_size) if local is None else local
        sizes = {name: column.nbytes for name, column in table.columns.items()}
        self._table, self._order, self._seed = table, order, seed
        resident = sum(sizes.values()) <= RESIDENT_BYTES if resident is None else resident
        self.columns = dict(table.columns) if resident and not table.lazy else {}
        batch_bytes = max(1, sum(sizes.values()) * len(self._local) // len(table))
        self.steps, self._most_ahead = _MOST_STEPS, 1
        if table.lazy:
            self.steps = 1
            self._most_ahead = max(1, min(_MOST_AHEAD, _AHEAD_BYTES // batch_bytes))
        elif not self.columns:
            self.steps = max(1, min(_MOST_STEPS, _STREAM_BYTES // batch_bytes))
        self.waited = 0.0
        # A second one begins a batch while the last images of the one before are decoded.
        self._workers = ThreadPoolExecutor(min(2, self._most_ahead), thread_name_prefix="feed")
        self._ahead: dict[tuple[int, int], Future[Any]] = {}

    def prepare(self, step: int, n: int) -> None:
        """Start making the input of the `n` steps from `step`, and of single steps after it."""
        wanted = [(step, n), *((step + i, 1) for i in range(1, self._most_ahead))]
        for call, unwanted in self._ahead.items():
            if call not in wanted:
                unwanted.cancel()
        self._ahead = {
            call: self._ahead.get(call) or self._workers.submit(self.make, *call) for call in wanted
        }

    def take(self, step: int, n: int) -> Any:
        """The input of the `n` steps from `step`, waiting for it where it is not ready.

        Raises:
          Stopped: a signal has asked to stop, and it does not come.
        """
        start = time.perf_counter()
        if (step, n) not in self._ahead:
            self.prepare(step, n)
        ready = result(self._ahead.pop((step, n)))
        self.waited += time.perf_counter() - start
        return ready

    def make(self, step: int, n: int) -> Any:
        """Rows, (steps, batch), or batches of that shape; only the first `n` steps count."""
        rows = np.zeros((self.steps, len(self._local)), np.int32)
        epochs = np.zeros_like(rows)
        for i in range(n):
            rows[i] = self._order.rows(step + i)[self._local]
            epochs[i] = self._order.epochs(step + i)[self._local]
        if self.columns:
            return rows
        batches = self._table.drawn(rows[:n], epochs[:n], self._seed)
        room = self.steps - n
        if not room:
            return batches
        return {k: np.pad(v, ((0, room),) + ((0, 0),) * (v.ndim - 1)) for k, v in batches.items()}

    def close(self) -> None:
        """Stop the workers."""
        self._workers.shutdown(wait=False, cancel_futures=True)


def batches(
    table: Table,
    plan: Iterable[tuple[Integer[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]],
) -> Iterator[dict[str, np.ndarray]]:
    """The batches of a split at (rows, mask) pairs, with their `mask`, made ahead of their use."""
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


def fetch(columns: Mapping[str, jax.Array], given: Any) -> Any:
    """The batch that an input names: its rows of the resident split, or the batch itself."""
    if not columns:
        return given
    return {name: column[given] for name, column in columns.items()}
