"""A user's own parts, named in a config by dotted name, do everything that ours can."""

import json

import numpy as np
import pytest
from jax import export
from PIL import Image
from safetensors.numpy import load_file

TRUST = ("--trust", "own_parts")


def pictures(**nodes):
    """A config in which everything is the user's own."""
    unit = {"name": "own_parts:unit", "column": "picture"}
    return {
        "data": {"source": "own_parts:pictures", "examples": 100, "transforms": (unit,)},
        "model": {"name": "own_parts:Net", "width": 8},
        "task": {"name": "own_parts:Brightness"},
        "optimizer": {
            "name": "own_parts:sign_descent",
            "learning_rate": {
                "name": "own_parts:halving",
                "peak": 0.004,
                "every": {"epochs": 20},
                "warmup": {"steps": 3},
            },
        },
        "training": {"batch_size": 50, "epochs": 60, "log_every": {"steps": 1}},
        "figures": ("own_parts:scatter",),
        **nodes,
    }


ALPHABET = {
    "data": {
        "source": "own_parts:alphabet",
        "tokenize": {"tokens": {"text": "line", "ends": True}},
    },
    "model": {"name": "own_parts:Bigram"},
    "task": {"name": "own_parts:NextLetter"},
    "optimizer": {"name": "adam", "learning_rate": 0.3},
    "training": {"batch_size": 20, "steps": 30},
}


def trained(call, folder, config):
    """The folder of a run of a config, and its result."""
    (folder / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    words = ("train", "--config", folder / "config.py", "--workdir", folder / "run")
    assert call(*words)[::2] == (0, "")
    return folder / "run", json.loads((folder / "run" / "result.json").read_text())


def test_all_parts_of_ones_own_train_together_and_can_be_used(call, tmp_path):
    workdir, result = trained(call, tmp_path, pictures())
    assert result["step"] == 120 and result["metrics"]["test/loss"] < 0.01
    assert (workdir / "figures" / "scatter.png").exists()
    history = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in history if "learning_rate" in line]
    assert rates[0] == pytest.approx(0.004 / 3) and rates[-1] == pytest.approx(0.001)

    status, out, _ = call("evaluate", "--workdir", workdir, *TRUST)
    assert status == 0 and f"{result['metrics']['test/loss']:.6g}" in out

    Image.fromarray(np.full((20, 30), 204, np.uint8)).save(tmp_path / "grey.png")
    figure = tmp_path / "figure.png"
    status, out, _ = call(
        "predict", "--workdir", workdir, tmp_path / "grey.png", "--figure", figure, *TRUST
    )
    assert status == 0 and "brightness" in out and figure.exists()

    assert call("export", "--workdir", workdir, "--output", tmp_path / "out", *TRUST)[0] == 0
    weights = load_file(tmp_path / "out" / "model.safetensors")
    program = export.deserialize(bytearray((tmp_path / "out" / "model.stablehlo").read_bytes()))
    grey = np.full((3, 8, 8, 1), 204, np.uint8)
    np.testing.assert_allclose(
        program.call(weights, {"picture": grey})["prediction"], 0.8, atol=0.1
    )
    for words in (("inspect", workdir), ("check", "--config", tmp_path / "config.py")):
        assert call(*words)[::2] == (0, "")


@pytest.mark.slow
def test_a_sweep_varies_a_part_of_ones_own(call, tmp_path):
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {pictures()!r}\n")
    status, out, err = call(
        *("sweep", "--config", tmp_path / "config.py", "--workdir", tmp_path / "sweep"),
        *("--in-turn", "--seeds", "2", "--config.model.width=2,4", "--config.training.epochs=2"),
    )
    assert (status, err) == (0, "") and "width=4" in out


OPTIMIZERS = [
    {"name": "own_parts:rateless"},
    {"name": "own_parts:rateless", "clip_norm": 1.0},
    {"name": "own_parts:sign_descent", "learning_rate": 0.01, "flavour": "slow"},
    {"name": "sgd", "learning_rate": {"name": "own_parts:halving", "peak": 0.004, "every": 5}},
    {
        "name": "own_parts:sign_descent",
        "learning_rate": 0.01,
        "weight_decay": 1e-3,
        "groups": (("kernel", {}), ("bias", None)),
    },
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimisers_and_schedules_of_ones_own(call, tmp_path, optimizer):
    config = pictures(optimizer=optimizer, training={"batch_size": 50, "steps": 2}, figures=())
    _, result = trained(call, tmp_path, config)
    assert result["step"] == 2


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("learning_rate=0.1", "config.optimizer.learning_rate: unknown"),
        ("speed=1", "config.optimizer.speed: unknown; it takes:"),
    ],
)
def test_their_signature_is_the_schema(call, tmp_path, key, message):
    config = pictures(optimizer={"name": "own_parts:rateless"})
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    status, _, err = call("check", "--config", tmp_path / "config.py", f"--config.optimizer.{key}")
    assert status == 2 and message in err


SLIPS = """
import jax.numpy as jnp
import jaxdl
from own_parts import Brightness, pictures

class Averaged(Brightness):
    def training_metrics(self, outputs, batch):
        return {"loss": jnp.mean(self.loss(outputs, batch))}

class MisspeltColumn(Brightness):
    def loss(self, outputs, batch):
        return jnp.square(outputs - batch["brightnes"])

class WithoutLoss(jaxdl.Task):
    input = "picture"

class Refusing(Brightness):
    def __init__(self, strength: float = 1.0):
        raise RuntimeError("no strength")

def unreadable():
    return open("no_such_file.csv")
"""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.name=slips:Averaged", "'loss' as one number per example, of shape (50,), not ()"),
        ("task.name=slips:MisspeltColumn", "KeyError: 'brightnes' (slips.py:12)"),
        ("task.name=slips:WithoutLoss", "config.task: WithoutLoss must define loss"),
        ("task.name=slips:Refusing", "config.task: RuntimeError: no strength (slips.py:19)"),
        ("task.name=slips:Refused", "no 'Refused'; did you mean 'Refusing'? it has: Averaged"),
        ("data.source=slips:unreadable", "config.data.source: FileNotFoundError"),
    ],
)
def test_a_slip_in_ones_own_code_is_one_line_that_says_where(
    call, tmp_path, monkeypatch, override, message
):
    (tmp_path / "slips.py").write_text(SLIPS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {pictures()!r}\n")
    status, _, err = call("check", "--config", tmp_path / "config.py", f"--config.{override}")
    assert status == 2 and message in err and err.count("\n") == 1


def test_a_task_and_a_model_of_ones_own_generate_text(call, tmp_path):
    workdir, result = trained(call, tmp_path, ALPHABET)
    assert result["metrics"]["test/right"] == 1
    words = ("sample", "--workdir", workdir, "--prompt", "c", "--temperature", "0", *TRUST)
    status, out, _ = call(*words)
    assert status == 0 and "Alphabet 0" in out and "cdef" in out
    status, out, _ = call("sample", "--workdir", workdir, "--beam", "2", *TRUST)
    assert status == 0 and "abcdef" in out
    assert call("evaluate", "--workdir", workdir, *TRUST)[0] == 0
    assert call("export", "--workdir", workdir, "--output", tmp_path / "out", *TRUST)[0] == 0


@pytest.mark.parametrize("command", [("evaluate",), ("sample",), ("export", "--output", "out")])
def test_a_run_that_names_them_asks_for_consent(call, tmp_path, command):
    config = pictures() if command[0] != "sample" else ALPHABET
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    data = {"columns": {}, "classes": [], "vocabularies": {}}
    (tmp_path / "run" / "data.json").write_text(json.dumps(data))
    status, _, err = call(*command, "--workdir", tmp_path / "run")
    assert status == 2 and "--trust own_parts" in err
