"""Traces some steps, for xprof and TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxdl.errors import UserError, first_line


@dataclass
class Profile:
    """`--profile 100:10`: traces ten steps, from step 100 on.

    Args:
      start: the number of updates before the trace.
      length: the number of steps to trace.
      folder: the trace is written to `plugins/profile` in it.
    """

    start: int
    length: int
    folder: Path
    _active: bool = False

    def check(self, step: int, total: int) -> None:
        """Check that the run will make these steps.

        Raises:
          UserError: they are not.
        """
        where = f"--profile {self.start}:{self.length}"
        if self.start < step:
            raise UserError(f"{where}: the run is already at step {step:,}; name a later step")
        if self.start + self.length > total:
            raise UserError(f"{where}: the run has {total:,} steps; name earlier or fewer")

    def limit(self, to_event: Callable[[int], int]) -> Callable[[int], int]:
        """Steps to the next event, where the trace's beginning and end are events too."""

        def limited(step: int) -> int:
            ends = [end for end in (self.start, self.start + self.length) if step < end]
            return min([to_event(step), *(end - step for end in ends)])

        return limited

    def traced(self, call: Any, first: int, say: Callable[[str], None]) -> Any:
        """`call(state, batches, n) -> (state, summaries)`, with the steps traced.

        Args:
          call: makes `n` steps.
          first: updates made before its first call.
          say: prints a line.
        """
        step = first

        def traced(state: Any, batches: Any, n: int) -> Any:
            nonlocal step
            if step == self.start:
                jax.block_until_ready(state)  # what was computed before is not traced
                self._begin()
            results = call(state, batches, n)
            step += n
            if self._active and step == self.start + self.length:
                jax.block_until_ready(results)
                self._end()
                say(f"traced steps {self.start + 1:,} to {step:,}: {self.folder}/plugins/profile")
            return results

        return traced

    def _begin(self) -> None:
        try:
            jax.profiler.start_trace(str(self.folder))
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"--profile: cannot trace ({first_line(error, 200)})") from None
        self._active = True

    def __enter__(self) -> None:
        """Trace in this block."""

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._active:
            self._active = False
            jax.profiler.stop_trace()
