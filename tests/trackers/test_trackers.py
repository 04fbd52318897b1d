"""W&B and MLflow themselves, without a network: runs that were killed are read back as they were
kept, W&B's by its own records and MLflow's by its own client."""

import json
import os
import signal
import struct
import subprocess
import sys

import pytest

from jaxdl.checkpointing.run_directory import Run

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": ()},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {
        "batch_size": 50,
        "steps": 40,
        "log_every": {"steps": 1},
        "evaluate_every": {"steps": 10},
        "checkpoint_every": {"steps": 8},
    },
    "callbacks": ("killer:Killer",),
}
KILLER = """
import os, signal
from pathlib import Path
import jaxdl

class Killer(jaxdl.Callback):
    def on_summary(self, step, values):
        for at in (21, 19):  # the second start ends before the step that the first came to
            mark = Path(f"killed{at}")
            if step == at and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
                return
"""


def train(folder, logging, **variables):
    """Train in a process of its own; the exit status, and what it said."""
    (folder / "killer.py").write_text(KILLER)
    config = {**CONFIG, "logging": logging}
    (folder / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    words = [sys.executable, "-m", "jaxdl", "train", "--config", "config.py", "--workdir", "run"]
    environment = {**os.environ, **variables}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def killed_twice(folder, logging, **variables):
    for _ in range(2):
        assert train(folder, logging, **variables)[0] == -signal.SIGKILL
    status, said = train(folder, logging, **variables)
    assert status == 0, said
    assert (folder / "killed19").exists()
    return Run(folder / "run").result()


def rows(folder):
    """The rows of all starts that W&B has kept, by its own records in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        data, place, whole = path.read_bytes(), 7, b""
        while place + 7 <= len(data):
            if 32768 - place % 32768 < 7:  # no record begins in the last bytes of a block
                place += 32768 - place % 32768
                continue
            _, size, kind = struct.unpack("<IHB", data[place : place + 7])
            whole += data[place + 7 : place + 7 + size]
            place += 7 + size
            if kind in (1, 4):  # whole, or the last piece of one
                record, whole = Record.FromString(whole), b""
                if record.WhichOneof("record_type") == "history":
                    items = record.history.item
                    yield {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


@pytest.mark.slow
def test_wandb_has_each_step_once_after_two_kills(tmp_path):
    pytest.importorskip("wandb")
    logging = ({"name": "wandb", "project": "tried", "tags": ("a",)},)
    result = killed_twice(tmp_path, logging, WANDB_MODE="offline")
    kept = list(rows(tmp_path / "run"))
    assert [row["step"] for row in kept if "loss" in row] == list(range(1, 41))
    evaluated = {row["step"]: row for row in kept if "test/loss" in row}
    assert len([row for row in kept if "test/loss" in row]) == 4
    assert evaluated[40]["test/loss"] == result["metrics"]["test/loss"]
    assert any("figures/learning_curves._type" in row for row in kept)
    numbers = [row["_step"] for row in kept]
    assert numbers == sorted(numbers) and len({*numbers}) == len(numbers)
    ids = {path.name.split("-")[-1] for path in (tmp_path / "run/wandb").glob("offline-run-*")}
    known = json.loads((tmp_path / "run" / "trackers.json").read_text())
    assert ids == {known["wandb"]["id"]}


@pytest.mark.slow
def test_mlflow_has_each_step_once_after_two_kills(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path}/store.db"
    logging = ({"name": "mlflow", "experiment": "tried", "tags": {"who": "me"}},)
    result = killed_twice(tmp_path, logging, MLFLOW_TRACKING_URI=store)
    monkeypatch.chdir(tmp_path)
    client = mlflow.MlflowClient(store)
    (experiment,) = [e for e in client.search_experiments() if e.name == "tried"]
    (run,) = client.search_runs([experiment.experiment_id])
    for name in ("loss", "grad_norm"):
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted(point.step for point in history) == list(range(1, 41))
    history = client.get_metric_history(run.info.run_id, "test/loss")
    assert sorted(point.step for point in history) == [10, 20, 30, 40]
    assert run.data.metrics["test/loss"] == pytest.approx(result["metrics"]["test/loss"])
    assert run.data.params["optimizer.learning_rate"] == "0.1" and run.data.tags["who"] == "me"
    assert run.data.tags["jaxdl.checkpoint"].endswith("run/checkpoints/40")
    assert run.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"config.json", "result.json", "figures"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said", "variables"),
    [
        (
            "wandb",
            "not logged in; run `wandb login`",
            {"WANDB_MODE": "online", "NETRC": "/nowhere"},
        ),
        ("mlflow", "MlflowException", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}),
    ],
)
def test_without_a_network_training_goes_on_and_says_so_once(tmp_path, name, said, variables):
    pytest.importorskip(name)
    (tmp_path / "killed21").touch()
    (tmp_path / "killed19").touch()
    status, told = train(tmp_path, (name,), **variables)
    assert status == 0 and Run(tmp_path / "run").result()["step"] == 40
    assert told.count("the run goes on without") == 1 and said in told
