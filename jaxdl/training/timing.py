"""What the time of a run is spent on, and how long a compiled call should be."""

from __future__ import annotations

import math
import time

from jaxdl.progress import Progress

_CALL_SECONDS = 0.2  # how long a compiled call should take: signals and progress wait for it


class Timing:
    """What the time of a run is spent on.

    Args:
      progress: shows the rate of training; its clock starts with that of training.

    Attributes:
      compiling: seconds.
      earlier: seconds of earlier starts of the same run.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = self._since = time.perf_counter()
        self._trained = 0.0
        self.compiling = self.earlier = 0.0

    def start_training(self, step: int) -> None:
        """Training begins, or resumes after something else, at a step."""
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
    """How many steps a compiled call should take, from how long they took so far.

    Args:
      most: the most it can take.

    Attributes:
      steps: what the next call should take.
      seconds: what the last call took, 0 before.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: float | None = None
        self.steps, self.seconds = 1, 0.0

    def restart(self) -> None:
        """Something else took the time since the last tick."""
        self._last = None

    def tick(self, n: int) -> None:
        """A call of `n` steps has ended."""
        now = time.perf_counter()
        if self._last is not None:
            self.seconds = now - self._last
            wanted = int(_CALL_SECONDS * n / max(1e-9, self.seconds))
            self.steps = max(1, min(wanted, 4 * self.steps, self._most))
        self._last = now
