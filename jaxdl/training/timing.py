"""Measures what the time of a run is spent on, and chooses how long a compiled call should be."""

from __future__ import annotations

import math
import time

from jaxdl.progress import Progress

_CALL_SECONDS = 0.2  # how long a compiled call should take: signals and progress wait for it


class Timing:
    """Measures what the time of a run is spent on.

    Args:
      progress: shows the rate of training; its clock starts when training does.

    Attributes:
      compiling: seconds spent compiling.
      earlier: seconds of earlier starts of the same run.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = self._since = time.perf_counter()
        self._trained = 0.0
        self.compiling = self.earlier = 0.0

    def start_training(self, step: int) -> None:
        """Training begins at a step, or resumes after something else."""
        self._since = time.perf_counter()
        self._progress.restart(step)

    def stop_training(self) -> None:
        """Something else begins, such as evaluation."""
        self._trained += time.perf_counter() - self._since
        self._since = math.inf

    @property
    def training(self) -> float:
        """Seconds of training so far."""
        return self._trained + max(0.0, time.perf_counter() - self._since)

    @property
    def wall(self) -> float:
        """Seconds of the whole run, all starts together."""
        return self.earlier + time.perf_counter() - self._began


class Pace:
    """Chooses the number of steps of a compiled call, by how long they took so far.

    Args:
      most: the largest possible number.

    Attributes:
      steps: for the next call.
      seconds: the duration of the last call; 0 before the first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: float | None = None
        self.steps, self.seconds = 1, 0.0

    def restart(self) -> None:
        """Forget the last tick, because something else took the time since then."""
        self._last = None

    def tick(self, n: int) -> None:
        """A call of `n` steps has ended."""
        now = time.perf_counter()
        if self._last is not None:
            self.seconds = now - self._last
            wanted = int(_CALL_SECONDS * n / max(1e-9, self.seconds))
            self.steps = max(1, min(wanted, 4 * self.steps, self._most))
        self._last = now
