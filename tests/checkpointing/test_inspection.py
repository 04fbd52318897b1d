"""`jaxdl inspect`: what is there, and whether it is sound, whatever state it is in."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

WRITTEN = Path(__file__).parent.parent / "training" / "written_by_0_1"


@pytest.fixture
def run(tmp_path):
    """A copy of a finished run, with checkpoints of steps 4 and 8."""
    return Path(shutil.copytree(WRITTEN, tmp_path / "run"))


@pytest.fixture
def inspect(call):
    """Runs `jaxdl inspect`: (exit status, lines of stdout, stderr)."""

    def inspect(place):
        status, out, err = call("inspect", place)
        assert err.count("\n") == (status != 0)
        return status, out.splitlines(), err

    return inspect


def test_a_run(run, inspect):
    before = sorted(run.rglob("*"))
    status, lines, _ = inspect(run)
    result = json.loads((run / "result.json").read_text())
    assert status == 0 and sorted(run.rglob("*")) == before
    assert lines[0] == "model        mnist_cnn  widths (2,)  kernels (3,)  strides (2,)  dense 4"
    assert [line[:24] for line in lines[4:6]] == [
        "checkpoint   8  sound  w", "checkpoint   4  sound  w",
    ]  # fmt: skip
    (params,) = (line for line in lines if line.startswith("  params "))
    assert params == f"  params       6 arrays, {result['parameters']} numbers, 808 bytes"
    assert any(line.startswith("metrics      step 8  grad_norm ") for line in lines)
    assert any("test/loss 2.2" in line for line in lines)
    assert f"params_sha256 {result['params_sha256']}" in lines[-1]


def test_a_checkpoint_array_by_array(run, inspect):
    status, lines, _ = inspect(run / "checkpoints" / "8")
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    arrays = json.loads((run / "checkpoints" / "8" / "contents.json").read_text())["arrays"]
    assert status == 0 and set(arrays) < set(told)
    assert told["params/Conv_0/kernel"].split("  ")[0] == "float32[3, 3, 1, 2]"
    assert told["params/Conv_0/kernel"].endswith(f" {4 * 3 * 3 * 2} bytes")
    assert told["all"].startswith(f"{len(arrays)} arrays, ")


def test_weight_files(tmp_path, inspect):
    arrays = {"b": np.ones((2, 3), ml_dtypes.bfloat16), "a/w": np.ones(5)}
    save_file(arrays, tmp_path / "w.safetensors")
    status, lines, _ = inspect(tmp_path / "w.safetensors")
    assert status == 0 and [line.split() for line in lines] == [
        ["a/w", "float64[5]", "40", "bytes"],
        ["b", "bfloat16[2,", "3]", "12", "bytes"],
        ["all", "2", "arrays,", "11", "numbers,", "52", "bytes"],
    ]
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 99)
    status, _, err = inspect(tmp_path / "w.safetensors")
    assert status == 2 and "damaged" in err


def test_it_needs_no_accelerator_and_no_code(run):
    """A platform that is not there is not asked for, nor a model that is nowhere."""
    config = json.loads((run / "config.json").read_text())
    config["model"] = {"name": "nowhere:Net"}
    (run / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "jaxdl", "inspect", str(run)]
    elsewhere = {**os.environ, "JAX_PLATFORMS": "tpu"}
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "nowhere:Net" in done.stdout


def test_a_run_that_has_only_begun(run, inspect):
    for name in ("checkpoints", "result.json", "metrics.jsonl"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    status, lines, _ = inspect(run)
    assert status == 0 and lines[4:] == ["checkpoint   none yet", "result       none yet"]


def test_what_was_set_aside_is_told(run, inspect):
    (run / "checkpoints" / "8").rename(run / "checkpoints" / "damaged-8")
    status, lines, _ = inspect(run)
    assert status == 0 and "set aside    damaged-8" in lines


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (name, content)
        for name in ("checkpoints/8/contents.json", "checkpoints/8/manifest.json", "config.json",
                     "result.json")
        for content in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, None)
    ] + [
        ("checkpoints/8/contents.json", b'{"arrays": {"a": 1}}'),
        ("checkpoints/8/contents.json", b'{"arrays": {"a": "float32[2"}}'),
        ("checkpoints/8/contents.json", b'{"arrays": {"a": "wide[2]"}, "notes": 3}'),
        ("checkpoints/8/contents.json", b'{"arrays": [1]}'),
        ("checkpoints/8/state", None),
        ("checkpoints/8/state/_METADATA", b""),
    ],
)  # fmt: skip
def test_damage_is_told_beside_all_that_is_sound(run, inspect, name, content):
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    status, lines, err = inspect(run)
    text = "\n".join(lines)
    assert "checkpoint   4  sound" in text and "params " in text
    assert ("checkpoint   8  DAMAGED" in text) == name.startswith("checkpoints")
    if (name, content) == ("result.json", None):
        assert status == 0 and lines[-1] == "result       none yet"
    else:
        assert status == 2 and "damaged: " in err and str(run) in err
    if name.startswith("checkpoints"):
        assert inspect(run / "checkpoints" / "8")[0] == 2


def test_metrics_that_a_kill_cut_short_are_sound(run, inspect):
    (run / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    status, lines, _ = inspect(run)
    assert status == 0
    told = [line for line in lines if line.startswith("metrics")]
    assert told == ["metrics      step 1  loss 0.5"]


@pytest.mark.parametrize(
    "line", [b"[1]", b"\xff", b'{"loss": 1}', b'{"step": "2"}', b'{"step": 2, "loss": [1]}']
)
def test_damaged_metrics_are_told(run, inspect, line):
    (run / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 0.5}\n' + line + b"\n{}\n")
    status, lines, err = inspect(run)
    assert status == 2 and "metrics.jsonl line 2: " in err
    assert "metrics      step 1  loss 0.5" in lines


def test_what_holds_nothing_is_one_line(tmp_path, inspect):
    (tmp_path / "notes.txt").touch()
    for place, message in [
        (tmp_path, "not a run (no config.json), checkpoint or weight file"),
        (tmp_path / "none", "not found"),
        (tmp_path / "notes.txt", "not a weight file"),
    ]:
        status, lines, err = inspect(place)
        assert status == 2 and lines == [] and message in err


def resealed(checkpoint, change):
    """Contents of a checkpoint, changed by one who can write the hashes too."""
    contents, manifest = checkpoint / "contents.json", checkpoint / "manifest.json"
    said, seal = json.loads(contents.read_text()), json.loads(manifest.read_text())
    change(said)
    contents.write_text(json.dumps(said))
    seal["sha256"]["contents.json"] = hashlib.sha256(contents.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(seal))


KERNEL = "params/Conv_0/kernel"


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda c: c["arrays"].update({KERNEL: "float32[3, 3, 1, 9]"}), "contents.json is wrong"),
        (lambda c: c["arrays"].update({KERNEL: "bfloat16[3, 3, 1, 2]"}), "contents.json is wrong"),
        (lambda c: c["arrays"].update({"params/more": "float32[2]"}), "'absent' in state"),
        (lambda c: c["arrays"].pop(KERNEL), "'absent' in it"),
        (lambda c: c["arrays"].update({KERNEL: 3}), "not text"),
        (lambda c: c.update(arrays=[]), "arrays is [], not an object"),
        (lambda c: c.update(notes=3), "notes is 3"),
        (lambda c: c.pop("notes"), "no 'notes'"),
        (lambda c: c["notes"].update(wall_seconds="long"), "notes.wall_seconds"),
        (lambda c: c["notes"].update(best={"step": "4"}), "notes.best"),
    ],
)
def test_contents_that_are_not_of_what_is_stored_are_damage(run, inspect, change, fragment):
    resealed(run / "checkpoints" / "8", lambda contents: None)
    assert inspect(run)[0] == 0
    resealed(run / "checkpoints" / "8", change)
    status, lines, err = inspect(run)
    assert status == 2 and fragment in err
    assert "checkpoint   8  DAMAGED" in "\n".join(lines)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "result.json", "checkpoints"])
def test_a_pipe_at_the_top_of_a_run_is_not_waited_for(run, inspect, name):
    shutil.rmtree(run / name) if name == "checkpoints" else (run / name).unlink()
    os.mkfifo(run / name)
    status, _, err = inspect(run)
    assert status == 2 and f"'{name}' is a named pipe" in err


@pytest.mark.parametrize("name", ["manifest.json", "contents.json", "state/more"])
def test_a_pipe_in_a_checkpoint_is_not_waited_for(run, inspect, name):
    path = run / "checkpoints" / "8" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    status, _, err = inspect(run)
    assert status == 2 and f"'{path.name}' is a named pipe" in err
