"""SIGTERM and Ctrl-C stop a run, whatever it waits for.

Python runs signal handlers only when its main thread runs Python code. So futures that may never
end are waited for by `result`, and a thread ends the process if it hangs outside of Python.
"""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future, wait
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE = 5.0  # seconds for the process to end after a second signal
_PATIENCE = 10.0  # seconds to wait for a future after a signal
_GLANCE = 0.2  # seconds between two checks for a signal

_current: StopSignal | None = None


class Stopped(SystemExit):
    """A signal asked to stop while the program waited for something that does not come."""


class StopSignal:
    """Until the block ends, SIGTERM and Ctrl-C ask to stop; a second signal stops at once.

    Attributes:
      asked: the number of the signal, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> StopSignal:
        """Handle both signals, if this is the main thread."""
        global _current
        self._outer, _current = _current, self
        self._before: dict[int, Any] = {}
        self._watch: _Watch | None = None
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
            self._watch = _Watch()
        except ValueError:  # not the main thread, so signals are left to its owner
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
    """Ends the process if it hangs outside of Python and does not handle a second signal."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._left = threading.Event()
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def close(self) -> None:
        """Stop watching: the main thread has handled the signals."""
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
    """Wait for the result of a future, but only some seconds after a signal has asked to stop.

    Raises:
      Stopped: a signal came, and the future is still not done.
    """
    left = _PATIENCE
    while not future.done() and _current is not None:
        wait([future], _GLANCE)
        left -= _GLANCE if _current.asked else 0
        if left <= 0:
            raise Stopped(128 + _current.asked)
    return future.result()
