"""Makes SIGTERM and Ctrl-C stop a run, whatever it is waiting for.

Python runs signal handlers only when its main thread runs Python code, and XLA cannot be
interrupted while it compiles. So a thread answers each signal immediately, and ends the process if
it does not return to Python: after the first signal if there is nothing to save, as when compiling,
otherwise after the second. It never ends a notebook or another interactive session, which holds
more than this run. To wait for a future that may never finish, use `result`.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE = 5.0  # seconds for the process to end by itself
_TIMEOUT = 10.0  # seconds to wait for a future after a signal
_GLANCE = 0.2  # seconds between two checks for a signal

_current: StopSignal | None = None


class Stopped(SystemExit):
    """A signal interrupted work that can be given up, or a wait that might never end."""


class StopSignal:
    """Until the block ends, SIGTERM and Ctrl-C ask to stop; a second signal stops at once.

    Attributes:
      asked: the number of the signal, or 0.
      handled: how many signals the main thread has handled.
      answer: called at each signal with their number so far, in a thread of its own.
      gives_up: whether the first signal interrupts what is being done now.
      nothing_to_save: whether the process may end now without losing anything.
    """

    def __init__(self) -> None:
        self.asked = self.handled = 0
        self.answer: Callable[[int], object] = lambda signals: None
        self.gives_up = self.nothing_to_save = False

    def __enter__(self) -> StopSignal:
        """Handle both signals, if this is the main thread."""
        global _current
        self._outer, _current = _current, self
        self._before: dict[int, Any] = {}
        self._watch: _Watch | None = None
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
            self._watch = _Watch(self)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._ignored
        except ValueError:  # not the main thread, so signals are left to its owner
            pass
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        _current = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._watch is not None:
            sys.unraisablehook = self._hook
            self._watch.close()

    @contextlib.contextmanager
    def giving_up(self, nothing_to_save: bool = False) -> Iterator[None]:
        """A block that the first signal interrupts.

        Args:
          nothing_to_save: see the attribute.

        Raises:
          Stopped: a signal has come, perhaps before.
        """
        self.gives_up, self.nothing_to_save = True, nothing_to_save
        if self.asked:
            raise Stopped(128 + self.asked)
        yield
        self.gives_up = self.nothing_to_save = False  # after a signal they stay, for its answer

    def _ignored(self, unraisable: Any) -> None:
        """Say nothing of our own exception, where Python ignores it: the watch ends the process."""
        if not isinstance(unraisable.exc_value, SystemExit):
            self._hook(unraisable)

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.handled += 1
        if self.asked:
            raise SystemExit(128 + number)
        self.asked = number
        if self.gives_up:
            raise Stopped(128 + number)


class _Watch:
    """Answers signals, and ends the process if it hangs outside of Python."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching: the main thread has handled the signals."""
        self._left.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._write)
        self._thread.join(_GRACE)  # until the last signal is answered

    def _run(self) -> None:
        signals = 0
        while number := os.read(self._read, 1):
            if number[0] not in (signal.SIGTERM, signal.SIGINT):
                continue
            signals += 1
            ends = signals == 2 or self._stop.nothing_to_save
            with contextlib.suppress(Exception):  # what cannot be said must not keep it from ending
                self._stop.answer(signals)
            if signals == 2 and not self._left.wait(_GLANCE) and self._stop.handled == 1:
                # Two came together, of which Python makes one.
                _thread.interrupt_main(signal.Signals(number[0]))
            interactive = hasattr(sys, "ps1")  # as Python and IPython say it
            if ends and not interactive and not self._left.wait(_GRACE):
                os._exit(128 + number[0])
        os.close(self._read)


def result(future: Future[T]) -> T:
    """Wait for the result of a future, but only some seconds after a signal has asked to stop.

    Raises:
      Stopped: a signal came, and the future is still not done.
    """
    left = _TIMEOUT
    while not future.done() and _current is not None:
        wait([future], _GLANCE)
        left -= _GLANCE if _current.asked else 0
        if left <= 0:
            raise Stopped(128 + _current.asked)
    return future.result()
