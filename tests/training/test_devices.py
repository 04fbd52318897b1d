"""One code path for one device or many: the same numbers, and the same rows."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.training.devices import Devices

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "training": {"batch_size": 48, "steps": 30},
}
MODELS = {
    "mlp": {
        "model": {"name": "mlp", "outputs": 10, "hidden": (16,), "dropout": 0.2},
        "training": CONFIG["training"] | {"accumulate": 2},
    },
    "mnist_cnn": {
        "model": {
            "name": "mnist_cnn",
            "widths": (4, 6),
            "kernels": (3, 3),
            "strides": (1, 2),
            "dense": 16,
        },
    },
    "lstm": {  # its state goes on from batch to batch
        "data": {
            "source": "text",
            "path": "a.txt",
            "twin": True,
            "tokenize": {"tokens": {"text": "text", "by": "characters", "window": 20}},
        },
        "model": {"name": "language_model", "hidden": 16},
        "task": {"name": "language_modeling"},
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "training": CONFIG["training"] | {"carry": True, "eval_batch_size": 16},
    },
}
MODELS["fsdp"] = MODELS["mlp"] | {
    "model": {"name": "mlp", "outputs": 10, "hidden": (1024, 128)},
    "placement": "fsdp",
}
DEVICES = (1, 2, 8)


def initial(model):
    """The state before the first step, on the host."""
    from jaxdl.training.experiment import Experiment

    return jax.device_get(Experiment.of(CONFIG | MODELS[model] | {"devices": 1}).init())


def run_on(number, model, start):
    """Losses of 30 steps, the rows that made them, the metrics of the test split, and how many
    bytes of the state the first device holds.
    """
    from jaxdl.training.experiment import Experiment
    from jaxdl.training.measure import Measure

    experiment = Experiment.of(CONFIG | MODELS[model] | {"devices": number})
    devices, feed = experiment.devices, experiment.feed()
    state, columns = jax.device_put(start, devices.held(start)), devices.replicate(feed.columns)
    given = devices.scatter(feed.make(0, 30), axis=1)
    assert len(given.sharding.device_set) == number
    results = (devices.held(state), devices.replicated)
    call = devices.compiled(experiment.call, state, columns, given, jnp.int32(30), results=results)
    state, summaries = call(state, columns, given, jnp.int32(30))
    metrics, _ = Measure(experiment, state)(state)
    losses, rows = np.asarray(summaries["loss"])[:30].tolist(), np.asarray(given)[:30].tolist()
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    return losses, rows, metrics, held


@pytest.fixture(scope="module")
def runs():
    """What `run_on` gives on each number of devices, from a process that has eight."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", MODELS)
def test_devices_do_not_change_the_numbers(runs, model):
    losses, rows, metrics, _ = runs[f"{model} on 1"]
    assert losses[-1] < 0.8 * losses[0]
    for number in DEVICES[1:]:
        other_losses, other_rows, other_metrics, _ = runs[f"{model} on {number}"]
        assert other_rows == rows
        np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
        assert other_metrics == pytest.approx(metrics, rel=1e-5)


def test_fsdp_shares_the_state_out(runs):
    (*_, whole), (*_, share) = runs["fsdp on 1"], runs["fsdp on 8"]
    assert whole / 8 < share < whole / 5  # small arrays are held by all
    assert runs["mlp on 8"][-1] == runs["mlp on 1"][-1]


def test_a_batch_that_does_not_divide_is_refused(runs):
    assert runs["50 on 8"] == (
        "config.training.batch_size: 50 does not divide over 8 devices; choose a multiple of 8, "
        "or fewer with config.devices"
    )
    assert "config.training.eval_batch_size: 100 does not divide over 8" in runs["eval 100 on 8"]


@pytest.mark.parametrize("number", [0, -1, 10**6])
def test_as_many_devices_as_there_are(number):
    with pytest.raises(UserError, match=rf"config.devices: {number} asked for, but JAX sees"):
        Devices.of(number)
    assert Devices.of().mesh.size == len(jax.devices())


def refusal(**training):
    from jaxdl.training.experiment import Experiment

    training = CONFIG["training"] | training
    with pytest.raises(UserError) as error:
        Experiment.of(CONFIG | MODELS["mlp"] | {"training": training})
    return str(error.value)


if __name__ == "__main__":
    found = {"50 on 8": refusal(batch_size=50), "eval 100 on 8": refusal(eval_batch_size=100)}
    for model in MODELS:
        start = initial(model)
        found |= {f"{model} on {number}": run_on(number, model, start) for number in DEVICES}
    print(json.dumps(found))
