"""The loop on real digits: resume, signals, and what is not finite."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.progress import Progress
from jaxdl.training.build import build_experiment
from jaxdl.training.experiment import Experiment
from jaxdl.training.loop import save_due, train_experiment
from jaxdl.training.measure import Measure, measure
from jaxdl.training.recorder import Recorder
from jaxdl.training.start import train_config
from jaxdl.training.timing import Pace

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": (16,), "dropout": 0.2},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {
        "batch_size": 50,
        "steps": 40,
        "ema_decay": 0.9,
        "log_every": {"steps": 1},
        "evaluate_every": {"steps": 20},
        "checkpoint_every": {"steps": 8},
    },
}


# Its epochs are 20 steps long, so a step in the middle of one goes on from what was read.
CARRIED = {
    "data": {
        "source": "text",
        "path": "a.txt",
        "twin": True,
        "tokenize": {"tokens": {"text": "text", "by": "characters", "window": 40}},
    },
    "model": {"name": "language_model", "hidden": 8, "layers": 2, "dropout": 0.2},
    "task": {"name": "language_modeling"},
    "optimizer": {"name": "adam", "learning_rate": 1e-2, "clip_norm": 5.0},
    "training": {**CONFIG["training"], "batch_size": 20, "eval_batch_size": 8, "carry": True},
}


def changed(**training):
    return {**CONFIG, "training": {**CONFIG["training"], **training}}


def started(folder, config):
    run = Run(folder)
    run.claim(config)
    return build_experiment(config), run


def losses(run):
    return [(line["step"], line["loss"]) for line in run.history() if "loss" in line]


def interrupted(experiment, run, stop_at, monkeypatch):
    """Train until a signal comes, while the batch of a step is made."""
    order = type(experiment.order)
    taken = order.rows

    def rows(order, step):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return taken(order, step)

    with monkeypatch.context() as patch:
        patch.setattr(order, "rows", rows)
        with pytest.raises(SystemExit) as stopped:
            train_experiment(experiment, run)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert run.result() is None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    experiment, run = started(tmp_path_factory.mktemp("undisturbed"), CONFIG)
    return train_experiment(experiment, run), run


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    experiment, run = started(tmp_path_factory.mktemp("carried"), CARRIED)
    return train_experiment(experiment, run), run


def test_a_run_explains_itself(undisturbed):
    result, run = undisturbed
    assert result == run.result()
    assert result["step"] == 40 and result["examples"] == {"validation": 300, "test": 300}
    assert {"test/accuracy", "validation/loss"} <= set(result["metrics"])
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "figures"}
    assert any(name.startswith("events") for name in names)
    assert (run.figures / "learning_curves.png").stat().st_size > 5_000
    assert json.loads((run.folder / "environment.json").read_text())["packages"]["jax"]
    assert [step for step, _ in losses(run)] == list(range(1, 41))


def test_evaluation_of_the_checkpoint_gives_the_same_numbers(undisturbed):
    result, run = undisturbed
    step, metrics, examples = measure(build_experiment(run.config()), run)
    assert (step, metrics, examples) == (40, result["metrics"], result["examples"])


@pytest.mark.parametrize("stop_at", [1, 8, 13, 30])
def test_resume_is_exact_at_any_step(undisturbed, tmp_path, stop_at, monkeypatch):
    result, whole = undisturbed
    experiment, run = started(tmp_path, CONFIG)
    interrupted(experiment, run, stop_at, monkeypatch)
    again = train_experiment(build_experiment(run.config()), run)
    assert again["params_sha256"] == result["params_sha256"]
    assert again["metrics"] == result["metrics"]
    assert losses(run) == losses(whole)


@pytest.mark.parametrize("stop_at", [13, pytest.param(30, marks=pytest.mark.slow)])
def test_resume_goes_on_from_the_carried_state(carried, tmp_path, stop_at, monkeypatch):
    result, whole = carried
    experiment, run = started(tmp_path, CARRIED)
    assert stop_at % experiment.order.steps_per_epoch
    interrupted(experiment, run, stop_at, monkeypatch)
    saved = Checkpoints(run.checkpoints).read()
    assert all(np.any(state) for layer in saved["carry"] for state in layer)
    again = train_experiment(build_experiment(run.config()), run)
    assert again["params_sha256"] == result["params_sha256"]
    assert again["metrics"] == result["metrics"]
    assert losses(run) == losses(whole)


def test_data_that_changed_is_not_trained_on(tmp_path, monkeypatch):
    tokens = np.random.default_rng(0).integers(1, 9, (100, 12), np.int32)
    np.savez(tmp_path / "a.npz", tokens=tokens)
    config = {**CARRIED, "data": {"source": "arrays", "train": str(tmp_path / "a.npz")}}
    config["model"] = {**CARRIED["model"], "vocabulary": 9}
    experiment, run = started(tmp_path / "run", config)
    interrupted(experiment, run, 13, monkeypatch)
    tokens[-1, -1] += 1
    np.savez(tmp_path / "a.npz", tokens=tokens)
    with pytest.raises(UserError, match=r"another run \(data\.sha256\.train.*; restore"):
        train_experiment(build_experiment(config), run)
    tokens[-1, -1] -= 1
    np.savez(tmp_path / "a.npz", tokens=tokens)
    assert train_experiment(build_experiment(config), run)["step"] == 40


def test_kill_and_start_again_is_exact(tmp_path):
    config = changed(steps=1200, evaluate_every={"steps": 600}, checkpoint_every={"steps": 100})
    digests = []
    for kill in (True, False):
        folder = tmp_path / str(kill)
        started(folder, config)
        command = [sys.executable, "-m", "jaxdl", "train", "--workdir", str(folder)]
        if kill:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            deadline = time.time() + 120
            while not any((folder / "checkpoints").glob("[0-9]*")):
                assert process.poll() is None and time.time() < deadline
                time.sleep(0.02)
            process.kill()
            process.wait()
            assert process.returncode == -signal.SIGKILL
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
        digests.append(Run(folder).result()["params_sha256"])
    assert digests[0] == digests[1]
    assert losses(Run(tmp_path / "True")) == losses(Run(tmp_path / "False"))


@pytest.mark.parametrize(
    "training",
    [
        {"on_device": False},
        {"accumulate": 5, "batch_size": 50},
        pytest.param({"eval_batch_size": 7}, marks=pytest.mark.slow),
    ],
)
def test_the_way_of_computing_does_not_change_the_result(undisturbed, tmp_path, training):
    result, _ = undisturbed
    experiment, run = started(tmp_path, changed(**training))
    model = {**CONFIG["model"], "dropout": 0.0} if "accumulate" in training else CONFIG["model"]
    if "accumulate" in training:  # each part has dropout masks of its own
        plain = started(tmp_path / "plain", {**CONFIG, "model": model})
        result = train_experiment(*plain)
        experiment, run = started(tmp_path / "parts", {**changed(**training), "model": model})
    got = train_experiment(experiment, run)
    for name, value in result["metrics"].items():
        np.testing.assert_allclose(got["metrics"][name], value, rtol=1e-4, err_msg=name)
    if "eval_batch_size" in training or "on_device" in training:
        assert got["params_sha256"] == result["params_sha256"]


def test_what_is_not_finite_stops_the_run_and_is_never_saved(tmp_path):
    config = {**CONFIG, "optimizer": {"name": "sgd", "learning_rate": 1e38}}
    experiment, run = started(tmp_path, config)
    with pytest.raises(
        UserError, match=r"step \d+: not finite .*training examples \d+, .*learning"
    ):
        train_experiment(experiment, run)
    assert run.result() is None
    assert not (run.checkpoints).exists()


@pytest.mark.parametrize("rate", [1e38, 3.4e38])
def test_an_update_that_is_not_finite_is_never_saved(tmp_path, rate):
    config = {**changed(steps=1), "optimizer": {"name": "sgd", "learning_rate": rate}}
    experiment, run = started(tmp_path, config)
    with pytest.raises(UserError, match=r"step 1: not finite \(.*nan\)"):
        train_experiment(experiment, run)
    assert run.result() is None and not run.checkpoints.exists()


def test_no_sound_checkpoint_stops_the_run(tmp_path):
    experiment, run = started(tmp_path, CONFIG)
    train_experiment(experiment, run)
    for file in run.checkpoints.rglob("manifest.json"):
        file.write_text("{}")
    before = sorted(run.checkpoints.rglob("*"))
    with pytest.raises(UserError, match="all 3 checkpoints are damaged"):
        train_experiment(experiment, run)
    assert sorted(run.checkpoints.rglob("*")) == before


def test_saving_takes_a_thirtieth_of_the_time_at_most(tmp_path, monkeypatch):
    experiment, run = started(tmp_path, changed(checkpoint_every=None))
    now = [0.0]
    monkeypatch.setattr("jaxdl.checkpointing.checkpoints.time.perf_counter", lambda: now[0])
    recorder = Recorder(experiment, run, Progress(40, 50))
    for seconds, apart in ((0.2, 30), (9, 270)):  # what the last save took
        recorder.checkpoints._seconds = seconds
        for now[0], due in ((apart - 1, False), (apart + 1, True)):
            assert save_due(recorder, 7) == due
    now[0] = 1.0
    assert save_due(recorder, 40)  # the last


def test_pace_aims_at_the_same_time_whatever_a_step_takes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("jaxdl.training.timing.time.perf_counter", lambda: now[0])
    for seconds, expected in ((0.05, 4), (0.0001, 256), (3.0, 1)):
        pace = Pace(256)
        for _ in range(8):
            now[0] += pace.steps * seconds
            pace.tick(pace.steps)
        assert pace.steps == pytest.approx(expected, abs=1)


def test_a_run_that_is_extended_ends_as_one_that_was_as_long_from_the_start(tmp_path, capsys):
    long = train_experiment(*started(tmp_path / "long", changed(steps=60)))
    run = Run(tmp_path / "run")
    train_config(CONFIG, run)
    for length in (60, 60):  # the second is the same command again
        result = train_config(run.config(), run, extend={"steps": length})
    assert f"{run.folder}: has already finished; this is its result" in capsys.readouterr().out
    assert result["step"] == 60 and result["params_sha256"] == long["params_sha256"]
    assert losses(run) == losses(Run(tmp_path / "long"))
    assert json.loads((tmp_path / "run" / "result-40.json").read_text())["step"] == 40
    with pytest.raises(UserError, match="--extend: the run already has 60 steps, and 50 are not"):
        train_config(run.config(), run, extend={"steps": 50})
    assert run.result() == result


@pytest.mark.parametrize("name", ["cosine", pytest.param("linear", marks=pytest.mark.slow)])
def test_a_schedule_keeps_its_end_when_the_run_is_extended(tmp_path, name):
    schedule = {"name": name, "peak": 1e-3, "floor": 1e-4}
    config = {**CONFIG, "optimizer": {"name": "adam", "learning_rate": schedule}}
    run = Run(tmp_path / "run")
    train_config(config, run)
    before = losses(run)
    train_config(run.config(), run, extend={"epochs": 2.5})
    assert losses(run)[: len(before)] == before
    rates = [line["learning_rate"] for line in run.history() if "loss" in line]
    assert len(rates) == 60 and rates[40:] == pytest.approx([1e-4] * 20)
    ended = {**schedule, "floor": 0.0}
    run = Run(tmp_path / "ended")
    train_config({**config, "optimizer": {"name": "adam", "learning_rate": ended}}, run)
    with pytest.raises(UserError, match="rate has fallen to 0 at step 40, so more steps would"):
        train_config(run.config(), run, extend={"steps": 60})
    assert run.result()["step"] == 40


def test_a_run_and_its_data_may_move(tmp_path, monkeypatch, call):
    (tmp_path / "here").mkdir()
    tokens = np.random.default_rng(0).integers(1, 9, (100, 12), np.int32)
    np.savez(tmp_path / "here" / "a.npz", tokens=tokens)
    monkeypatch.chdir(tmp_path / "here")
    config = {**CARRIED, "data": {"source": "arrays", "train": "a.npz"}}
    config["model"] = {**CARRIED["model"], "vocabulary": 9}
    train_config(config, Run("run"))
    monkeypatch.chdir(tmp_path)
    assert measure(build_experiment(Run("here/run").config()), Run("here/run"))[0] == 40
    os.rename("here", "there")
    status, _, said = call("train", "--workdir", "there/run", "--extend", "steps=60")
    assert status == 2 and "here/a.npz" in said
    moved = ["--config.data.train=there/a.npz"]
    assert call("train", "--workdir", "there/run", "--extend", "steps=60", *moved)[0] == 0
    assert call("evaluate", "--workdir", "there/run")[0] == 0  # from where they are now
    tokens[-1, -1] += 1
    np.savez(tmp_path / "there" / "a.npz", tokens=tokens)
    status, _, said = call("evaluate", "--workdir", "there/run")
    assert status == 2 and "the data has changed since this run began" in said
    status, _, said = call("evaluate", "--workdir", "there/run", "--config.seed=3")
    assert status == 2 and "--config.seed=3: cannot be changed" in said


def test_evaluation_begins_with_what_the_measured_state_has_learnt(monkeypatch):
    begun, fresh = [], Experiment.fresh_carry

    def noted(self, state, size):
        begun.append(state)
        return fresh(self, state, size)

    monkeypatch.setattr(Experiment, "fresh_carry", noted)
    experiment = build_experiment(CARRIED)
    measured = Measure(experiment, experiment.init())
    measured(later := experiment.init())
    assert begun[-1] is later
