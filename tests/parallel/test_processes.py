"""Several processes that train one model: real ones, on this machine."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxdl.cli.main import main

OVERRIDES = {
    "data.source": "digits",
    "model.name": "mlp",
    "model.outputs": 10,
    "model.hidden": (1024, 128),
    "training.batch_size": 48,
    "training.eval_batch_size": 100,
    "training.steps": 400,
    "training.log_every.steps": 1,
    "training.evaluate_every.steps": 400,
    "training.checkpoint_every.steps": 20,
    "placement": "fsdp",  # so that each process saves arrays of its own
    "figures": (),
    # So many steps would make much of float32's rounding, which is another on each mesh.
    **{f"precision.{name}": "float64" for name in ("params", "compute", "output")},
}


def command(workdir, *words, **overrides):
    given = [f"--config.{name}={value}" for name, value in (OVERRIDES | overrides).items()]
    start = [sys.executable, "-m", "jaxdl", "train", "--config", "mnist_mlp"]
    return [*start, "--workdir", str(workdir), *given, *words]


def start(words, devices, log):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(words, env=environment, text=True, stdout=log, stderr=log)


class Team:
    """Processes of one run, and what they print."""

    def __init__(self, tmp_path, number, timeout=60, **last):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        self.workdir = tmp_path / "run"
        self.logs = [(tmp_path / f"{i}.log").open("w+") for i in range(number)]
        team = ("--distributed", address, "--processes", str(number), "--timeout", str(timeout))
        self.processes = []
        for i, log in enumerate(self.logs):
            overrides = last if i == number - 1 else {}
            words = command(self.workdir, *team, "--process", str(i), **overrides)
            self.processes.append(start(words, 1, log))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process, log in zip(self.processes, self.logs, strict=True):
            process.kill()
            process.wait()
            log.close()

    def until(self, step):
        """Wait for the checkpoint of a step, or a later one."""
        folder = self.workdir / "checkpoints"
        while not any(p.name.isdecimal() and int(p.name) >= step for p in folder.glob("*")):
            assert all(process.poll() is None for process in self.processes), self.said()
            time.sleep(0.02)

    def codes(self, timeout=400):
        return [process.wait(timeout) for process in self.processes]

    def said(self):
        for log in self.logs:
            log.seek(0)
        return [log.read() for log in self.logs]


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process on one device."""
    folder = tmp_path_factory.mktemp("alone")
    main(command(folder, devices=1)[3:])
    return folder


def same(workdir, alone):
    """Whether a run of many came to what the one of one did."""
    np.testing.assert_allclose(losses(workdir), losses(alone), rtol=1e-5)
    ended, expected = (json.loads((f / "result.json").read_text()) for f in (workdir, alone))
    assert ended["step"] == 400 and ended["examples"] == expected["examples"]
    assert ended["metrics"] == pytest.approx(expected["metrics"], rel=1e-4)


def test_two_are_stopped_together_and_one_goes_on(alone, tmp_path):
    with Team(tmp_path, 2) as team:
        team.until(20)
        team.processes[1].send_signal(signal.SIGTERM)  # one is asked, both stop
        assert team.codes() == [143, 143], team.said()
        assert "and saved; run again to resume" in team.said()[0] and "saved" not in team.said()[1]
    with open(tmp_path / "log", "w+") as log:
        assert start(command(team.workdir), 2, log).wait() == 0
        log.seek(0)
        assert "resumed at step" in log.read()
    same(team.workdir, alone)
    assert not list(team.workdir.glob(".*")) and len(losses(team.workdir)) == 400


WRONG = {
    "no port": (["--distributed", "here"], "--distributed here: give HOST:PORT of process 0"),
    "no cluster": (["--distributed"], "--distributed auto: cannot join"),
    "no index": (["--distributed", "here:1", "--processes", "2"], "give both --processes N and"),
    "index": (
        ["--distributed", "here:1", "--processes", "2", "--process", "2"],
        "--process 2: with --processes N, give 0 to N - 1",
    ),
    "none": (["--distributed", "h:1", "--processes", "0", "--process", "0"], "--processes: expect"),
    "timeout": (["--distributed", "--timeout", "0"], "--timeout: expected at least 1 second"),
    "alone": (["--processes", "2"], "--processes: needs --distributed"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line(call, tmp_path, mistake):
    words, message = WRONG[mistake]
    status, _, said = call("train", "--config", "mnist_mlp", "--workdir", tmp_path / "run", *words)
    assert status == 2 and said.startswith("jaxdl: ") and message in said
    assert said.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_four_come_to_the_same(alone, tmp_path):
    with Team(tmp_path, 4) as team:
        assert team.codes(600) == [0] * 4, team.said()
    same(team.workdir, alone)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_is_killed_the_other_ends_and_all_resume(alone, tmp_path, killed):
    for _ in range(3):
        with Team(tmp_path, 2, timeout=60) as team:
            saved = sorted(int(p.name) for p in (team.workdir / "checkpoints").glob("[0-9]*"))
            team.until(saved[-1] + 40 if saved else 20)
            time.sleep(random.random())
            team.processes[killed].kill()
            assert team.processes[1 - killed].wait(70) not in (0, None), team.said()
    with Team(tmp_path, 2) as team:
        assert team.codes(600) == [0, 0], team.said()
    same(team.workdir, alone)


@pytest.mark.slow
@pytest.mark.parametrize("stalled", [0, 1])
def test_where_one_stalls_the_other_ends(tmp_path, stalled):
    with Team(tmp_path, 2, timeout=40) as team:
        team.until(20)
        team.processes[stalled].send_signal(signal.SIGSTOP)
        assert team.processes[1 - stalled].wait(60) not in (0, None)
        assert "most recent call first" in team.said()[1 - stalled]  # where it stood


@pytest.mark.slow
def test_processes_that_differ_are_refused(tmp_path):
    with Team(tmp_path, 2, seed=1) as team:
        assert 0 not in team.codes(400)
        assert "process 1 has a different config from process 0" in "".join(team.said())
    assert not list(team.workdir.glob("checkpoints/*"))
