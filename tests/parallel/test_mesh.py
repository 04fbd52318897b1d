"""One code path for one device or many: the same numbers, and the same rows."""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxdl import config as cfg
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.errors import UserError
from jaxdl.overrides import override
from jaxdl.parallel.mesh import Devices, seen_devices
from jaxdl.parallel.sharding import specs
from jaxdl.training.build import NODES, build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.measure import Measure
from jaxdl.training.state import State, digest

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
    "ghost": {  # two parts of a group on each of 8 devices
        "model": {"name": "mnist_cnn", "widths": (4,), "kernels": (3,), "strides": (2,)},
        "optimizer": {"name": "sgd", "learning_rate": 0.03},
        "training": {"batch_size": 128, "accumulate": 2, "ghost_batch_size": 8, "steps": 12},
    },
    "lstm": {  # its state goes on from batch to batch
        "data": {
            "source": "text",
            "path": "a.txt",
            "twin": True,
            "tokenize": {"tokens": {"text": "text", "by": "characters", "window": 20}},
        },
        "model": {"name": "language_model", "hidden": 16, "layers": 2, "dropout": 0.1},
        "task": {"name": "language_modeling"},
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "training": CONFIG["training"] | {"carry": True, "eval_batch_size": 16},
    },
}
MODELS["fsdp"] = MODELS["mlp"] | {
    "model": {"name": "mlp", "outputs": 10, "hidden": (1024, 128)},
    "placement": "fsdp",
}
PLACEMENT = (
    ("Dense_0/kernel", (None, "model")),
    ("Dense_1/kernel", ("model",)),
    ("Dense_0/bias", ("model",)),
    ("", "fsdp"),
)
MODELS["tensor"] = MODELS["fsdp"] | {"placement": PLACEMENT}
# Shipped configs, small, and a few steps on little data: one of each other kind of task.
LONG = {
    "driving_pilotnet": ("data.twin=true",),
    "shapes_fcos": (
        *(f"data.{role}_examples=32" for role in ("train", "validation", "test")),
        *("data.size=(64, 64)", "model.width=8", "model.channels=16"),
    ),
    "shapes_faster_rcnn": (
        *(f"data.{role}_examples=32" for role in ("train", "validation", "test")),
        *("data.size=(64, 64)", "model.width=8", "model.channels=16", "model.hidden=16"),
    ),
    "translation_lstm": ("model.hidden=32", "model.embedding=32"),
    "captions_lstm": ("model.hidden=32", "model.embedding=32"),
}
for _name in ("translation_lstm", "captions_lstm"):
    LONG[_name] += ("data.twin=true", "task.scores=()", "optimizer.learning_rate=0.01")
DEVICES = (1, 2, 8)
PMAPPED = ("mlp", "mnist_cnn", "ghost", "lstm")


def config_of(model, number):
    """The config of a name, on so many devices."""
    if model.startswith("pmap "):
        return config_of(model.removeprefix("pmap "), number) | {"parallel": "pmap"}
    if model in LONG:
        overrides = ["training.steps=50", "training.batch_size=16", "training.eval_batch_size=16"]
        node = override(cfg.read(model), [*overrides, *LONG[model]], NODES)
        # So many steps would make much of float32's rounding, which is another on each mesh.
        wide = dict.fromkeys(("params", "compute", "output"), "float64")
        return node | {"devices": number, "precision": wide}
    along = {"data": max(1, number // 2), "model": min(number, 2)}
    return CONFIG | MODELS[model] | {"devices": along if model == "tensor" else number}


def initial(model):
    """The state before the first step, on the host."""
    experiment = build_experiment(config_of(model, 1))
    with experiment.precision.enabled():
        return jax.device_get(experiment.init())


def run_on(number, model, start):
    """Losses of the steps, the rows that made them, the metrics of the test split, and how many
    bytes of the state the first device holds.
    """
    experiment = build_experiment(config_of(model, number))
    with experiment.precision.enabled():
        return steps_of(experiment, number, start)


def steps_of(experiment, number, start):
    total = experiment.clock.total
    devices, feed = experiment.devices, experiment.loader()
    state, columns = jax.device_put(start, devices.held(start)), devices.replicate(feed.columns)
    given = devices.scatter(feed.make(0, total), axis=1)
    assert len(jax.tree.leaves(given)[0].sharding.device_set) == number
    call = devices.compiled_step(experiment.run_steps, state, columns, given, jnp.int32(total))
    state, summaries = call(state, columns, given, jnp.int32(total))
    metrics, _ = Measure(experiment, state)(state)
    losses, rows = (np.asarray(x)[:total].tolist() for x in (summaries["loss"], given))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    return losses, rows, metrics, held


SUMS = {
    "whole": {"training": {"batch_size": 128, "steps": 1}},
    "jit": {},
    "narrow": {"precision": {"reduce": "bfloat16"}},
    "wide": {"precision": {"compute": "bfloat16"}},
    "pmap": {"precision": {"compute": "bfloat16"}, "parallel": "pmap"},
}


def sums_of(settings):
    """Types of the all-reduces of a step on eight devices, and whether bfloat16 is anywhere."""
    experiment = build_experiment(config_of("ghost", 8) | settings)
    state, batch = experiment.abstract_state, experiment.abstract_batch()
    program = experiment.devices.compiled_step(experiment.step, state, batch).as_text()
    types = [
        re.findall(r"([a-z]+\d+)\[", line) for line in re.findall(r" = (.*) all-reduce\(", program)
    ]
    return [sorted(set(each)) for each in types], "bf16[" in program


def resumed_digests(model, start):
    """Of the parameters after all steps on eight devices, and of a run that was saved half-way."""
    experiment, number = build_experiment(config_of(model, 8)), 6
    devices, feed = experiment.devices, experiment.loader()
    state, columns = jax.device_put(start, devices.held(start)), devices.replicate(feed.columns)
    halves = [devices.scatter(feed.make(t, number), axis=1) for t in (0, number)]
    arguments = columns, halves[0], jnp.int32(number)
    call = devices.compiled_step(experiment.run_steps, state, *arguments)
    with tempfile.TemporaryDirectory() as folder:
        state, _ = call(state, *arguments)
        checkpoints = Checkpoints(Path(folder))
        checkpoints.save(number, state)
        checkpoints.wait()
        resumed, _ = checkpoints.restore(experiment.abstract_state)
    ends = (call(each, columns, halves[1], jnp.int32(number))[0] for each in (state, resumed))
    return [digest(jax.device_get(end)) for end in ends]


def restored_digests(start):
    """Of the state, saved and restored on one number of devices after another."""
    digests, numbers, held = [digest(start)], (8, 4, 2, 1, 8), []
    with tempfile.TemporaryDirectory() as folder:
        for number, after in itertools.pairwise(numbers):
            here, there = (
                Devices.of(config_of("tensor", n)["devices"], PLACEMENT) for n in (number, after)
            )
            checkpoints = Checkpoints(Path(folder) / str(number))
            checkpoints.save(1, jax.device_put(start, here.held(start)))
            checkpoints.wait()
            state, _ = checkpoints.restore(there.abstract_state(start))
            start = jax.device_get(state)
            digests.append(digest(start))
            held.append(len(state.params["Dense_0"]["kernel"].sharding.device_set))
    return digests, held


def on_eight(*models):
    """What this file prints of models, in a process that has eight devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, __file__, *models],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def runs():
    """What `run_on` gives on each number of devices."""
    return on_eight(*MODELS)


@pytest.mark.parametrize("error", [RuntimeError("no backend 'cuda'"), AssertionError()])
def test_a_platform_without_a_device_is_one_line(monkeypatch, refuses, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with refuses("JAX_PLATFORMS=cuda: JAX finds no such device", str(error)):
        seen_devices()


@pytest.mark.parametrize("model", MODELS)
def test_devices_do_not_change_the_numbers(runs, model):
    compare(runs, model)


@pytest.mark.slow
@pytest.mark.parametrize("model", LONG)
def test_devices_do_not_change_the_numbers_of_any_task(model):
    compare(on_eight(model), model)


def compare(runs, model):
    losses, rows, metrics, _ = runs[f"{model} on 1"]
    assert losses[-1] < 0.8 * losses[0]
    for number in DEVICES[1:]:
        other_losses, other_rows, other_metrics, _ = runs[f"{model} on {number}"]
        assert other_rows == rows
        np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
        assert other_metrics == pytest.approx(metrics, rel=1e-5)


@pytest.mark.parametrize("model", PMAPPED)
def test_pmap_gives_the_same_numbers(runs, model):
    compare({**runs, f"pmap {model} on 1": runs[f"{model} on 1"]}, f"pmap {model}")


def test_gradients_are_summed_once_and_in_the_type_that_is_named(runs):
    once = [["f32"]]
    assert runs["sums"]["jit"] == [once, False]
    assert runs["sums"]["wide"] == runs["sums"]["pmap"] == [once, True]
    # A CPU adds in float32 what it is given in bfloat16.
    assert runs["sums"]["narrow"] == [once, True]
    # Without groups each of two layers sums its statistics, and so does their gradient.
    assert len(runs["sums"]["whole"][0]) == 5


@pytest.mark.parametrize("model", ["ghost", "pmap ghost"])
def test_what_is_resumed_on_eight_devices_ends_the_same(runs, model):
    straight, resumed = runs[f"{model} resumed"]
    assert straight == resumed


def test_refusals_of_groups_and_of_pmap(runs):
    assert "each of 8 devices has 6 of 48 in 1 part; choose" in runs["groups of 4"]
    assert "each of 8 devices has 3 of 48 in 2 parts; choose" in runs["groups of 6 in 2"]
    assert (
        "this model does not use the batch norm of jaxdl.models.layers; leave it out"
        in runs["no batch norm"]
    )
    for name in ("pmap fsdp", "pmap model"):
        assert "config.parallel: with pmap every device holds the whole state" in runs[name]


def test_what_is_restored_is_what_was_saved_on_other_devices(runs):
    digests, held = runs["restored"]
    assert len(set(digests)) == 1 and held == [4, 2, 1, 8]


def test_the_state_is_shared_out(runs):
    (*_, whole), (*_, share) = runs["fsdp on 1"], runs["fsdp on 8"]
    assert whole / 8 < share < whole / 5  # small arrays are held by all
    # Two devices along `model` hold halves of two kernels and of what the optimiser keeps of them.
    kernels = 2 * 4 * (64 * 1024 + 1024 * 128 + 1024)
    assert runs["tensor on 2"][-1] == whole - kernels // 2
    assert runs["mlp on 8"][-1] == runs["mlp on 1"][-1]


def test_a_batch_that_does_not_divide_is_refused(runs):
    assert runs["50 on 8"] == (
        "config.training.batch_size: 50 does not divide evenly over 8 devices; choose a multiple "
        "of 8, or fewer with config.devices"
    )
    assert (
        "config.training.eval_batch_size: 100 does not divide evenly over 8"
        in runs["eval 100 on 8"]
    )


@pytest.mark.parametrize("number", [0, -1, 10**6])
def test_as_many_devices_as_there_are(number):
    with pytest.raises(UserError, match=rf"config.devices: {number} asked for, but JAX sees"):
        Devices.of(number)
    assert Devices.of().mesh.size == len(jax.devices())


@pytest.mark.parametrize(
    "number, message",
    [
        ({"modle": 2}, r"config\.devices\.modle: unknown; did you mean 'model'"),
        ({"model": 3}, r"config\.devices\.model: 3 does not divide the \d devices"),
        ({"model": 0}, r"config\.devices\.model: 0 does not divide"),
        ({"model": 64, "data": 2}, "128 asked for, but JAX sees"),
        ({"model": 2, "data": 0}, "0 asked for, but JAX sees"),
    ],
)
def test_a_mesh_that_cannot_be(number, message):
    if number.get("model") == 3 and len(jax.devices()) % 3 == 0:
        pytest.skip("three divides the devices")
    with pytest.raises(UserError, match=message):
        Devices.of(number)


@pytest.mark.parametrize(
    "placement, message",
    [
        ((("(", "fsdp"),), r"\[0\]: '\(' is not a regular expression"),
        ((("", ("modle",)),), "cannot shard along modle; the mesh has the axes data and model"),
        ((("", ("data", "data")),), "cannot shard along data, data"),
    ],
)
def test_rules_that_cannot_be(placement, message):
    with pytest.raises(UserError, match=rf"config\.placement{message}|{message}"):
        Devices.of(1, placement)


@pytest.mark.parametrize(
    "placement, message",
    [
        ((("kernel", "fsdp"),), r"placement: no pattern matches 'fc/bias'; end with"),
        (
            ((r"^fc/", "fsdp"), ("bias", "fsdp")),
            r"placement\[1\]: 'bias' is the first match of no parameter",
        ),
        ((("fc", ("model",)),), r"placement\[0\]: fc/bias \[9\]: 9 does not divide over the 2"),
        ((("fc", (None, None, "data")),), r"fc/bias \[9\]: has 1 axes, but the rule names 3"),
    ],
)
def test_rules_that_do_not_fit_the_parameters(placement, message):
    with pytest.raises(UserError, match=message):
        specs(placement, {"data": 4, "model": 2}, STATE)


def test_what_belongs_to_a_parameter_goes_where_it_does():
    found = specs((("kernel", (None, "model")), ("", "fsdp")), {"data": 4, "model": 2}, STATE)
    cut, whole = PartitionSpec(None, "model"), PartitionSpec()
    assert found.params["fc"] == found.opt_state["mu"]["fc"] == {"kernel": cut, "bias": whole}
    assert found.opt_state["rows"]["fc"] == {"kernel": whole}  # of another shape
    assert found.model_state == {"fc": {"mean": whole}} and found.step == whole
    assert found.carry == PartitionSpec("data")


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


PARAMS = {"fc": {"kernel": array(8, 6), "bias": array(9)}}
STATE = State(
    step=array(),
    seed=array(),
    params=PARAMS,
    model_state={"fc": {"mean": array(9)}},
    opt_state={"mu": PARAMS, "rows": {"fc": {"kernel": array(8)}}, "count": array()},
    carry=array(12, 5),
)


def refusal(model="mlp", settings=None, **training):
    config = CONFIG | MODELS[model] | {"training": CONFIG["training"] | training}
    with pytest.raises(UserError) as error:
        check_shapes(build_experiment(config | (settings or {})))
    return str(error.value)


if __name__ == "__main__":
    found = {"50 on 8": refusal(batch_size=50), "eval 100 on 8": refusal(eval_batch_size=100)}
    if "ghost" in sys.argv:
        found["groups of 4"] = refusal("mnist_cnn", ghost_batch_size=4)
        found["groups of 6 in 2"] = refusal("mnist_cnn", ghost_batch_size=6, accumulate=2)
        found["no batch norm"] = refusal(ghost_batch_size=6)
        found["pmap fsdp"] = refusal(settings={"parallel": "pmap", "placement": "fsdp"})
        found["pmap model"] = refusal(settings={"parallel": "pmap", "devices": {"model": 2}})
        found["sums"] = {name: sums_of(settings) for name, settings in SUMS.items()}
    for model in sys.argv[1:]:
        start = initial(model)
        found |= {f"{model} on {number}": run_on(number, model, start) for number in DEVICES}
        if model in PMAPPED:
            names = [f"pmap {model} on {number}" for number in DEVICES[1:]]
            found |= {name: run_on(int(name[-1]), name[:-5], start) for name in names}
        if model == "ghost":
            for name in ("ghost", "pmap ghost"):
                found[f"{name} resumed"] = resumed_digests(name, start)
        if model == "fsdp":
            found["restored"] = restored_digests(start)
    print(json.dumps(found))
