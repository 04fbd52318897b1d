"""One sweep by several processes: each takes what no other has, and what the dead have left."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from jaxdl.checkpointing.run_directory import Run
from jaxdl.sweeps.shares import begun, held_alone, take
from jaxdl.sweeps.sweep import Member
from jaxdl.sweeps.sweeper import Sweeper

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict()
    config.data = dict(source='digits', transforms=(dict(name='scale', by=1/16),))
    config.model = dict(name='mlp', hidden=(4,))
    config.task = dict(name='classification')
    config.optimizer = dict(name='sgd', learning_rate=0.1)
    config.training = dict(batch_size=48, steps=4, log_every=dict(steps=1),
                           evaluate_every=dict(steps=4), checkpoint_every=dict(steps=4))
    config.logging = ()
    return config
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("jaxdl.training.recorder.draw", lambda *_: None)
    monkeypatch.setattr("jaxdl.checkpointing.run_directory.environment", dict)
    monkeypatch.setattr("jaxdl.sweeps.sweeper.sweep_figure", lambda _: None)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path


def members(*names):
    return [Member("", name, {"seed": i}) for i, name in enumerate(names)]


def places(share):
    return [member.place for member in share.members]


def test_what_others_have_is_not_taken(tmp_path):
    group = members("a", "b", "c", "d")
    missing = lambda member: member.place != "d"  # noqa: E731
    with ExitStack() as one, ExitStack() as other:
        assert places(take(tmp_path, group, missing, False, one)) == ["a"]
        share = take(tmp_path, group, missing, True, other)
        assert places(share) == ["b", "c"] and share.program == tmp_path / "together" / "0"
        assert begun(tmp_path) == {share.program: {"b", "c"}}
        assert take(tmp_path, group, missing, True, one) is None
        assert take(tmp_path, group, missing, False, one) is None


def test_a_program_that_was_left_is_taken_whole_or_not_at_all(tmp_path):
    group, program = members("a", "b", "c", "d"), tmp_path / "together" / "0"
    with ExitStack() as dead:
        take(tmp_path, group[:2], lambda _: True, True, dead)
    with ExitStack() as held, Run(tmp_path / "b").locked():
        share = take(tmp_path, group, lambda _: True, True, held)
        assert places(share) == ["c", "d"] and share.program == tmp_path / "together" / "1"
    missing = lambda member: member.place == "b"  # noqa: E731
    with ExitStack() as held:
        share = take(tmp_path, group, missing, True, held)
        assert places(share) == ["a", "b"] and share.program == program


def test_a_program_of_unknown_runs_is_refused(tmp_path, refuses):
    with ExitStack() as held:
        take(tmp_path, members("a", "b"), lambda _: True, True, held)
    with ExitStack() as held, refuses("together/0", "runs that this sweep does not have"):
        take(tmp_path, members("a", "c"), lambda _: True, True, held)
    (tmp_path / "together" / "0" / "runs.json").write_text('{"a": 1}')
    with ExitStack() as held, refuses("runs.json", "not a list"):
        take(tmp_path, members("a", "c"), lambda _: True, True, held)


def test_the_lock_of_a_sweep_is_waited_for(tmp_path, monkeypatch):
    told, other = [], ExitStack()
    other.enter_context(Run(tmp_path).locked())
    monkeypatch.setattr("jaxdl.sweeps.shares._LONG", 0.0)
    monkeypatch.setattr("jaxdl.sweeps.shares.time.sleep", lambda _: other.close())
    with held_alone(Run(tmp_path), told.append):
        (line,) = told
    assert "waiting for the lock" in line and "process" in line


@pytest.mark.parametrize("dies", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_sweep_waits_for_the_runs_of_others(call, file, tmp_path, monkeypatch, dies):
    other, taken = ExitStack(), tmp_path / "a" / "seed=0"

    def look_again(_):
        other.close()
        if not dies:
            assert call("train", "--config", file, "--workdir", taken)[0] == 0

    monkeypatch.setattr("jaxdl.sweeps.sweeper.time.sleep", look_again)
    call("sweep", "--config", file, "--workdir", tmp_path / "a", "--seeds", 2, "--commands")
    other.enter_context(Run(taken).locked())
    status, out, _ = call("sweep", "--workdir", tmp_path / "a", "--in-turn")
    assert status == 0
    assert ("run 1 of 2: seed=0" in out) is dies
    if dies:
        assert out.index("waiting for 1 run of other processes") < out.index("run 1 of 2")
    table = json.loads((tmp_path / "a" / "sweep.json").read_text())["table"]
    assert [row["runs"] for row in table] == [2]


@pytest.mark.slow
def test_runs_that_another_process_adds_are_trained_too(call, file, tmp_path, monkeypatch):
    folder, words, ran = tmp_path / "a", ("sweep", "--config", file), []
    train = Sweeper._train_alone

    def add(sweeper, *rest):
        if not ran:
            grown = ("--config.optimizer.learning_rate=0.1,0.2", "--commands")
            assert call(*words, "--workdir", folder, *grown)[0] == 0
        ran.append(None)
        train(sweeper, *rest)

    monkeypatch.setattr(Sweeper, "_train_alone", add)
    grid = "--config.optimizer.learning_rate=0.1,0.2"
    assert call(*words, "--workdir", folder, grid)[0] == 0
    monkeypatch.setattr(Sweeper, "_train_alone", train)
    assert len(json.loads((folder / "sweep.json").read_text())["table"]) == 2


def test_commands_train_the_runs_that_a_sweep_collects(call, file, tmp_path):
    folder = tmp_path / "runs of mine"
    words = ("--config", file, "--workdir", folder, "--config.model.hidden=(4, 4),(4,)")
    status, out, _ = call("sweep", *words, "--config.seed=3", "--commands")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 2 and not list(folder.glob("*/*/result.json"))
    assert "'--config.model.hidden=(4, 4)' --config.seed=3 --workdir" in lines[0]
    program, *rest = shlex.split(lines[0])
    assert program == "jaxdl" and call(*rest)[0] == 0
    status, out, _ = call("sweep", *words, "--config.seed=3", "--commands")
    assert status == 0 and out.splitlines() == lines[1:]
    status, out, _ = call("sweep", "--workdir", folder)
    assert status == 0 and "2 runs: 1 already finished, 1 in turn" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "FILE", "--commands", "--together"], "not allowed with"),
        (["--config", "FILE", "--commands", "--config.init_from=a\nb"], "do not fit on one line"),
        (["--config", "FILE", "--commands", "--seeds", "0"], "--seeds: expected at least 1"),
        (["--config", "FILE", "--commands", "--config.modle.name=mlp"], "modle"),
        (["--commands"], "give --config"),
    ],
)
def test_mistakes_with_commands_are_one_line(call, file, tmp_path, words, message):
    words = [file if word == "FILE" else word for word in words]
    status, out, error = call("sweep", *words, "--workdir", tmp_path / "a")
    assert status == 2 and not out and message in error and error.count("\n") == 1
    assert not (tmp_path / "a" / "sweep.json").exists()


def started(file, folder, *words):
    """A process that runs a sweep; its output goes to a file."""
    command = [sys.executable, "-m", "jaxdl", "sweep", "--workdir", folder, *words]
    log = (file.parent / f"log-{time.monotonic_ns()}").open("w+")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [*map(str, command)], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=file.parent
    )
    process.log = Path(log.name)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--in-turn", "--together"])
def test_four_processes_and_kills_train_each_run_once(file, tmp_path, how):
    rates = "--config.optimizer.learning_rate=0.1,0.2,0.3"
    words = ("--config", file, "--seeds", "3", rates, "--config.model.hidden=(4,),(5,),(6,)")
    words = (
        *words,
        "--config.training.steps=400",
        "--config.training.checkpoint_every.steps=40",
        how,
    )
    whole = started(file, tmp_path / "whole", *words)
    assert whole.wait(600) == 0, whole.log.read_text()
    folder = tmp_path / "many"
    processes = [started(file, folder, *words) for _ in range(4)]
    killed = []
    for _ in range(3):
        seen = len(list(folder.rglob("metrics.jsonl")))
        deadline = time.monotonic() + 120
        while len(list(folder.rglob("metrics.jsonl"))) <= seen and time.monotonic() < deadline:
            time.sleep(0.1)
        victim = processes.pop(0)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed.append(victim)
        processes.append(started(file, folder, *words))
    for process in processes:
        assert process.wait(600) == 0, process.log.read_text()
    results = sorted(path.relative_to(folder) for path in folder.rglob("result.json"))
    assert len(results) == 27
    for path in results:
        here, there = (json.loads((f / path).read_text()) for f in (folder, tmp_path / "whole"))
        assert here["params_sha256"] == there["params_sha256"], path
        steps = [
            line["step"]
            for line in map(json.loads, (folder / path).with_name("metrics.jsonl").open())
            if "loss" in line
        ]
        assert steps == list(range(1, 401))
        starts = json.loads((folder / path).with_name("environment.json").read_text())
        assert len(starts["earlier"]) <= len(killed)
    if how == "--in-turn":  # nobody but who was killed began a run that another has trained
        begun = [
            line.split(": ")[1]
            for p in processes
            for line in p.log.read_text().splitlines()
            if line[:4] == "run "
        ]
        assert len(begun) == len(set(begun))
    table = json.loads((folder / "sweep.json").read_text())["table"]
    assert [row["runs"] for row in table] == [3] * 9
    assert not (folder / "together").exists()
