"""Early stopping: where it stops is the same whatever happens on the way."""

import os
import signal

import pytest

from jaxdl import load
from jaxdl.checkpointing.run_directory import Run
from jaxdl.progress import Progress
from jaxdl.signals import StopSignal
from jaxdl.training import recorder
from jaxdl.training.build import build_experiment, resolved
from jaxdl.training.loop import run_loop, train_experiment
from jaxdl.training.measure import Measure
from jaxdl.training.settings import Best, Target, Training
from jaxdl.training.warn import warn_of_doubts

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": ()},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {
        "batch_size": 50,
        "steps": 60,
        "log_every": {"steps": 1},
        "evaluate_every": {"steps": 3},
        "checkpoint_every": {"steps": 4},
        "keep": 1,
        "best": {"metric": "validation/loss", "smaller": True},
        "patience": 3,
    },
}
# What the evaluations at steps 3, 6, 9, … find: the best is at step 12, so the run ends at 21.
LOSSES = (5.0, 3.0, 4.0, 2.0, 2.0, 2.5, 3.0, 0.1, 0.1)


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations find what is written above, whatever the state is."""
    measured = Measure.__call__

    def measure(self, state):
        metrics, tables = measured(self, state)
        found = LOSSES[min(len(LOSSES), int(state.step) // 3) - 1]
        return {**metrics, "validation/loss": found}, tables

    monkeypatch.setattr(Measure, "__call__", measure)


def begun(folder, **training):
    config = {**CONFIG, "training": {**CONFIG["training"], **training}}
    run = Run(folder)
    run.claim(resolved(config))
    return run


def go_on(run):
    return train_experiment(build_experiment(run.config()), run)


def killed_in(run):
    """Train until something raises; what was being saved is saved."""
    experiment = build_experiment(run.config())
    trainee = recorder.Recorder(experiment, run, Progress(60, 50))
    with StopSignal() as stop, pytest.raises(Killed):
        run_loop(trainee, stop)
    trainee.checkpoints.wait()


class Killed(BaseException):
    """Nothing handles it."""


def test_it_stops_after_so_many_evaluations_and_says_where(scripted, tmp_path, call):
    run = begun(tmp_path)
    result = go_on(run)
    assert result["stopped_early"] == {"step": 21, "of_steps": 60, "patience": 3}
    assert result["step"] == 21 and result["metrics"]["validation/loss"] == 3.0  # of the last step
    assert result["best"] == {"step": 12, "metric": "validation/loss", "value": 2.0}
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["12", "21"]
    status, out, _ = call("train", "--workdir", tmp_path)
    assert status == 0 and "stopped early, at step 21 of 60, after 3 evaluations" in out
    assert "validation/loss 2 at step 12 (--best)" in out
    status, _, err = call("train", "--workdir", tmp_path, "--extend", "steps=90")
    assert status == 2 and "stopped early at step 21 of 60" in err and "Traceback" not in err


# While the evaluation of a step runs, before it is logged, and after the last save.
@pytest.mark.parametrize("at", [15, pytest.param(21, marks=pytest.mark.slow), "finish"])
def test_a_kill_does_not_move_it(scripted, tmp_path, monkeypatch, at):
    def killed(*unused):
        raise Killed

    run = begun(tmp_path)
    with monkeypatch.context() as patch:
        if at == "finish":
            patch.setattr(recorder.Recorder, "finish", killed)
        else:
            measured = Measure.__call__
            patch.setattr(
                Measure,
                "__call__",
                lambda self, state: killed() if state.step == at else measured(self, state),
            )
        killed_in(run)
    result = go_on(run)
    assert result["stopped_early"]["step"] == 21 and result["best"]["step"] == 12
    assert [line["step"] for line in run.history() if "loss" in line] == list(range(1, 22))


def stop_during_the_evaluation_at(step, run, monkeypatch):
    """Train until then; the evaluation is cut off."""
    measured = Measure.__call__

    def measure(self, state):
        if state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return measured(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Measure, "__call__", measure)
        with pytest.raises(SystemExit):
            go_on(run)


def test_a_signal_during_the_last_evaluation_does_not_move_it(scripted, tmp_path, monkeypatch):
    stop_during_the_evaluation_at(21, run := begun(tmp_path), monkeypatch)
    assert go_on(run)["stopped_early"]["step"] == 21


def test_a_best_one_that_a_signal_cut_off_is_the_best_for_all(scripted, tmp_path, monkeypatch):
    stop_during_the_evaluation_at(12, run := begun(tmp_path, steps=12), monkeypatch)
    result = go_on(run)
    assert result["best"]["step"] == 12 and result["examples_per_second"] is None
    assert load(tmp_path, best=True).parts.state.step == 12


@pytest.mark.slow
def test_a_run_that_ends_first_has_not_stopped_early(scripted, tmp_path):
    result = go_on(begun(tmp_path, steps=21))
    assert (result["step"], result["stopped_early"]) == (21, None)


def test_no_number_is_better_than_none_and_nan_is_no_number():
    best = Best("loss", smaller=True)
    assert not best.better({"loss": float("nan")}, None)
    assert best.better({"loss": 3.0}, None) and not best.better({"loss": float("nan")}, 3.0)


@pytest.mark.parametrize("metric", ["validation/loss", "test/drive1/mae", "validation/nll"])
def test_a_smaller_loss_or_error_is_the_better_one_whatever_is_said(metric):
    assert Best(metric).better({metric: 1.0}, 2.0) and not Best(metric).better({metric: 2.0}, 1.0)
    target = Target(metric, 1.5, "here")
    assert target.met({metric: 1.0}) and not target.met({metric: 2.0})
    assert not Best("validation/accuracy").smaller


def test_what_cannot_be(refuses):
    with refuses("config.training.patience: expected at least 1, got 0"):
        Training(patience=0, best=Best("validation/loss", smaller=True))
    with refuses("config.training.patience", "config.training.best", "is not set"):
        Training(patience=2)


def test_the_test_split_should_not_decide():
    metric, told = {"metric": "test/loss", "smaller": True}, []
    config = {**CONFIG, "training": {**CONFIG["training"], "best": metric}}
    warn_of_doubts(build_experiment(config), (), told.append)
    assert told[0].startswith("warning     test/loss decides when training stops")


@pytest.mark.slow
def test_a_sweep_trains_them_in_turn(call, tmp_path):
    training = {**CONFIG["training"], "steps": 30, "patience": 1, "log_every": {"steps": 30}}
    config = {**CONFIG, "training": training}
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    words = ("sweep", "--config", tmp_path / "config.py", "--workdir", tmp_path / "sweep")
    status, out, err = call(*words, "--config.optimizer.learning_rate=1e-12,0.1", "--together")
    assert (status, err) == (0, "")
    assert "2 in turn (each may stop early)" in out
    assert (
        Run(tmp_path / "sweep" / "learning_rate=1e-12" / "seed=0").result()["stopped_early"]["step"]
        == 6
    )
