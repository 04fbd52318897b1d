"""Trackers and callbacks of one's own: what they are told, and that they cannot harm a run."""

import importlib.util
from typing import ClassVar

import numpy as np
import pytest

import jaxdl
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.files import Unwritable
from jaxdl.trackers import Trackers, dispatch
from jaxdl.training.build import build_experiment, resolved
from jaxdl.training.loop import train_experiment

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": ()},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {
        "batch_size": 50,
        "steps": 12,
        "log_every": {"steps": 1},
        "evaluate_every": {"steps": 3},
        "checkpoint_every": {"steps": 4},
        "best": {"metric": "validation/loss", "smaller": True},
    },
    "logging": ("test_dispatch:Notes",),
}


class Killed(BaseException):
    """Nothing handles it, as nothing handles `kill -9`."""


class Notes(jaxdl.Tracker):
    """Keeps what it is told, over all starts of a run."""

    told: ClassVar = []
    fail_at = None

    def start(self, config, id, folder, step):
        self.told.append(("start", id, step))
        assert config["model"]["name"] == "mlp"
        return id or "first"

    def metrics(self, step, values):
        if step == Notes.fail_at:
            raise OSError("no network")
        self.told.append(("loss" if "loss" in values else "evaluation", step))

    def figure(self, step, name, png):
        assert png.startswith(b"\x89PNG")
        self.told.append(("figure", step, name))

    def finish(self, result):
        self.told.append(("finish", result))


class Sees(jaxdl.Callback):
    """Keeps what it is told, and tries to change it."""

    told: ClassVar = []

    def __init__(self, mark: str = ""):
        self.mark = mark

    def on_start(self, config, folder, step):
        config["training"]["steps"] = 0
        self.told.append(("start", step, self.mark))

    def on_summary(self, step, values):
        self.told.append(("summary", step, values.pop("loss")))

    def on_evaluation(self, step, metrics, tables):
        self.told.append(("evaluation", step, sorted(metrics)))
        metrics.clear()
        tables.clear()

    def on_save(self, step, checkpoint):
        assert (checkpoint / "manifest.json").exists()
        self.told.append(("save", step))

    def on_finish(self, result):
        self.told.append(("finish", result["step"]))
        result.clear()


class Dies(jaxdl.Callback):
    """Ends the run in a hook, after a step."""

    def __init__(self, hook, at):
        def die(step, *unused):
            if step == at:
                raise Killed

        setattr(self, hook, die)


class Raises(jaxdl.Callback):
    def on_summary(self, step, values):
        raise KeyError(f"step {step}")


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """Nothing is told yet, and nothing saves on after the end of a run."""
    save = Checkpoints.save

    def save_at_once(self, *what):
        save(self, *what)
        self.wait()

    monkeypatch.setattr(Checkpoints, "save", save_at_once)  # a dead run has no threads
    for kind in (Notes, Sees):
        monkeypatch.setattr(kind, "told", [])


def begun(folder, **nodes):
    run = Run(folder)
    run.claim(resolved({**CONFIG, **nodes}))
    return run


def go_on(run, **more):
    trusted = Run(run.folder, trust=["test_dispatch"])
    return train_experiment(build_experiment(trusted.config(), resumed=True), trusted, **more)


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """The result of a run that tells nobody."""
    return go_on(begun(tmp_path_factory.mktemp("silent"), logging=()))


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "jaxdl"]


EVERYTHING = [("loss", step) for step in range(1, 13)]
EVALUATIONS = [("evaluation", step) for step in (3, 6, 9, 12)]


def test_a_tracker_is_told_each_step_once_over_three_kills(silent, tmp_path):
    run = begun(tmp_path)
    # The second start, from step 6, ends before the step that the first came to.
    for hook, step in (("on_summary", 8), ("on_summary", 7), ("on_evaluation", 9)):
        with pytest.raises(Killed):
            go_on(run, callbacks=[Dies(hook, step)])
    result = go_on(run)
    told = [line for line in Notes.told if line[0] in ("loss", "evaluation")]
    assert sorted(told) == sorted([*EVERYTHING, *EVALUATIONS])
    starts = [line[1] for line in Notes.told if line[0] == "start"]
    assert starts == [None, "first", "first", "first"]
    ends = [line[1] for line in Notes.told if line[0] == "finish"]
    assert ends[:-1] == [None] * 3 and ends[-1]["metrics"] == result["metrics"]
    assert ends[-1]["checkpoint"] == str((tmp_path / "checkpoints" / "12").absolute())
    assert result["params_sha256"] == silent["params_sha256"]


def test_what_fails_is_told_once_and_made_up_for_at_the_next_start(
    silent, tmp_path, monkeypatch, caplog
):
    run = begun(tmp_path)
    monkeypatch.setattr(Notes, "fail_at", 5)
    assert go_on(run)["params_sha256"] == silent["params_sha256"]
    assert warnings(caplog) == [
        "config.logging: test_dispatch:Notes: OSError: no network; the run goes on without"
    ]
    assert ("loss", 4) in Notes.told and ("loss", 6) not in Notes.told
    monkeypatch.setattr(Notes, "fail_at", None)
    (tmp_path / "result.json").unlink()
    go_on(run)
    told = [line for line in Notes.told if line[0] in ("loss", "evaluation")]
    assert sorted(told) == sorted([*EVERYTHING, *EVALUATIONS])


@pytest.mark.slow
def test_a_tracker_that_comes_later_is_given_what_was_before(silent, tmp_path):
    run = begun(tmp_path, logging=())
    go_on(run)
    run.claim(resolved({**CONFIG, "training": {**CONFIG["training"]}}))
    (tmp_path / "result.json").unlink()
    go_on(run)
    told = [line for line in Notes.told if line[0] in ("loss", "evaluation")]
    assert sorted(told) == sorted([*EVERYTHING, *EVALUATIONS])
    assert ("figure", 12, "learning_curves") in Notes.told


def test_callbacks_see_the_run_and_cannot_change_it(silent, tmp_path, caplog):
    named = {"name": "test_dispatch:Sees", "mark": "of the config"}
    run = begun(tmp_path, logging=(), callbacks=("test_dispatch:Raises", named))
    result = go_on(run, callbacks=[Sees("of Python")])
    assert result["params_sha256"] == silent["params_sha256"]
    assert result["metrics"] == silent["metrics"] and run.result() is not None
    assert (tmp_path / "tables.json").read_text() != "{}"
    told = Sees.told
    assert told[:2] == [("start", 0, "of the config"), ("start", 0, "of Python")]
    logged = [("summary", line["step"], line["loss"]) for line in run.history() if "loss" in line]
    assert [line for line in told if line[0] == "summary"][::2] == logged
    assert [line[1] for line in told if line[0] == "evaluation"][::2] == [3, 6, 9, 12]
    saved = [line[1] for line in told if line[0] == "save"][::2]
    assert saved == sorted({*saved}) and {4, 8, 12} <= {*saved}
    assert told[-1] == ("finish", 12)
    (said,) = warnings(caplog)
    assert said.startswith("callback Raises.on_summary (test_dispatch.py:")
    assert said.endswith("'step 1'; it is not called again, and the run goes on")


WRONG = {
    "logging": [
        (("wand",), "config.logging[0].name: unknown 'wand'; did you mean 'wandb'? it takes: mlfl"),
        (("wandb", "wandb"), "config.logging[1]: 'wandb' is named twice"),
        (({"name": "wandb", "projet": "x"},), "config.logging[0].projet: unknown"),
        (({"name": "mlflow", "tags": 3},), "config.logging[0].tags: expected"),
        (({"project": "x"},), "config.logging[0].name: missing"),
        (("test_dispatch:Sees",), "config.logging[0]: 'test_dispatch:Sees' is not a jaxdl.T"),
        (("no_such:Thing",), "cannot import 'no_such'"),
    ],
    "callbacks": [
        (("Sees",), "config.callbacks[0].name: unknown 'Sees'"),
        (("test_dispatch:Notes",), "is not a jaxdl.Callback"),
        (("test_dispatch:gone",), "has no 'gone'"),
        (({"name": "test_dispatch:Sees", "mark": 3},), "config.callbacks[0].mark: expected"),
        ((3,), "config.callbacks"),
    ],
}


@pytest.mark.parametrize("key", WRONG)
def test_what_cannot_be_is_one_line(key, refuses):
    for names, line in WRONG[key]:
        with refuses(line):
            build_experiment({**CONFIG, key: names})


def test_without_the_extra_it_is_named(tmp_path, monkeypatch, refuses):
    for name in ("wandb", "mlflow"):
        experiment = build_experiment({**CONFIG, "logging": (name,)})
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with refuses(f"config.logging[0]: '{name}' is not installed; pip install -e '.[{name}]'"):
            train_experiment(experiment, Run(tmp_path))
        monkeypatch.undo()


def test_the_numbers_that_are_none_in_json_are_nan(tmp_path):
    class Numbers(jaxdl.Tracker):
        given_to: ClassVar = []

        def metrics(self, step, values):
            self.given_to.append((step, values))

    trackers = Trackers({"numbers": Numbers()}, tmp_path)
    trackers.remember([])
    trackers.start({}, 2, [{"step": 2, "seconds": 1.0, "test/AP": None}])
    ((step, values),) = Numbers.given_to
    assert step == 2 and np.isnan(values["test/AP"]) and len(values) == 1


def test_without_room_for_what_was_given_nothing_more_is_given(tmp_path, monkeypatch, caplog):
    def full(path, value):
        raise Unwritable(f"{path.name}: no room", "make room")

    monkeypatch.setattr(dispatch, "write_json", full)
    trackers = Trackers({"notes": Notes()}, tmp_path)
    trackers.remember([])
    trackers.start(CONFIG, 0, [])
    trackers.log(1, {"loss": 1.0})
    assert ("loss", 1) not in Notes.told
    assert warnings(caplog) == ["config.logging: trackers.json: no room; the run goes on without"]
