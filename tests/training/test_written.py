"""Runs that earlier versions wrote are read, evaluated, used and gone on with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.manifest import verify
from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.synthetic.builtin import digits
from jaxdl.training.state import digest

FOLDERS = sorted(Path(__file__).parent.glob("written_by_*"))


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request, tmp_path):
    """A copy of a run, for commands write."""
    return Path(shutil.copytree(request.param, tmp_path / "run"))


def test_there_is_one():
    assert FOLDERS and all((folder / "checkpoints" / "8").is_dir() for folder in FOLDERS)


def test_every_array_is_restored_to_the_bit(folder):
    assert [verify(path) for path in (folder / "checkpoints").iterdir()] == [None, None]
    state = Checkpoints(folder / "checkpoints").read()
    assert digest(state["params"]) == Run(folder).result()["params_sha256"]
    assert {"params", "model_state", "opt_state", "ema", "step", "seed"} <= set(state)


def test_it_is_evaluated_and_used(folder, call, tmp_path):
    result = Run(folder).result()
    status, out, err = call("evaluate", "--workdir", folder)
    assert (status, err) == (0, "") and "step 8" in out
    for name, value in result["metrics"].items():
        told = next(line.split()[1] for line in out.splitlines() if line.startswith(name))
        assert float(told) == pytest.approx(value, rel=1e-4)
    Image.fromarray(digits()["test"].columns["image"][0][..., 0]).save(tmp_path / "0.png")
    status, out, err = call("predict", "--workdir", folder, tmp_path / "0.png", "--top", "10")
    assert (status, err) == (0, "") and len(out.splitlines()) == 11


def test_it_goes_on_from_where_it_was(folder, call):
    """From its fourth step: to rounding on other machines, the same losses and parameters."""
    run = Run(folder)
    before, whole = run.history(), Checkpoints(run.checkpoints).read()
    shutil.rmtree(run.checkpoints / "8")
    (folder / "result.json").unlink()
    status, out, _ = call("train", "--workdir", folder)
    assert status == 0 and "step 8" in out and json.loads((folder / "result.json").read_text())
    after = run.history()
    assert after[:4] == before[:4] and len(after) == len(before)
    for new, old in zip(after, before, strict=True):
        told = {name: new[name] for name in old}  # today more is told
        assert told == pytest.approx(old, rel=1e-3)
    again = Checkpoints(run.checkpoints).read()
    for new, old in zip(again["params"].values(), whole["params"].values(), strict=True):
        for name in old:
            np.testing.assert_allclose(new[name], old[name], rtol=1e-3, atol=1e-4)
