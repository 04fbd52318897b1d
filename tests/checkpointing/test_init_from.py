"""`config.init_from`: what a run starts from, where it has no checkpoint yet."""

import re

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdl.checkpointing import weight_files
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.checkpointing.weight_names import flat, to_torch
from jaxdl.cli.main import main
from jaxdl.errors import UserError
from jaxdl.training.build import build_experiment
from jaxdl.training.loop import train_experiment
from jaxdl.training.settings import Training

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mnist_cnn", "widths": (4,), "kernels": (3,), "strides": (2,), "dense": 8},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 50, "steps": 3, "ema_decay": 0.5, "evaluate": ()},
}
FROZEN = {**CONFIG["optimizer"], "groups": (("^Dense_1/", {}), (".*", None))}
PARAMETERS, STATISTICS = 6, 4


def trained(folder, config):
    """The state that training ends with, as flat dicts: (parameters, their average, the rest)."""
    run = Run(folder)
    run.claim(config)
    train_experiment(build_experiment(config), run)
    state = Checkpoints(run.checkpoints).read()
    return flat(state["params"], {}), flat(state["ema"], {}), flat({}, state["model_state"])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run, what it has learnt, and the same as a file of PyTorch's kind."""
    folder = tmp_path_factory.mktemp("source")
    _, average, statistics = trained(folder / "run", CONFIG)
    state = Checkpoints(folder / "run" / "checkpoints").read()
    arrays = to_torch(state["ema"], state["model_state"])
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(arrays, folder / "a.safetensors")
    (folder / "hub").mkdir()  # a folder as Hugging Face has it
    save_file(arrays, folder / "hub" / "model.safetensors")
    save_file({f"net.{k}": v for k, v in arrays.items()}, folder / "prefixed.safetensors")
    return folder, {**average, **statistics}


@pytest.fixture
def run(tmp_path, call):
    """Runs a command on CONFIG with these settings: (exit status, stdout, stderr)."""

    def run(command, init_from, *words, **changes):
        config = {**CONFIG, **changes, "init_from": init_from}
        (tmp_path / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
        return call(command, "--config", tmp_path / "config.py", *words)

    return run


@pytest.mark.parametrize("name", ["run", "a.safetensors", "hub"])
def test_a_run_starts_from_what_was_learnt(source, name):
    folder, learnt = source
    experiment = build_experiment({**CONFIG, "init_from": str(folder / name)})
    fresh = experiment.init()
    filled = experiment.init_from.fill(fresh.params, fresh.model_state)
    assert str(filled) == f"{PARAMETERS + STATISTICS} loaded, 0 fresh, 0 unused"
    state = experiment.init((filled.params, filled.model_state))
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    for tree in (state.params, state.ema):
        found = flat(tree, state.model_state)
        assert set(found) == set(learnt)
        for path, array in found.items():
            np.testing.assert_array_equal(array, learnt[path], err_msg=path)


@pytest.mark.parametrize("settled", [False, True])
def test_fine_tuning_moves_the_head_alone(source, tmp_path, capsys, settled):
    folder, learnt = source
    training = {**CONFIG["training"], "freeze_statistics": settled}
    start = {"path": str(folder / "a.safetensors"), "exclude": ("^Dense_1/",)}
    config = {**CONFIG, "init_from": start, "optimizer": FROZEN, "seed": 5}
    config["training"] = training
    params, average, statistics = trained(tmp_path / "run", config)
    said = capsys.readouterr().out
    told = f"init_from {start['path']}: 8 loaded, 2 fresh (Dense_1/bias, Dense_1/kernel), 2 unused"
    assert told in said
    for path, array in params.items():
        for found in (array, average[path]):
            same = np.array_equal(found, learnt[path])
            assert same == (not path.startswith("Dense_1/")), path
    for path, array in statistics.items():  # unless told to stay, they follow the batches
        assert np.array_equal(array, learnt[path]) == settled, path


def test_a_checkpoint_comes_first(source, run, tmp_path):
    folder, _ = source
    weights, workdir = tmp_path / "b.safetensors", tmp_path / "run"
    weights.write_bytes((folder / "a.safetensors").read_bytes())
    status, out, err = run("train", str(weights), "--workdir", workdir)
    assert (status, err) == (0, "") and "init_from" in out
    weights.unlink()
    (workdir / "result.json").unlink()
    status, out, err = run("train", str(weights), "--workdir", workdir)
    assert (status, err) == (0, "") and "resumed at step 3" in out and "init_from" not in out
    main(["evaluate", "--workdir", str(workdir)])
    status, _, err = run("train", str(weights), "--workdir", tmp_path / "other")
    assert status == 2 and "b.safetensors" in err
    assert not (tmp_path / "other" / "config.json").exists()


def test_check_tells_what_is_loaded(source, run):
    start = {"path": str(source[0] / "prefixed.safetensors"), "rename": ((r"^net\.", ""),)}
    status, out, err = run("check", start)
    assert (status, err) == (0, "")
    assert re.search(r"^init_from   .*prefixed.safetensors: 10 loaded, 0 fresh, 0 un", out, re.M)


def test_a_file_is_read_once(source, run, tmp_path, monkeypatch):
    read, paths = weight_files.read, []
    monkeypatch.setattr(weight_files, "read", lambda path: paths.append(path) or read(path))
    status, _, err = run("train", str(source[0] / "a.safetensors"), "--workdir", tmp_path / "run")
    assert (status, err, len(paths)) == (0, "", 1)


WRONG = {
    "no file": ("gone.pth", "gone.pth: cannot be read (No such file"),
    "no weight file": (__file__, "they end in .safetensors"),
    "nothing": ("", "path: is empty; give a weight file"),
    "no run": (".", "no checkpoint yet"),
    "a number": (3, "config.init_from: expected"),
    "no path": ({}, "config.init_from.path: missing"),
    "unknown key": ({"path": "FILE", "exlude": ()}, "did you mean 'exclude'"),
    "a text": ({"path": "FILE", "exclude": "^fc/"}, "config.init_from.exclude: expected"),
    "no expression": ({"path": "FILE", "exclude": ("(",)}, "exclude[0]: '(' is not a regular exp"),
    "no replacement": ({"path": "FILE", "rename": (("a", r"\1"),)}, "'a' -> '\\\\1' is not a repl"),
    "no pair": ({"path": "FILE", "rename": (("a",),)}, "config.init_from.rename: expected"),
    "idle exclude": ({"path": "FILE", "exclude": ("^fc/",)}, "exclude: '^fc/' matches none of"),
    "idle rename": ({"path": "FILE", "rename": (("^fc", "x"),)}, "rename: '^fc' matches no name"),
    "one name": ({"path": "FILE", "rename": (("^.*$", "x"),)}, "gives two arrays the same name"),
    "other names": ({"path": "FILE", "rename": (("Dense_1", "fc"),)}, "2 missing: Dense_1/bias"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_cannot_be_started_from(source, run, tmp_path, fault):
    start, told = WRONG[fault]
    if isinstance(start, dict) and "path" in start:
        start = {**start, "path": str(source[0] / "a.safetensors")}
    status, _, err = run("train", start, "--workdir", tmp_path / "run")
    assert status == 2 and told in err and len(err.splitlines()) == 1, err
    assert "config.init_from" in err and not (tmp_path / "run" / "config.json").exists()


def test_what_cannot_be_read_is_told_before_the_data_is_read(run):
    data = {"source": "arrays", "train": "gone.npz"}
    assert "gone.pth" in run("check", "gone.pth", data=data)[2]
    assert "gone.npz" in run("check", None, data=data)[2]


def test_another_network_does_not_fit(source, run):
    model = {**CONFIG["model"], "dense": 9}
    status, _, err = run("check", str(source[0] / "run"), model=model)
    assert status == 2 and len(err.splitlines()) == 1
    assert "Dense_0/kernel (float32[64, 8], here float32[64, 9])" in err


def test_statistics_of_models_with_a_carry_cannot_be_frozen():
    with pytest.raises(UserError, match="freeze_statistics and carry exclude each other"):
        Training(carry=True, freeze_statistics=True)


def test_a_prefix_is_told_with_the_rename_that_fits(source, run):
    folder, _ = source
    status, _, said = run("check", {"path": str(folder / "prefixed.safetensors")})
    assert status == 2 and r"rename=(('^net\\.', ''),)" in said.replace(r"\.", r"\\.")
    rename = (("^net\\.", ""),)
    assert run("check", {"path": str(folder / "prefixed.safetensors"), "rename": rename})[0] == 0
