"""What is printed: text of others in one printable line, on any terminal."""

import ast
import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxdl
from jaxdl.errors import Diverged, UserError, printable
from jaxdl.progress import Progress
from jaxdl.sweeps.table import printed
from jaxdl.terminal import complain, say, stream

HOSTILE = {
    "title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "clipboard": ("\x1b]52;c;cm0gLXJm\x1b\\", "\\x1b]52;c;cm0gLXJm\\x1b\\"),
    "cursor": ("cat\x1b[2A\x1b[K", r"cat\x1b[2A\x1b[K"),
    "C1": ("\x9b2J\x85\x90", r"\x9b2J\x85\x90"),
    "line ends": ("a\nb\rc\x0bd\x0c", r"a\nb\rc\x0bd\x0c"),
    "Unicode's line ends": ("a\u2028b\u2029", r"a\u2028b\u2029"),
    "backspace, tab, delete, NUL": ("a\b\t\x7f\0", r"a\x08\t\x7f\x00"),
    "overrides": ("\u202egpj.exe\u2066\u200f", r"\u202egpj.exe\u2066\u200f"),
    "without width": ("c\u200ba\u200dt\u2060\ufeff\u00ad", r"c\u200ba\u200dt\u2060\ufeff\xad"),
    "drawn as nothing": ("a\u3164\u115f\ufe01\u034f", r"a\u3164\u115f\ufe01\u034f"),
    "tags": ("a\U000e0041\U000e0101\ufe0f", r"a\U000e0041\U000e0101\ufe0f"),
    "not UTF-8": (os.fsdecode(b"caf\xe9.png"), r"caf\udce9.png"),
    "private and unassigned": ("\ue000\uffff\u0378", r"\ue000\uffff\u0378"),
}
ORDINARY = (
    "naïve café", "中文\u3000字", "한국어", "русский", "שלום", "مرحبا", "हिन्दी", "Φ ± ≤ ²³²",
    "🙂", "👩🏽‍🔬", "👨‍👩‍👧", "❤️", "1️⃣", "🏳️‍🌈", r"C:\new\table",
    "a\N{NO-BREAK SPACE}b", "{'a': \"$x\"}", "",
)  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_terminal_would_obey_or_hide_is_escaped(kind):
    text, escaped = HOSTILE[kind]
    assert printable(text) == escaped == printable(escaped)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text):
    assert printable(text) == text


def test_every_control_and_only_what_is_kept():
    every = "".join(map(chr, [*range(32), *range(127, 160)]))
    assert printable(every, None).isascii() and printable(every, None).isprintable()
    kept = printable(every, None, keep="\n\t")
    assert {c for c in kept if not c.isprintable()} == {"\n", "\t"}


@pytest.mark.parametrize("most", [1, 2, 3, 10, 200])
def test_long_text_loses_its_middle(most):
    for text in ("x" * 10**6 + "end", "\0" * 10**6, "a\n" * most, "\U000e0041" * most):
        assert len(printable(text, most)) == most
    assert printable("x" * most, most) == "x" * most
    assert printable("begin" + "x" * 10**6 + "end", 20).startswith("begin")
    assert printable("begin" + "x" * 10**6 + "end", 20).endswith("end")


def test_an_error_is_one_bounded_line_and_keeps_its_remedy():
    error = Diverged("\x1b[2J" * 10**5 + ": damaged\nstep 1; restore it")
    assert len(str(error)) <= 4000 and str(error).isprintable()
    assert str(error).endswith(r"damaged\nstep 1; restore it")
    assert str(UserError("config.seed: expected ≥ 0")) == "config.seed: expected ≥ 0"


def test_a_line_is_a_line(capsys):
    say("a\nb\x1b")
    say()
    complain("c\r\nd")
    stream("e\n\tf\r\x1b[K")
    assert capsys.readouterr() == ("a\\nb\\x1b\n\ne\n\tf\\r\\x1b[K", "jaxdl: c\\r\\nd\n")


def test_a_program_prints_by_the_terminal_alone():
    """`print` and the streams are not to be used elsewhere: whoever adds a command uses `say`."""
    package = Path(jaxdl.__file__).parent
    for path in package.rglob("*.py"):
        if path.name in ("terminal.py", "progress.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            printer = isinstance(node, ast.Name) and node.id == "print"
            written = isinstance(node, ast.Attribute) and node.attr in ("write", "writelines")
            target = ast.unparse(node.value) if written else ""
            assert not printer and target not in ("sys.stdout", "sys.stderr"), path


def test_progress_shows_no_foreign_control(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    progress = Progress(10, 1)
    progress.show_evaluation(
        1, {"test/ap/\x1b]0;x\x07\n": 0.5, "x" * 10**6: 0.25, "test/loss": 0.125}
    )
    progress.say("a\nb")
    lines = output.getvalue().splitlines()
    assert len(lines) == 2 and all(line.isprintable() for line in lines)
    assert "test/loss 0.125" in lines[0] and len(lines[0]) < 500


def test_a_sweep_keeps_its_columns():
    metric = {"mean": 1.0, "std": None, "values": [1.0]}
    names = ["test/a\nb", "x" * 10**6]
    row = {"point": "", "runs": 1, "diverged": 0, "metrics": dict.fromkeys(names, metric)}
    lines = printed([row], names)
    assert len({len(line) for line in lines[:1]}) == 1 and max(map(len, lines)) < 300
    assert all(line.isprintable() for line in lines)


# ---- Commands


def plain(text):
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.fixture
def weights(tmp_path):
    """A weight file of arrays with hostile and foreign names."""
    names = [text for text, _ in HOSTILE.values() if text.isascii()]
    path = tmp_path / os.fsdecode(b"w\x1b[2J\n\xff\xce\xa6.safetensors")
    save_file({name: np.zeros(2, np.float32) for name in [*names, "Φ", "y" * 10**5]}, path)
    return path


def test_inspect_lists_hostile_arrays(call, weights):
    status, out, err = call("inspect", weights)
    assert (status, err) == (0, "") and plain(out) and len(out.splitlines()) == 8
    assert r"  \x1b]0;owned\x07 " in out and max(map(len, out.splitlines())) < 300


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_a_terminal_cannot_write_is_escaped(encoding, weights):
    damaged = weights.with_name(weights.name + "2")
    damaged.write_bytes(weights.read_bytes()[:-1])
    for path, status in ((weights, 0), (damaged, 2)):
        done = subprocess.run(
            [sys.executable, "-m", "jaxdl", "inspect", path],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        said = (done.stderr if status else done.stdout).decode(encoding)
        assert done.returncode == status and plain(said) and r"\u03a6" in said


def test_the_shipped_configs_are_listed_in_ascii():
    plain_c = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "jaxdl", "list"], env={**os.environ, **plain_c}, capture_output=True
    )
    assert done.returncode == 0 and done.stdout.isascii() and b"test/accuracy" in done.stdout


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "sample", "train", "check"])
@pytest.mark.parametrize("place", ["\x1b[2J\n\u202e", "\udcff", "z" * 10**5])
def test_what_is_not_there_is_one_line(call, command, place):
    more = {"predict": ["x.png"], "export": ["--output", "out"]}.get(command, [])
    option = ["--config" if command == "check" else "--workdir"]
    status, out, err = call(command, *option, place, *more)
    assert (status, out) == (2, "") and plain(err) and err.count("\n") == 1 and len(err) < 4100


def test_wrong_words_are_one_line(call):
    for words in (["\x1b]0;x\x07\n"], ["list", "\x9b2J"], ["sample", "--length", "\n\x1b"]):
        status, _, err = call(*words)
        assert status == 2 and plain(err) and err.count("\n") == 1


OWN = """
import logging, sys, warnings
from jaxdl.terminal import set_up
set_up(hooks=True)
logging.getLogger("jaxdl").warning("left out %s", "a\\n\\x1b[2Jb")
warnings.warn("c\\n\\x1b[2Jd")
raise RuntimeError("e\\n\\x1b[2Jf")
"""


def test_logs_warnings_and_tracebacks_are_printable():
    done = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True)
    log, warning, *trace = done.stderr.splitlines()
    assert log == r"jaxdl: left out a\n\x1b[2Jb" and plain(done.stderr)
    assert warning.startswith(r"jaxdl: UserWarning: c\n\x1b[2Jd (")
    assert trace[-2:] == ["RuntimeError: e", r"\x1b[2Jf"] and done.returncode == 1


def test_a_host_keeps_its_hooks(call):
    before = sys.excepthook, warnings.showwarning, logging.root.handlers[:]
    assert call("list")[0] == 0
    assert (sys.excepthook, warnings.showwarning) == before[:2]
