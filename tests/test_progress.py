"""What a person sees."""

import io
import os
import time

import pytest

from jaxdl.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Kernel(io.StringIO):
    """The output of a notebook, as Jupyter's kernel has it: no terminal, and no file."""

    __module__ = "ipykernel.iostream"


def as_a_notebook_shows_it(text):
    """The lines of a text in which a carriage return goes back to the beginning of one."""
    lines = []
    for written in text.split("\n"):
        line = ""
        for piece in written.split("\r"):
            line = piece + line[len(piece) :]
        lines.append(line.rstrip())
    return lines


def shown(monkeypatch, stream=None, terminal="xterm", **settings):
    stream = io.StringIO() if stream is None else stream
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", terminal)
    return Progress(**settings), stream


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("jaxdl.progress.time.perf_counter", lambda: now[0])
    return now


def test_a_plain_line_tells_everything(clock, monkeypatch):
    progress, out = shown(monkeypatch, total=1000, batch_size=50)
    progress.restart(0)
    progress.show_evaluation(
        0, {"test/loss": 2.3, "test/accuracy": 0.123456, "test/confusion": [[1]]}
    )
    clock[0] += 2
    progress.show(100, 0.123456, 0.25)
    evaluated, line = out.getvalue().splitlines()
    assert evaluated == "step 0  test/loss 2.3  test/accuracy 0.1235"
    assert line == (
        "step 100/1,000  loss 0.1235  test/accuracy 0.1235  2,500 examples/s  "
        "data wait 25%  18 s left"
    )


def test_plain_lines_are_few_and_a_terminal_is_rewritten(clock, monkeypatch):
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        progress, _ = shown(monkeypatch, stream, total=100, batch_size=1, seconds=10)
        progress.restart(0)
        for step in range(1, 21):  # a step a second
            clock[0] += 1
            progress.show(step, 1.0, 0.0)
        progress.say("done")
    assert [line.split()[1] for line in plain.getvalue().splitlines()[:-1]] == ["1/100", "11/100"]
    assert terminal.getvalue().count("\r\x1b[K") == 21 and terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\r\x1b[Kdone\n")


def test_in_a_notebook_a_line_is_rewritten_once_a_second(clock, monkeypatch):
    progress, out = shown(monkeypatch, Kernel(), "dumb", total=100, batch_size=1)
    progress.restart(0)
    for step in range(1, 21):  # four steps a second
        clock[0] += 0.25
        progress.show(step, 10.0**step, 0.0)  # lines of unlike lengths
        live = as_a_notebook_shows_it(out.getvalue())
        assert len(live) == 1 and live[0].count("step") == 1
    assert out.getvalue().count("\r") == 4 and "\x1b" not in out.getvalue()
    progress.say("done")
    progress.say("really")
    assert as_a_notebook_shows_it(out.getvalue()) == ["done", "really", ""]


def test_the_kernel_of_jupyter_is_recognized():
    iostream = pytest.importorskip("ipykernel.iostream")
    assert iostream.OutStream.__module__ == Kernel.__module__


@pytest.mark.parametrize("stream", [Kernel, Terminal, io.StringIO])
def test_what_is_printed_afterwards_begins_a_line(clock, monkeypatch, stream):
    progress, out = shown(monkeypatch, stream(), total=10, batch_size=1)
    progress.show(10, 1.0, 0.0)
    progress.close()
    progress.close()
    print("mine")
    assert out.getvalue().removeprefix("\r\x1b[K") == "step 10/10  loss 1\nmine\n"


def test_what_takes_a_second_is_told(monkeypatch):
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        progress, _ = shown(monkeypatch, stream, total=10, batch_size=1)
        with progress.busy("compiling"):
            time.sleep(1.2)
        with progress.busy("nothing"):
            pass
    assert plain.getvalue() == "compiling…\n"
    assert terminal.getvalue() == "\r\x1b[Kcompiling… 1 s"


def test_without_a_clock_there_is_no_rate(clock, monkeypatch):
    progress, out = shown(monkeypatch, total=10, batch_size=1)
    progress.show(1, float("nan"), 0.0)
    assert out.getvalue() == "step 1/10  loss nan\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (65, "1:05"), (7384, "2:03:04")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_reader_that_pauses_does_not_stop_training(clock):
    """A pipe takes 64 KiB; what more is said meanwhile is left out."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        progress = Progress(total=10, batch_size=1, stream=stream)
        for i in range(200):
            progress.say(f"{i} " + "x" * 1000)
        stream.close()
        assert [line.split()[0] for line in reader][:50] == [str(i) for i in range(50)]


def test_a_full_disk_under_the_output_does_not_stop_training(clock):
    stream = open("/dev/full", "w")  # noqa: SIM115  it cannot be closed without an error
    progress = Progress(total=10, batch_size=1, stream=stream)
    for _ in range(2):
        progress.say("nobody reads this")
    with pytest.raises(OSError, match="No space left"):  # so there was something to survive
        stream.close()


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(clock, monkeypatch):
    progress, out = shown(monkeypatch, Terminal(), "dumb", total=10, batch_size=5)
    progress.restart(0)
    progress.show(1, 2.5, 0.0)
    progress.say("done")
    assert "\x1b" not in out.getvalue() and "\r" not in out.getvalue()


def test_an_evaluation_of_nothing_is_no_line(monkeypatch):
    progress, out = shown(monkeypatch, total=10, batch_size=5)
    progress.show_evaluation(3, {})
    assert out.getvalue() == ""
