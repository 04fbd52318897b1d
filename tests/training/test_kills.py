"""What may end a run, at any moment: it goes on as if nothing had been."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxdl import config as cfg
from jaxdl import signals
from jaxdl.checkpointing import checkpoints
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import SPEED, Run
from jaxdl.data.loader import DeviceLoader
from jaxdl.errors import UserError
from jaxdl.overrides import override
from jaxdl.parallel.mesh import Devices
from jaxdl.training import loop, recorder, timing
from jaxdl.training.build import NODES, build_experiment
from jaxdl.training.experiment import Experiment
from jaxdl.training.measure import Measure

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": (256,), "dropout": 0.2},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {
        "batch_size": 50,
        "steps": 40,
        "log_every": {"steps": 1},
        "evaluate_every": {"steps": 20},
        "checkpoint_every": {"steps": 8},
        "best": {"metric": "validation/loss", "smaller": True},
    },
}
LONG = {**CONFIG, "training": {**CONFIG["training"], "steps": 300_000}}  # more than 25 starts take
INTERVAL = 500  # steps from one checkpoint to the next
LONG["training"] |= {"evaluate_every": {"steps": 20_000}, "checkpoint_every": {"steps": INTERVAL}}
LONG["training"] |= {"log_every": {"steps": 50}}


TASKS = ("digits_cnn", "driving_pilotnet", "shapes_fcos", "shakespeare_lstm", "captions_lstm")


def claimed(folder, config):
    run = Run(folder)
    run.claim(config)
    return run


def train(run):
    """The result, from what the directory holds."""
    return loop.train_experiment(build_experiment(run.config()), run)


def start(folder, blocks="unlimited"):
    """Train in a process of its own, whose files can have so many blocks of 1,024 bytes."""
    words = [sys.executable, "-m", "jaxdl", "train", "--workdir", str(folder)]
    words = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "-", *words]
    return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def saved(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").glob("[0-9]*"))


def told(run):
    """What was logged and found, the time it took aside."""
    kept = ("params_sha256", "metrics", "best", "step", "examples")
    timed = ("seconds", *SPEED)
    history = [{k: v for k, v in line.items() if k not in timed} for line in run.history()]
    return history, {name: run.result()[name] for name in kept}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = claimed(tmp_path_factory.mktemp("undisturbed"), CONFIG)
    train(run)
    return told(run)


PHASES = {
    "compile": (Devices, "lowered_step"),
    "evaluate": (Measure, "__call__"),
    "save": (Checkpoints, "save"),
    "wait for data": (Experiment, "loader"),
    "log": (Run, "log"),
}


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_stops_it_in_any_phase(undisturbed, tmp_path, monkeypatch, phase, twice):
    run, (owner, name) = claimed(tmp_path, CONFIG), PHASES[phase]
    called, times = getattr(owner, name), [2 if twice else 1]

    def signalled(*args, **options):
        while times[0]:
            times[0] -= 1
            os.kill(os.getpid(), signal.SIGTERM)
        return called(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled)
        with pytest.raises(SystemExit) as stopped:
            train(run)
    assert stopped.value.code == 128 + signal.SIGTERM and run.result() is None
    begun = phase not in ("compile", "wait for data")  # else there is nothing to save
    assert twice or bool(saved(tmp_path)) == begun
    train(run)
    assert told(run) == undisturbed


def test_the_best_is_kept_and_named(tmp_path):
    training = CONFIG["training"] | {"keep": 1, "evaluate_every": {"steps": 4}, "steps": 60}
    # The least accuracy, which is the first.
    training["best"] = {"metric": "validation/accuracy", "smaller": True}
    run = claimed(tmp_path, {**CONFIG, "training": training})
    result = train(run)
    assert result["best"]["step"] == 4 and saved(tmp_path) == [4, 60]
    assert result["best"]["value"] < result["metrics"]["validation/accuracy"] - 0.1
    assert int(Checkpoints(run.checkpoints, best=True).read()["step"]) == 4
    assert int(Checkpoints(run.checkpoints).read()["step"]) == 60


def test_without_a_metric_there_is_no_best(tmp_path):
    training = {k: v for k, v in CONFIG["training"].items() if k != "best"}
    run = claimed(tmp_path, {**CONFIG, "training": training})
    assert train(run)["best"] is None
    with pytest.raises(UserError, match=r"no best checkpoint; set config\.training\.best"):
        Checkpoints(run.checkpoints, best=True).read()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run = claimed(tmp_path / "a", CONFIG)
    train(run)
    training = CONFIG["training"] | {"batch_size": 60}
    other = claimed(tmp_path / "b", {**CONFIG, "training": training, "seed": 1})
    run.checkpoints.rename(other.checkpoints)
    with pytest.raises(UserError, match=r"belong to another run \(.*seed.*batch_size: 50 -> 60"):
        train(other)
    assert saved(tmp_path / "b") == [24, 32, 40]


def test_one_writes_at_a_time(tmp_path, call):
    run = claimed(tmp_path, CONFIG)
    with run.locked():
        status, _, said = call("train", "--workdir", tmp_path)
        assert status == 2 and f"process {os.getpid()} on {os.uname().nodename} is training" in said
    assert not saved(tmp_path)


def test_a_lock_goes_with_its_owner(tmp_path):
    hold = "import time; from jaxdl.checkpointing.run_directory import Run\n"
    hold += f"with Run({str(tmp_path)!r}).locked():\n"
    hold += " print('held', flush=True)\n time.sleep(600)"
    owner = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=f"process {owner.pid} on "), Run(tmp_path).locked():
        pass
    owner.kill()
    owner.wait()
    with Run(tmp_path).locked():
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("owner", ["nobody", "another"])
def test_a_run_whose_lock_is_lost_stops_and_deletes_nothing(tmp_path, monkeypatch, owner):
    run, take = claimed(tmp_path, CONFIG), DeviceLoader.take
    theirs = run.checkpoints / "partial-24" / "theirs"

    def lose(feed, step, n):
        if step >= 16 and not theirs.exists():
            (tmp_path / "lock").unlink()
            if owner == "another":
                others.enter_context(Run(tmp_path).locked())
            theirs.mkdir(parents=True)
        return take(feed, step, n)

    monkeypatch.setattr(timing, "_CALL_SECONDS", 0)  # so that a call is one step
    monkeypatch.setattr(DeviceLoader, "take", lose)
    with contextlib.ExitStack() as others:
        with run.locked(), pytest.raises(UserError, match="lock: was deleted or replaced while"):
            train(run)
        assert theirs.exists() and (tmp_path / "lock").exists() == (owner == "another")
        assert saved(tmp_path) in ([8], [8, 16]) and run.result() is None


@pytest.mark.parametrize("when", ["digests", "result"])
def test_a_lock_that_is_lost_later_counts_too(tmp_path, monkeypatch, when):
    """While a checkpoint is written in the background, and before the result."""
    place = recorder if when == "result" else checkpoints
    run = claimed(tmp_path, CONFIG)
    name = "digest" if when == "result" else when
    called = getattr(place, name)

    def lose(*args):
        (tmp_path / "lock").unlink(missing_ok=True)
        return called(*args)

    monkeypatch.setattr(place, name, lose)
    with run.locked(), pytest.raises(UserError, match="lock: was deleted or replaced while"):
        train(run)
    assert run.result() is None and saved(tmp_path) == ([24, 32, 40] if when == "result" else [])


def test_data_that_never_comes_is_not_waited_for_after_a_signal(undisturbed, tmp_path, monkeypatch):
    run, make, over = claimed(tmp_path, CONFIG), DeviceLoader.make, threading.Event()

    def hang(feed, step, n):
        if step >= 10 and not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            over.wait(60)
        return make(feed, step, n)

    with monkeypatch.context() as patch:
        patch.setattr(signals, "_TIMEOUT", 0.1)
        patch.setattr(DeviceLoader, "make", hang)
        with pytest.raises(SystemExit) as stopped:
            train(run)
    over.set()
    assert stopped.value.code == 128 + signal.SIGTERM and saved(tmp_path)
    train(run)
    assert told(run) == undisturbed


def test_figures_that_cannot_be_written_end_no_run(undisturbed, tmp_path, monkeypatch, caplog):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = claimed(tmp_path, CONFIG)
    monkeypatch.setattr("jaxdl.figures.replace_bytes", full)
    monkeypatch.setattr("jaxdl.trackers.tensor_board.append_bytes", full)
    train(run)
    assert told(run) == undisturbed
    said = [record.getMessage() for record in caplog.records if record.name == "jaxdl"]
    assert len(said) == 2 and all(text.endswith("the run goes on without") for text in said)


def test_a_full_disk_is_told_and_nothing_is_lost(undisturbed, tmp_path):
    run = claimed(tmp_path, CONFIG)
    process = start(tmp_path, blocks=20)  # room for logs, and for no checkpoint
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and said.count("cannot save a checkpoint") == 1, said
    assert not saved(tmp_path)
    train(run)
    assert told(run) == undisturbed


@pytest.mark.parametrize(
    "size",
    ["24k", *(pytest.param(size, marks=pytest.mark.slow) for size in ("40k", "250k", "700k"))],
)
def test_a_disk_that_runs_full_keeps_the_checkpoints_that_fitted(undisturbed, tmp_path, size):
    """A small file system of its own, that has room for some of the checkpoints."""
    run, disk = claimed(tmp_path / "run", CONFIG), tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size={size} none {disk} || exit 99
        cp -r {run.folder}/. {disk}
        {sys.executable} -m jaxdl train --workdir {disk}; status=$?
        cp -r {disk}/. {run.folder}; exit $status
    """
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    try:
        ended = subprocess.run(words, text=True, capture_output=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if ended.returncode == 99 or ended.stderr.startswith("unshare:"):
        pytest.skip("no file system may be mounted here")
    assert ended.returncode == 2, ended.stderr
    told_all, primary = ended.stderr.splitlines(), "make room and run again"
    assert told_all[-1].startswith("jaxdl: ") and told_all[-1].endswith(primary)
    assert all(line.endswith("the run goes on without") for line in told_all[:-1]), ended.stderr
    assert saved(run.folder) or size != "700k"
    train(run)
    assert told(run) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_resume_is_exact_at_every_step_of_every_task(tmp_path, monkeypatch, name):
    given = ("data.twin=true", "training.batch_size=16", "training.steps=8", "figures=()")
    given += ("training.log_every.steps=1", "training.checkpoint_every.steps=3")
    config = {**override(cfg.read(name), given, NODES), "target": None}
    expected = claimed(tmp_path / "whole", config)
    train(expected)
    for stop_at in range(1, 8):
        run = claimed(tmp_path / str(stop_at), config)
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(timing, "_CALL_SECONDS", 0)  # so that a call is one step
            patch.setattr(DeviceLoader, "take", signalled(DeviceLoader.take, stop_at))
            train(run)
        assert saved(run.folder)[-1] == stop_at
        train(run)
        assert told(run) == told(expected), stop_at


def signalled(take, stop_at):
    """`DeviceLoader.take`, with a signal while it waits for the input of the last step."""

    def run(feed, step, n):
        if step + n == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(feed, step, n)

    return run


@pytest.mark.slow
def test_any_number_of_kills_changes_nothing(tmp_path):
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    for folder in (whole, killed):
        claimed(folder, LONG)
    process, began, rng = start(whole), time.time(), random.Random(0)
    while not saved(whole):
        time.sleep(0.01)
    startup = time.time() - began
    assert process.wait() == 0
    for _ in range(25):
        process = start(killed)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, startup + 1))
        process.kill()
        process.wait()
        logged, steps = [line["step"] for line in Run(killed).history()], saved(killed)
        assert not logged or max(logged) - (steps[-1] if steps else 0) <= 2 * INTERVAL
    assert start(killed).wait() == 0
    assert told(Run(killed)) == told(Run(whole))
