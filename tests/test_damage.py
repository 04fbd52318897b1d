"""Tables of damage: whatever happens to the files of a run is named or harmless, never believed.

What is pickled is in `tests/data/sources/test_arrays.py` and in
`tests/checkpointing/test_weight_files.py`.
"""

import json
import logging
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.manifest import verify
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError

CONFIG = {
    "data": {"source": "blobs"},
    "model": {"name": "mlp", "outputs": None},
    "task": {"name": "classification", "classes": 2, "input": "features"},
    "optimizer": {"name": "adam", "learning_rate": 0.1},
    "training": {"batch_size": 50, "steps": 8, "log_every": {"steps": 1},
                 "checkpoint_every": {"steps": 4}, "keep": 2},
}  # fmt: skip
DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, with checkpoints of steps 4 and 8."""
    from jaxdl.cli.main import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "config.py").write_text(f"def get_config():\n    return {CONFIG!r}\n")
    main(["train", "--config", str(folder / "config.py"), "--workdir", str(folder / "run")])
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def newest(run):
    """The newest of its checkpoints."""
    return run / "checkpoints" / "8"


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def contents(folder):
    """Path -> bytes of all files."""
    return {path: path.read_bytes() for path in files(folder)}


def restored_step(run, caplog):
    """The step of the checkpoint that is used, once the newest is told to be damaged."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        step = int(Checkpoints(run / "checkpoints").read()["step"])
    assert "trying the checkpoint before it" in caplog.text
    return step


# ---- Checkpoints


def test_of_200_flipped_bits_each_is_named_and_the_previous_used(run, newest, caplog):
    rng, there = np.random.default_rng(0), files(newest)
    assert len(there) > 8
    for i in range(200):
        path = there[i % len(there)]
        sound = path.read_bytes()
        damaged = bytearray(sound)
        bit = int(rng.integers(8 * len(sound)))
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        name, fault = str(path.relative_to(newest)), verify(newest)
        assert fault and (name in fault or name == "manifest.json")  # which may belie another
        if i < len(there):  # one in each file
            assert restored_step(run, caplog) == 4
        path.write_bytes(sound)
    assert verify(newest) is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_of_a_checkpoint_counts(newest, damage):
    for path in files(newest):
        sound = path.read_bytes()
        DAMAGES[damage](path)
        assert str(path.relative_to(newest)) in verify(newest)
        path.write_bytes(sound)
    assert verify(newest) is None


def test_where_all_are_bad_every_command_stops_and_nothing_is_deleted(run, call):
    for step in ("4", "8"):
        for path in files(run / "checkpoints" / step):
            path.write_bytes(path.read_bytes()[:-1])
    (run / "result.json").unlink()
    before = contents(run / "checkpoints")
    for command in (
        ("train", "--workdir", run),
        ("evaluate", "--workdir", run),
        ("export", "--workdir", run, "--output", run.parent / "exported"),
        ("inspect", run),
    ):
        status, out, err = call(*command)
        assert status == 2 and "damaged" in err, command
        assert "step 1/" not in out and "Traceback" not in err
    assert contents(run / "checkpoints") == before and not (run / "result.json").exists()


# ---- The other files of a run


@pytest.mark.parametrize("damage", [*DAMAGES, "hollow", "not text"])
@pytest.mark.parametrize(
    "name", ["config.json", "data.json", "environment.json", "metrics.jsonl", "result.json"]
)
def test_a_damaged_file_of_a_run_is_named_or_harmless(run, call, name, damage):
    """Its last checkpoint lost, a run is resumed: with the same result, or not at all."""
    whole, kept = Run(run).result(), run / "checkpoints" / "4"
    if name != "result.json":
        (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints" / "8")
    others = {"hollow": b"{}\n", "not text": b"\xff[1]}\n"}
    if damage in others:
        (run / name).write_bytes(others[damage])
    else:
        DAMAGES[damage](run / name)
    before = contents(run / "checkpoints")
    status, _, err = call("train", "--workdir", run)
    if status:
        assert status == 2 and err.count("\n") == 1 and ("config" in err or name in err)
        assert contents(run / "checkpoints") == before
    else:
        assert Run(run).result()["params_sha256"] == whole["params_sha256"]
        assert Run(run).result()["metrics"] == whole["metrics"]
        assert verify(kept) is None


@pytest.mark.parametrize(
    "command", [("evaluate",), ("export", "--output", "new"), ("predict", __file__), ("sample",)]
)
@pytest.mark.parametrize("damage", [b"", b"{}", b'{"task": 1}', b"[1]", b"\xff"])
def test_no_command_believes_a_damaged_config(run, call, command, damage):
    (run / "config.json").write_bytes(damage)
    status, _, err = call(*command, "--workdir", run)
    assert status == 2 and err.count("\n") == 1 and "config" in err


# ---- What somebody made up


def forged(folder, change):
    """The manifest of a checkpoint, changed."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["../4/contents.json", "../../config.json", "/etc/hostname", ""])
def test_names_that_lead_elsewhere_are_refused(run, newest, name, caplog):
    forged(newest, lambda manifest: manifest["sha256"].update({name: "0" * 64}))
    assert f"{newest}: {name} is missing" == verify(newest)
    assert restored_step(run, caplog) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(sha256=[[1, 2], ["state", 3]]),
        lambda m: m.update(sha256="../4"),
        lambda m: m.update(sha256={}),
        lambda m: m.update(step="8"),
        lambda m: m.update(step=[8]),
        lambda m: m.clear(),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(run, newest, change, caplog):
    forged(newest, change)
    assert "\n" not in verify(newest)
    assert restored_step(run, caplog) == 4


def test_a_manifest_without_an_end_is_refused(newest):
    (newest / "manifest.json").write_text("[" * 100_000)
    assert "no readable manifest.json" in verify(newest)


def test_symbolic_links_are_refused(run, newest, tmp_path, caplog):
    """Though what they lead to be sound: it is not the checkpoint's own, and may change."""
    (tmp_path / "outside").mkdir()
    for path in (newest / "state", newest / "contents.json", newest):
        outside = tmp_path / "outside" / path.name
        path.rename(outside)
        path.symlink_to(outside)
        assert verify(newest), path
        assert restored_step(run, caplog) == 4
        path.unlink()
        outside.rename(path)
    assert verify(newest) is None


@pytest.mark.parametrize("name", ["08", "٨", "+8", "8.0", "..", "damaged-8", "partial-8"])
def test_only_plain_numbers_are_checkpoints(run, name):
    if name != "..":
        shutil.copytree(run / "checkpoints" / "4", run / "checkpoints" / name)
    assert Checkpoints(run / "checkpoints").steps() == [4, 8]


@pytest.mark.parametrize("name", ["partial-12", "damaged-12", "12"])
def test_saving_writes_and_deletes_nothing_outside(run, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (run / "checkpoints" / name).symlink_to(outside)
    like = {"w": jax.numpy.arange(3.0)}
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    try:
        checkpoints.save(12, like)
        checkpoints.wait()
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert verify(run / "checkpoints" / "12") is None
    assert [path.name for path in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["partial-12", "damaged-12", "12", "2"])
def test_a_pipe_among_the_checkpoints_is_not_waited_for(run, name):
    os.mkfifo(run / "checkpoints" / name)
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    if name in ("12", "2"):
        checkpoints.save(12, {"w": jax.numpy.arange(3.0)})
        checkpoints.wait()
        assert verify(run / "checkpoints" / "12") is None
    else:
        shutil.copytree(run / "checkpoints" / "4", run / "checkpoints" / "12")
        with pytest.raises(UserError, match=f"'{name}' is a named pipe"):
            checkpoints.save(12, {"w": jax.numpy.arange(3.0)})
