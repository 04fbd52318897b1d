"""The progress of a run: a live line on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import select
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from jaxdl.errors import printable
from jaxdl.terminal import LINE


class Progress:
    """Shows the progress of a run.

    Args:
      total: length of the run, in steps.
      batch_size: examples in a step.
      seconds: between two lines, if the stream is neither a terminal nor a notebook's.
      stream: where to print; by default stdout.
    """

    def __init__(
        self, total: int, batch_size: int, seconds: float = 10.0, stream: TextIO | None = None
    ) -> None:
        self._total, self._batch_size, self._seconds = total, batch_size, seconds
        self._stream = stream or sys.stdout
        moves = os.environ.get("TERM", "dumb") not in ("dumb", "unknown")  # its cursor
        self._notebook = _of_notebook(self._stream)
        self._live = self._notebook or (moves and self._stream.isatty())
        if self._live:
            self._seconds = 1.0 if self._notebook else 0.1  # a browser shows each as a message
        self._shown = 0  # characters of the live line
        self._writing = threading.Lock()  # `busy`, and who answers a signal, have threads
        self._printed = -float("inf")
        self._rate: float | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)
        self._evaluated: dict[str, float] = {}

    def restart(self, step: int) -> None:
        """Start the clock at a step: compiling and evaluation before it do not count."""
        self._recent.clear()
        self._recent.append((time.perf_counter(), step))

    def show(self, step: int, loss: float, waiting: float) -> None:
        """Show a training step.

        Args:
          step: number of updates made.
          loss: of the last one.
          waiting: share of the time spent waiting for data, 0 to 1.
        """
        now = time.perf_counter()
        self._recent.append((now, step))
        began, first = self._recent[0]
        if now - began > 0.5:  # over less time the rate would be too noisy
            self._rate = (step - first) / (now - began)
        if now - self._printed < self._seconds:
            return
        self._printed = now
        parts = [f"step {step:,}/{self._total:,}", f"loss {loss:.4g}"]
        parts += [f"{name} {value:.4g}" for name, value in self._evaluated.items()]
        if self._rate:
            parts.append(f"{self._rate * self._batch_size:,.0f} examples/s")
            parts.append(f"data wait {waiting:.0%}")
            parts.append(f"{duration((self._total - step) / self._rate)} left")
        self._write("  ".join(parts))

    def show_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show the metrics of an evaluation, on a line that stays."""
        numbers = {printable(k): v for k, v in metrics.items() if isinstance(v, float)}
        first = next((k for k in numbers if not k.endswith("/loss")), next(iter(numbers), None))
        self._evaluated = {first: numbers[first]} if first else {}
        if numbers:  # with no split to evaluate there are none
            self.say(f"step {step:,}  " + "  ".join(f"{k} {v:.4g}" for k, v in numbers.items()))

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """While a block runs, show what it does.

        It is shown after a second: on a live line with the time it takes, elsewhere as one line.
        """
        began, done = time.perf_counter(), threading.Event()

        def show() -> None:
            while not done.wait(1.0):
                seconds = f" {duration(time.perf_counter() - began)}" if self._live else ""
                self._write(f"{what}…{seconds}")
                if not self._live:
                    return

        thread = threading.Thread(target=show, name="busy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._put(printable(text, LINE), "\n")

    def close(self) -> None:
        """Leave the live line as it is: what others print begins a new one."""
        with self._writing:
            if self._shown:
                self._print("\n")
            self._shown = 0

    def _write(self, text: str) -> None:
        if not self._live:
            return self.say(text)
        width = LINE if self._notebook else shutil.get_terminal_size().columns - 1
        self._put(printable(text, LINE)[:width])

    def _put(self, line: str, end: str = "") -> None:
        """Write a line over the live one; with an end it stays, without it is the live one."""
        with self._writing:
            self._print(self._in_place(line) + end)
            self._shown = 0 if end else len(line)

    def _in_place(self, line: str) -> str:
        if self._notebook:  # which cannot clear a line
            return "\r" + line.ljust(self._shown) if self._shown else line
        return "\r\x1b[K" + line if self._live else line

    def _print(self, text: str) -> None:
        try:
            if self._has_room():
                print(text, end="", file=self._stream, flush=True)
        except OSError:  # the reader has gone, or a disk is full; training goes on
            self._live = self._notebook = False
            self._stream = io.StringIO()

    def _has_room(self) -> bool:
        """Whether a line can be written at once: a paused pager, say, would block training."""
        if self._notebook:  # its number is that of the kernel's own output
            return True
        poll = select.poll()
        try:
            poll.register(self._stream.fileno(), select.POLLOUT)
        except (OSError, ValueError):  # it is in memory
            return True
        return bool(poll.poll(0))


def _of_notebook(stream: object) -> bool:
    """Whether a stream is shown in a notebook, by the kernel of Jupyter."""
    return any(kind.__module__ == "ipykernel.iostream" for kind in type(stream).__mro__)


def duration(seconds: float) -> str:
    """`7 s`, `1:05` or `2:03:04`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
