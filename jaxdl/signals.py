"""SIGTERM and Ctrl-C: heard whatever the program waits for.

Python runs the handler of a signal when the main thread comes back to it. So what may be waited for
without end is waited for by `result`, and what stands outside of Python is ended by a thread.
"""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future, wait
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE = 5.0  # seconds that a process has to end after a second signal
_PATIENCE = 10.0  # seconds to wait on for what was asked for before a signal came
_GLANCE = 0.2  # seconds between two looks whether one came

_current: StopSignal | None = None


class Stopped(SystemExit):
    """A signal asked to stop, and what was being waited for does not come."""


class StopSignal:
    """Within it, SIGTERM and Ctrl-C ask to stop; a second one stops at once.

    Attributes:
      asked: the number of the signal, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> StopSignal:
        """Take over both signals, where this is the main thread."""
        global _current
        self._outer, _current = _current, self
        self._before: dict[int, Any] = {}
        self._watch: _Watch | None = None
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
            self._watch = _Watch()
        except ValueError:  # another thread: its owner answers for signals
            pass
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        _current = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._watch is not None:
            self._watch.close()

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            raise SystemExit(128 + number)
        self.asked = number


class _Watch:
    """Ends the process where a second signal is not heard, since it stands outside of Python."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._left = threading.Event()
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def close(self) -> None:
        """The main thread has heard."""
        self._left.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._write)

    def _run(self) -> None:
        signals = 0
        while signals < 2 and (number := os.read(self._read, 1)):
            signals += number[0] in (signal.SIGTERM, signal.SIGINT)
        if signals == 2 and not self._left.wait(_GRACE):
            os._exit(128 + number[0])
        os.close(self._read)


def result(future: Future[T]) -> T:
    """What a future gives, waiting for it; but not for ever once a signal has asked to stop.

    Raises:
      Stopped: it asked to, and some seconds later there is still nothing.
    """
    left = _PATIENCE
    while not future.done() and _current is not None:
        wait([future], _GLANCE)
        left -= _GLANCE if _current.asked else 0
        if left <= 0:
            raise Stopped(128 + _current.asked)
    return future.result()
