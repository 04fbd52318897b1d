"""Sweeps over folds: an ordinary run for each, and their mean in the table."""

import json
import shlex

import numpy as np
import pytest

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict()
    config.data = dict(source='arrays', train='data.npz')
    config.model = dict(name='mlp', hidden=())
    config.task = dict(name='classification', input='x', classes=2)
    config.optimizer = dict(name='sgd', learning_rate=0.1)
    config.training = dict(batch_size=4, steps=1)
    config.logging = ()
    return config
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("jaxdl.training.recorder.draw", lambda *_: None)
    monkeypatch.setattr("jaxdl.checkpointing.run_directory.environment", dict)
    monkeypatch.setattr("jaxdl.sweeps.sweeper.sweep_figure", lambda _: None)


@pytest.fixture
def sweep(call, tmp_path, monkeypatch):
    """Runs a sweep of a tiny config: (exit status, stdout, stderr)."""
    x = np.random.default_rng(0).normal(size=(15, 2)).astype(np.float32)
    group = np.arange(15) // 5
    np.savez(tmp_path / "data.npz", x=x, label=np.arange(15) % 2, group=group)
    np.savez(
        tmp_path / "copies.npz", x=x[group], label=np.arange(15) % 2, group=group, n=np.arange(15)
    )
    (tmp_path / "tiny.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return lambda *words: call("sweep", "--config", "tiny.py", "--workdir", "a", *words)


def test_each_fold_is_an_ordinary_run(call, sweep, tmp_path):
    status, out, _ = sweep("--folds", 2, "--folds-by", "group", "--commands")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 2
    assert call(*shlex.split(lines[1])[1:])[0] == 0
    status, out, _ = call("sweep", "--workdir", "a")
    assert status == 0 and "2 runs: 1 already finished, 1 in turn" in out
    assert "mean ± sample standard deviation over folds" in out
    (row,) = json.loads((tmp_path / "a" / "sweep.json").read_text())["table"]
    results = [
        json.loads((tmp_path / f"a/fold={i}/seed=0/result.json").read_text()) for i in range(2)
    ]
    assert [result["examples"] for result in results] == [{"test": 10}, {"test": 5}]
    losses = [result["metrics"]["test/loss"] for result in results]
    assert row["metrics"]["test/loss"]["mean"] == pytest.approx(np.mean(losses))
    assert row["metrics"]["test/loss"]["std"] == pytest.approx(np.std(losses, ddof=1))
    status, out, _ = call("evaluate", "--workdir", "a/fold=1/seed=0")
    assert status == 0 and f"{losses[1]:.6g}" in out and "over 5 examples" in out
    status, _, error = sweep("--folds", 4, "--folds-by", "group")
    assert status == 2 and "sweep.folds: 2 -> 4" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", 1], "--folds 1: folds: count=1; it must be at least 2"),
        (["--folds", 0], "--folds 0"),
        (["--folds", "few"], "invalid int value: 'few'"),
        (["--folds-by", "group"], "--folds-by: needs --folds"),
        (["--folds", 16], "15 examples are too few for 16 folds"),
        (["--folds", 2, "--folds-by", "patient"], "no column 'patient'; it has x, label, group"),
        (["--folds", 2, "--folds-by", "x"], "folds.by='x' must name one whole number"),
        (["--folds", 4, "--folds-by", "group"], "3 groups, too few for 4 folds"),
        (["--folds", 2, "--config.data.folds.count=3"], "--folds sets it"),
        (["--folds", 3, "--config.data.train=copies.npz"], "copies of one input lie in different"),
        (["--folds", 3, "--config.training.carry=true"], "config.training.carry"),
    ],
)
def test_mistakes_are_one_line_before_anything_trains(sweep, tmp_path, words, message):
    status, _, error = sweep(*words)
    assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "a" / "sweep.json").exists()


def test_copies_that_are_one_group_may_be_tested(call, sweep):
    words = ("--folds", 3, "--folds-by", "group", "--config.data.train=copies.npz", "--commands")
    assert sweep(*words)[0] == 0
    status, _, error = call("sweep", "--workdir", "a", "--folds", 3)
    assert status == 2 and "--folds: needs --config" in error
