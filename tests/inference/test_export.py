"""`jaxdl export`: what is written is run without jaxdl, and gives the same numbers."""

import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.checkpointing.weight_names import flat
from jaxdl.data.synthetic import builtin
from jaxdl.errors import UserError
from jaxdl.inference import export as module
from jaxdl.inference.export import export
from jaxdl.inference.restored import RestoredRun
from jaxdl.json_files import write_json
from jaxdl.tasks import Classification
from jaxdl.training.build import build_experiment
from jaxdl.training.evaluation import make_prediction, transformed

SCALE = {"name": "scale", "by": 1 / 16}
CNN = {
    "data": {"source": "digits", "transforms": (SCALE,)},
    "model": {"name": "mnist_cnn", "widths": (4,), "kernels": (3,), "strides": (2,), "dense": 8},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 50, "steps": 3, "ema_decay": 0.5, "evaluate": ()},
}
LINE = {
    "data": {"source": "polynomial"},
    "model": {"name": "polynomial", "order": 3},
    "task": {"name": "regression", "input": "x"},
    "optimizer": {"name": "least_squares"},
    "training": {"steps": 1, "evaluate": ()},
    "precision": {"params": "float64", "compute": "float64", "output": "float64"},
}
BOXES = {
    "data": {"source": "drawn_boxes", "size": (32, 48), "train_examples": 8,
             "transforms": ({"name": "scale"},)},
    "model": {"name": "tiny_detector:TinyDetector"},
    "task": {"name": "retinanet", "classes": 3, "threshold": 0.0, "limit": 20},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"batch_size": 4, "steps": 2, "evaluate": ()},
}  # fmt: skip
TEXT = {
    "data": {"source": "text", "path": "a.txt", "twin": True,
             "tokenize": {"tokens": {"text": "text", "by": "characters", "window": 12}}},
    "model": {"name": "language_model", "hidden": 8, "layers": 1},
    "task": {"name": "language_modeling"},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 20, "steps": 2, "evaluate": ()},
}  # fmt: skip
CONFIGS = {"digits": CNN, "line": LINE, "boxes": BOXES, "text": TEXT}

# Runs every export on the columns that are beside it; of digits, also on one example alone.
ELSEWHERE = """
import pathlib, sys
import jax, numpy as np
from jax import export
from safetensors.numpy import load_file

for folder in map(pathlib.Path, sys.argv[1:]):
    jax.config.update("jax_enable_x64", '"x64": true' in (folder / "model.json").read_text())
    weights = load_file(folder / "model.safetensors")
    model = export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    columns = dict(np.load(f"{folder}.columns.npz"))
    found = model.call(weights, columns)
    np.savez(f"{folder}.found.npz", **found)
    if folder.name == "digits":
        one = model.call(weights, {"image": columns["image"][:1]})
        np.testing.assert_allclose(one["outputs"], found["outputs"][:1], rtol=1e-5, atol=1e-6)
jax.config.update("jax_enable_x64", False)
"""
ALONE = """
assert not any(name.partition(".")[0] in ("jaxdl", "flax") for name in sys.modules)
"""


def snippet():
    """How the module says that an export is loaded."""
    after = module.__doc__.partition("run it:\n")[2]
    return textwrap.dedent(re.match(r"(?:    .*\n|\n)+", after)[0]).strip() + "\n"


def examples(name, columns):
    """Five examples of the columns that a program asks for."""
    rng = np.random.default_rng(0)
    given = {}
    for column, told in columns.items():
        assert told["shape"][0] == "batch"
        shape = (5, *told["shape"][1:])
        high = {"boxes": 256, "text": 40}.get(name, 17)
        given[column] = rng.integers(1, high, shape).astype(told["dtype"])
        if column == "extent":
            given[column] = np.tile(np.float32([32, 40]), (5, 1))
    return given


def noisy(tree, rng):
    """The tree with numbers that no two places share, all of them positive."""

    def noise(x):
        return x + jnp.asarray(rng.uniform(0.1, 0.5, x.shape), x.dtype)

    return jax.tree.map(noise, tree)


def begun(folder, config):
    """A run that has a checkpoint, as if it had learnt something."""
    experiment, run, rng = build_experiment(config), Run(folder), np.random.default_rng(1)
    run.claim(config)
    write_json(folder / "data.json", experiment.description)
    with experiment.precision.enabled():
        state = experiment.init()
        names = ("params", "model_state", "ema")
        learnt = {name: noisy(getattr(state, name), rng) for name in names}
        checkpoints = Checkpoints(run.checkpoints)
        checkpoints.save(3, replace(state, step=jnp.int32(3), **learnt))
        checkpoints.wait()
    return Run(folder, trust=["tiny_detector"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of a run of each kind; in `exported` what was made of it, and of five examples."""
    folder = tmp_path_factory.mktemp("runs")
    exported = folder / "exported"
    for name, config in CONFIGS.items():
        told = export(begun(folder / name, config), exported / name)
        np.savez(exported / f"{name}.columns.npz", **examples(name, told["inputs"]))
    away = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", ELSEWHERE + snippet() + ALONE, *CONFIGS]
    done = subprocess.run(command, cwd=exported, env=away, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 5  # what the snippet prints
    return folder


def found(runs, name):
    """The columns that a program was given, and what it made of them."""
    return (
        dict(np.load(runs / "exported" / f"{name}.{kind}.npz")) for kind in ("columns", "found")
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_without_jaxdl_the_predictions_are_the_same(runs, name):
    restored = RestoredRun(Run(runs / name, trust=["tiny_detector"]))
    columns, got = found(runs, name)
    with restored.precision.enabled():
        program = make_prediction(restored.model, restored.task, precision=restored.precision)
        expected = jax.jit(transformed(program, restored.transforms.always))(
            restored.state, columns
        )
    expected = expected if isinstance(expected, dict) else {"prediction": expected}
    assert set(got) - {"outputs"} == set(expected)
    for key, array in expected.items():
        assert got[key].dtype == array.dtype
        np.testing.assert_allclose(got[key], array, rtol=1e-5, atol=1e-6)


def test_outputs_are_those_of_the_average(runs):
    restored = RestoredRun(Run(runs / "digits"))
    columns, got = found(runs, "digits")
    inputs, state = (jnp.asarray(columns["image"], jnp.float32) / 16,), restored.state
    apply = jax.jit(
        lambda params: restored.model.apply(params, state.model_state, inputs, None, False)
    )
    expected, others = apply(state.ema)[0], apply(state.params)[0]
    np.testing.assert_allclose(got["outputs"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got["prediction"], np.argmax(expected, -1))
    assert np.abs(got["outputs"] - others).max() > 1e-3


def test_the_weights_are_by_their_paths(runs):
    state = RestoredRun(Run(runs / "digits")).state
    written = load_file(runs / "exported" / "digits" / "model.safetensors")
    expected = flat(state.ema, state.model_state)
    assert set(written) == set(expected) and "BatchNorm_0/mean" in written
    for name, array in expected.items():
        np.testing.assert_array_equal(written[name], array)


def test_the_description(runs):
    folder = runs / "exported" / "digits"
    told = json.loads((folder / "model.json").read_text())
    for name, digest in told["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert set(told["sha256"]) == {"model.safetensors", "model.stablehlo"}
    assert told["inputs"] == {"image": {"dtype": "uint8", "shape": ["batch", 8, 8, 1]}}
    assert told["outputs"]["outputs"] == {"dtype": "float32", "shape": ["batch", 10]}
    assert told["preprocessing"]["transforms"] == [SCALE] and told["task"] == CNN["task"]
    assert (told["step"], told["average"], told["x64"]) == (3, True, False)
    assert told["classes"] == [str(i) for i in range(10)]
    assert told["platforms"] == ["cpu", "cuda", "tpu"]
    boxes, text, line = (
        json.loads((runs / "exported" / name / "model.json").read_text())
        for name in ("boxes", "text", "line")
    )
    assert set(boxes["inputs"]) == {"image", "extent"} and boxes["outputs"].keys() >= {"scores"}
    assert text["vocabularies"]["tokens"]["kind"] == "characters"
    assert line["x64"] and line["inputs"]["x"]["dtype"] == "float64"


def test_the_program_is_no_machines_own(runs):
    """Every platform has its branch, and none calls what XLA itself does not bring."""
    data = (runs / "exported" / "digits" / "model.stablehlo").read_bytes()
    program = jax.export.deserialize(bytearray(data))
    assert program.platforms == ("cpu", "cuda", "tpu")
    text = program.mlir_module()
    assert ".py" not in text  # nor does it say where it was made
    assert "jaxdl" not in text and "stablehlo.case" in text and "convolution" in text
    called = set(re.findall(r"custom_call @(\w+)", text))
    assert called <= {"Sharding", "shape_assertion", "stablehlo.shape_refinement_operand_wrapper"}


def test_the_readme_shows_the_same(root):
    assert textwrap.indent(snippet(), "    ") in (root / "configs" / "README.md").read_text()


def test_a_fixed_number_of_examples(runs, tmp_path, call):
    status, out, err = call(
        "export", "--workdir", runs / "digits", "--output", tmp_path / "four", "--batch", "4"
    )
    assert (status, err) == (0, "")
    assert "uint8[4, 8, 8, 1]" in out and "prediction: int32[4]" in out
    images = builtin.digits()["test"].columns["image"]
    weights = load_file(tmp_path / "four" / "model.safetensors")
    data = (tmp_path / "four" / "model.stablehlo").read_bytes()
    found = jax.export.deserialize(bytearray(data)).call(weights, {"image": images[:4]})
    assert found["outputs"].shape == (4, 10)
    assert not (tmp_path / "four" / "torch.safetensors").exists()
    again = ("export", "--workdir", runs / "digits", "--output", tmp_path / "four")
    status, out, err = call(*again)
    assert (status, out) == (2, "") and "holds an export" in err and "--force" in err
    assert (tmp_path / "four" / "model.stablehlo").read_bytes() == data
    status, out, _ = call(*again, "--force", "--torch")
    named = load_file(tmp_path / "four" / "torch.safetensors")
    np.testing.assert_array_equal(
        named["Conv_0.weight"], weights["Conv_0/kernel"].transpose(3, 2, 0, 1)
    )
    assert named.keys() >= {"BatchNorm_0.running_mean", "Dense_1.bias"}
    digest = hashlib.sha256((tmp_path / "four" / "torch.safetensors").read_bytes()).hexdigest()
    described = json.loads((tmp_path / "four" / "model.json").read_text())
    assert described["sha256"]["torch.safetensors"] == digest
    assert status == 0 and "uint8[batch, 8, 8, 1]" in out  # in place of the earlier one


def test_refusals_are_one_line_and_write_nothing(runs, tmp_path, call):
    digits = runs / "digits"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((digits / "config.json").read_text())
    (tmp_path / "empty" / "data.json").write_text((digits / "data.json").read_text())
    before = sorted(tmp_path.rglob("*"))
    for workdir, output, words, message in [
        (tmp_path, "new", (), "holds no run"),
        (tmp_path / "empty", "new", (), "no checkpoint yet"),
        (digits, "mine", (), "holds 'notes.txt'; choose a new folder"),
        (digits, "mine", ("--force",), "holds 'notes.txt'; choose a new folder"),
        (digits, "mine/notes.txt", (), "choose another"),
        (digits, "mine/notes.txt/x", (), "choose another"),
        (digits, "new", ("--batch", 0), "--batch: expected at least 1"),
    ]:
        status, _, err = call("export", "--workdir", workdir, "--output", tmp_path / output, *words)
        assert status == 2 and message in err and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_exported_is_told_with_the_remedy(runs, tmp_path, monkeypatch):
    def fails(self, outputs, batch):
        if len(outputs) == 1:
            raise TypeError("one is\nnot enough")
        return outputs.argmax(-1)

    monkeypatch.setattr(Classification, "predict", fails)
    with pytest.raises(module.UserError, match=r"one is\); .* --batch N, may work") as raised:
        export(Run(runs / "digits"), tmp_path / "a")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", [module.WEIGHTS, module.PROGRAM, module.DESCRIPTION])
def test_what_a_link_leads_to_is_not_written(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out" / name).symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=f"'{name}' is a symbolic link"):
        export(Run(tmp_path / "run"), tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "precious"
