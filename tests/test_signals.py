"""SIGTERM is heard whatever is waited for."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import numpy as np
import pytest

from jaxdl import signals
from jaxdl.data.loader import DeviceLoader, batches
from jaxdl.data.order import ShuffledEpochs
from jaxdl.data.table import Table
from jaxdl.signals import Stopped, StopSignal, result


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(signals, "_TIMEOUT", 0.1)
    monkeypatch.setattr(signals, "_GLANCE", 0.05)


@pytest.fixture
def hanging(monkeypatch):
    """A table whose rows never come, until the test has ended."""
    over = threading.Event()
    table = Table({"x": np.zeros((8, 2), np.float32)})
    monkeypatch.setattr(Table, "__getitem__", lambda *_: over.wait(60))
    monkeypatch.setattr(Table, "train_view", lambda *_: over.wait(60))
    yield table
    over.set()


def ask():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_future_that_never_comes_is_not_waited_for_after_a_signal():
    with StopSignal() as stop, pytest.raises(Stopped) as stopped:
        ask()
        result(Future())
    assert stopped.value.code == 128 + signal.SIGTERM and stop.asked == signal.SIGTERM


def test_a_future_that_comes_is_waited_for():
    late = Future()
    timer = threading.Timer(0.3, late.set_result, [7])
    with StopSignal() as stop:
        timer.start()
        assert result(late) == 7 and not stop.asked
        ask()
        assert result(late) == 7
    timer.join()


def test_an_error_of_a_future_is_raised():
    failed = Future()
    failed.set_exception(TimeoutError("of its own"))
    with StopSignal(), pytest.raises(TimeoutError, match="of its own"):
        result(failed)


def test_training_data_that_never_comes_is_not_waited_for(hanging):
    feed = DeviceLoader(hanging, ShuffledEpochs(8, 4, 0), on_device=False)
    with StopSignal(), pytest.raises(Stopped):
        threading.Timer(0.2, ask).start()
        feed.take(0, 1)


def test_evaluation_data_that_never_comes_is_not_waited_for(hanging):
    plan = [(np.arange(4), np.ones(4, bool))]
    with StopSignal(), pytest.raises(Stopped):
        threading.Timer(0.2, ask).start()
        list(batches(hanging, plan))


@pytest.mark.parametrize(("block", "needed"), [("nullcontext()", 2), ("stop.giving_up(True)", 1)])
def test_what_stands_outside_of_python_is_answered_and_ended(block, needed):
    """By the second signal, and where there is nothing to save by the first."""
    program = f"""
import ctypes
from contextlib import nullcontext
from jaxdl import signals
signals._GRACE = 0.1
lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
with signals.StopSignal() as stop, {block}:
    stop.answer = lambda count: print("heard", count, flush=True)
    libc.pthread_mutex_lock(lock)
    print("stuck", flush=True)
    libc.pthread_mutex_lock(lock)
"""
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout.readline() == b"stuck\n"
            for count in range(1, needed + 1):
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.3)  # one fewer only asks
                process.send_signal(signal.SIGTERM)
                assert process.stdout.readline() == b"heard %d\n" % count
            assert process.wait(30) == 128 + signal.SIGTERM
            assert process.stdout.read() == b""
        finally:
            process.kill()


def test_an_interactive_session_is_never_ended():
    """As a notebook: it interrupts what is done, as soon as that comes back to Python."""
    program = """
import ctypes, os, signal, sys, threading
from jaxdl import signals
sys.ps1 = "In : "
signals._GRACE = 0.1
lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
libc.pthread_mutex_lock(lock)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
threading.Timer(1.5, libc.pthread_mutex_unlock, (lock,)).start()
try:
    with signals.StopSignal() as stop, stop.giving_up(True):
        stop.answer = lambda count: print("heard", count, flush=True)
        libc.pthread_mutex_lock(lock)
        print("not interrupted")
except SystemExit as stopped:
    print("alive", stopped)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard 1\nalive 130\n"), done.stderr


def test_what_is_given_up_ends_at_the_first_signal():
    with StopSignal() as stop:
        with pytest.raises(Stopped), stop.giving_up():
            ask()
        with pytest.raises(Stopped), stop.giving_up():  # it has come already
            pass
    assert stop.asked == signal.SIGTERM


def test_afterwards_signals_are_whose_they_were():
    before, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    with StopSignal():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1 and threading.active_count() <= threads + 1
