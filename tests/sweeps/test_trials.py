"""Trials of Optuna: ordinary runs that share a study, resumed where they were left."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.order import ShuffledEpochs
from jaxdl.sweeps.trials import Trials

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict()
    config.seed = 3
    config.data = dict(source='digits', transforms=(dict(name='scale', by=1/16),))
    config.model = dict(name='mlp', outputs=10, hidden=())
    config.task = dict(name='classification', classes=10)
    config.optimizer = dict(name='sgd', learning_rate=0.1)
    config.training = dict(batch_size=48, steps=4, log_every=dict(steps=1),
                           evaluate_every=dict(steps=4), checkpoint_every=dict(steps=1))
    config.logging = ()
    return config
"""
RATE = ("--draw", "optimizer.learning_rate=log:1e-3:1")
SIZE = ("--draw", "training.batch_size=16:64", "--draw", "model.hidden=(),(4,)")
RANDOM = ("--sampler", "random")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("jaxdl.training.recorder.draw", lambda *_: None)
    monkeypatch.setattr("jaxdl.checkpointing.run_directory.environment", dict)
    monkeypatch.setattr("jaxdl.sweeps.search.search_figure", lambda *_: None)


@pytest.fixture
def search(call, tmp_path):
    """Searches by the tiny config in a folder: (exit status, stdout, stderr)."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    return lambda folder, *words: call(
        "sweep", "--config", tmp_path / "tiny.py", "--workdir", tmp_path / folder, *words
    )


@pytest.fixture
def optuna():
    """The library, where it is installed."""
    return pytest.importorskip("optuna")


def results(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}


def trials_of(optuna, storage, name):
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_trials_are_runs_and_the_best_of_them_is_told(optuna, search, call, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    words = ("--trials", 3, "--storage", storage, *RATE, *SIZE)
    status, out, error = search("a", *words)
    assert status == 0, error
    trials, found = trials_of(optuna, storage, "a"), results(tmp_path / "a")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    for trial in trials:
        run = found[f"trial={trial.number}"]
        assert trial.value == run["metrics"]["validation/loss"]
        config = json.loads((tmp_path / "a" / f"trial={trial.number}" / "config.json").read_text())
        assert config["optimizer"]["learning_rate"] == trial.params["optimizer.learning_rate"]
        assert config["training"]["batch_size"] == trial.params["training.batch_size"]
        assert config["model"]["hidden"] == ([4] if "4" in trial.params["model.hidden"] else [])
    best = min(trials, key=lambda trial: trial.value)
    assert f"its run is in {tmp_path / 'a'}/trial={best.number};" in out
    (line,) = (line for line in out.splitlines() if line.startswith("to train it alone: "))
    _, *alone = shlex.split(line.removeprefix("to train it alone: "))
    assert call(*alone)[0] == 0
    one, other = ((tmp_path / f / "config.json") for f in ("a-best", f"a/trial={best.number}"))
    assert json.loads(one.read_text()) == json.loads(other.read_text())

    status, more, _ = search("a", "--trials", 4, *words[2:])
    assert status == 0 and more.count("trial 4 of 4") == 1 and "trial 3 of" not in more
    status, again, _ = call("sweep", "--workdir", tmp_path / "a")
    assert status == 0 and again.splitlines() == more.splitlines()[-4:]
    status, _, error = search("a", "--trials", 4, *words[2:4], *RATE)
    assert status == 2 and "holds another search" in error and error.count("\n") == 1
    status, _, error = search("b/a", *words)
    assert status == 2 and "its study 'a' belongs to another folder" in error


def test_what_diverges_is_told_as_pruned(optuna, search, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    words = ("--trials", 3, "--storage", storage, "--draw", "optimizer.learning_rate=0.1,1e38")
    status, out, _ = search("a", *words, *RANDOM)
    for trial in trials_of(optuna, storage, "a"):
        diverges = trial.params["optimizer.learning_rate"] == 1e38
        assert trial.state.name == ("PRUNED" if diverges else "COMPLETE")
        assert (f"trial={trial.number} has diverged" in out) is diverges
    assert status == 0 and "of 3 trials have diverged" in out


def test_a_trial_that_was_stopped_is_resumed_under_its_number(
    optuna, search, call, tmp_path, monkeypatch
):
    words = ("--trials", 2, *RATE, *RANDOM)
    assert search("whole", *words)[0] == 0
    rows, taken = ShuffledEpochs.rows, []

    def stopping(order, step):
        taken.append(step)
        if taken.count(2) == 2:  # in the second trial
            taken.append(2)
            os.kill(os.getpid(), signal.SIGTERM)
        return rows(order, step)

    with monkeypatch.context() as patch:
        patch.setattr(ShuffledEpochs, "rows", stopping)
        assert search("stopped", *words)[0] == 128 + signal.SIGTERM
    assert list(results(tmp_path / "stopped")) == ["trial=0"]
    status, out, _ = call("sweep", "--workdir", tmp_path / "stopped")
    assert status == 0 and "resuming trial=1" in out and "resumed at step" in out
    one, other = (results(tmp_path / folder) for folder in ("whole", "stopped"))
    assert {k: r["params_sha256"] for k, r in one.items()} == {
        k: r["params_sha256"] for k, r in other.items()
    }


def test_a_trial_that_was_killed_while_it_was_drawn_is_replaced(optuna, search, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    words = ("--storage", storage, *RATE)
    assert search("a", "--trials", 1, *words)[0] == 0
    optuna.load_study(study_name="a", storage=storage).ask()
    status, out, _ = search("a", "--trials", 2, *words)
    states = [trial.state.name for trial in trials_of(optuna, storage, "a")]
    assert status == 0 and states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert list(results(tmp_path / "a")) and "best of 2 settings" in out


def test_the_trials_of_others_are_waited_for(optuna, search, tmp_path, monkeypatch):
    storage, others = f"sqlite:///{tmp_path}/study.db", []
    words = ("--storage", storage, *RATE)
    take = Trials._take

    def another(self, study, held):
        if not others:  # another process has one
            number = study.ask(self._distributions).number
            lock = Run(self._place(number)).locked()
            lock.__enter__()
            others.append((study, number, lock))
        return take(self, study, held)

    def told(_):
        study, number, lock = others[0]
        study.tell(number, 0.5)
        lock.__exit__(None, None, None)

    monkeypatch.setattr(Trials, "_take", another)
    monkeypatch.setattr("jaxdl.sweeps.trials.time.sleep", told)
    monkeypatch.setattr(Run, "result", lambda self: {"metrics": {"validation/loss": 0.5}})
    status, out, error = search("a", "--trials", 1, *words)
    assert status == 0, error
    assert "waiting for 1 trial of other processes" in out and "trial 1 of" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", 0, *RATE], "--trials: expected at least 1"),
        (["--trials", 2], "nothing to search; give --draw KEY=low:high"),
        (["--trials", 2, "--halving", 4, *RATE], "not allowed with argument"),
        (["--trials", 2, "--eta", 3, *RATE], "--eta: needs --halving N"),
        (["--trials", 2, *RATE, "--sampler", "gp"], "invalid choice: 'gp'"),
        (["--trials", 2, "--draw", "optimizer.learning_rate=log:0:1"], "needs ends above 0"),
        (["--trials", 2, "--draw", "optimizer.learning_rate=1:0.1"], "the lower end first"),
        (["--trials", 2, "--draw", "optimizer.learning_rat=0.1:1"], "did you mean"),
        (["--trials", 2, "--draw", "optimizer.learning_rate=-1:1"], "learning_rate=-1:1"),
        (["--trials", 2, "--draw", "model.hiden=(),(4,)"], "did you mean 'hidden'"),
        (["--trials", 2, "--draw", "training.batch_size=1:5000"], "5000 does not fit"),
        (["--trials", 2, *RATE, "--folds", 2], "--folds: is only for grids"),
        (["--trials", 2, *RATE, "--storage", "sqlite:////nowhere/a.db"], "cannot be used"),
        (["--trials", 2, *RATE, "--storage", "nonsense"], "such as sqlite:///study.db"),
        (["--trials", 2, *RATE, "--storage", "postgresql://h/x"], "cannot be used"),
        (
            ["--trials", 2, *RATE, "--config.training.best.metric=test/loss"],
            "only the validation split may",
        ),
    ],
)
def test_mistakes_are_one_line(optuna, search, tmp_path, words, message):
    status, _, error = search("a", *words)
    assert status == 2 and message in error and error.count("\n") == 1, error
    assert not list((tmp_path / "a").glob("trial=*"))


def test_without_optuna_one_line_says_how_to_install_it(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, error = search("a", "--trials", 2, *RATE)
    assert status == 2 and error.count("\n") == 1
    assert "Optuna is not installed; pip install -e '.[optuna]'" in error


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_two_processes_and_a_kill_do_each_trial_once(optuna, tmp_path, storage):
    (tmp_path / "tiny.py").write_text(CONFIG.replace("steps=4,", "steps=400,"))
    words = ["--config", "tiny.py", "--trials", "6", *RATE, *SIZE]
    words += ["--storage", f"sqlite:///{tmp_path}/study.db"] * (storage == "sqlite")
    command = [sys.executable, "-m", "jaxdl", "sweep", "--workdir", "a", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(name):
        log = (tmp_path / name).open("w")
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT
        )

    one, other = start("one"), start("other")
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob("a/*/checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    one.kill()
    one.wait()
    third = start("third")
    assert other.wait(900) == third.wait(900) == 0, (tmp_path / "other").read_text()
    logs = [(tmp_path / name).read_text() for name in ("one", "other", "third")]
    begun = [
        line.split(" of ")[0] for log in logs for line in log.splitlines() if " of 6: " in line
    ]
    resumed = sum(log.count("resuming trial=") for log in logs)
    assert len(begun) == 6 + resumed and len({*begun}) == 6
    found = results(tmp_path / "a")
    assert len(found) == 6 and all(math.isfinite(r["metrics"]["test/loss"]) for r in found.values())
    if storage == "sqlite":
        states = [t.state.name for t in trials_of(optuna, f"sqlite:///{tmp_path}/study.db", "a")]
        assert states == ["COMPLETE"] * 6
