"""Everything that can be known before training."""

import flax.linen as nn
import pytest

from jaxdl.errors import UserError
from jaxdl.training import check as check_module
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check, check_shapes
from jaxdl.training.memory import Memory, free_memory

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": (16,)},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"batch_size": 50, "steps": 40},
}


class Pair(nn.Module):
    """Gives what no task here can use."""

    def __call__(self, x):
        return x, x


def changed(**nodes):
    """The config with other keys in its nodes; a node that names something is replaced."""
    config = dict(CONFIG)
    for name, node in nodes.items():
        merge = isinstance(node, dict) and "name" not in node
        config[name] = {**CONFIG.get(name, {}), **node} if merge else node
    return config


def test_a_sound_experiment():
    said = []
    check(build_experiment(CONFIG), said.append)
    text = "\n".join(said)
    assert "train: 1,197 examples of image uint8[8, 8, 1], label int32[]" in text
    assert "40 steps of 50 examples, 1.67 epochs" in text
    assert "evaluation of validation, test fit; predicts int32[50]" in text
    assert "parameters  1,210" in text
    assert "  Dense_0/kernel  float32[64, 16]  1,024" in text
    assert "lowers for  cpu, cuda, tpu" in text
    flops = float(text.partition("compute")[2].split()[0].replace(",", ""))
    dense = 2 * (64 * 16 + 16 * 10) / 1e6  # a multiply and an add for each weight
    assert 2 * dense < flops < 5 * dense  # forwards, and back to the weights, and between layers
    assert "MiB of state and data" in text


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"modle": {}}, "config.modle: unknown; did you mean 'model'"),
        ({"training": {"step": 3}}, "config.training.step: unknown; did you mean 'steps'"),
        ({"training": {"epochs": 3}}, "config.training: give exactly one of steps and epochs"),
        ({"training": {"batch_size": 1198}}, "batch_size: 1198 does not fit .* 1197"),
        ({"training": {"batch_size": 0}}, "config.training.batch_size: expected at least 1, got 0"),
        ({"training": {"ema_decay": 1.0}}, r"config.training.ema_decay: must be in \(0, 1\)"),
        ({"training": {"log_every": {"step": 3}}}, "config.training.log_every: give exactly one"),
        ({"training": {"evaluate": ("tset",)}}, "evaluate: unknown 'tset'; did you mean 'test'"),
        ({"training": {"accumulate": 7}}, "accumulate: 7 parts do not divide a batch of 50"),
        ({"data": {"source": "digit"}}, "data.source: unknown .digit.; did you mean .digits."),
        ({"data": {"sample": 3}}, "config.data.sample: unknown"),
        ({"data": {"twin": 1}}, "config.data.twin: expected true or false, got 1"),
        ({"data": {"transforms": {"name": "scale"}}}, "transforms: expected list of dict, got"),
        ({"data": {"transforms": ({"name": "scal"},)}}, r"data.transforms\[0\].name: unknown"),
        ({"task": {"classes": 9}}, "10 classes .*, but config.task.classes=9; set it to 10"),
        ({"task": {"label": "class"}}, "no column 'class'; it has image, label"),
        ({"model": {"outputs": 11}}, r"float32\[50, 11\], but config.task needs .*\(50, 10\)"),
        ({"model": {"outputs": None}}, r"outputs are float32\[50\], but config.task needs"),
        ({"model": {"name": "test_check:Pair"}}, "config.model: its outputs are .* needs shape"),
        ({"model": {"name": "polynomial", "order": 1}}, "config.model: cannot take image float32"),
        ({"model": {"hidden": (-3,)}}, "config.model: cannot take"),
        ({"optimizer": {"name": "sm3", "learning_rate": {"name": "cosine", "peak": 0.1}}},
         "config.optimizer: optax.sm3 refuses its arguments"),
        ({"optimizer": {"name": "rprop", "learning_rate": {"name": "cosine", "peak": 0.1}}},
         "config.optimizer: cannot start: TypeError"),
        ({"optimizer": {"name": "least_squares"}}, "least_squares needs a regression task"),
        ({"optimizer": {"name": "least_squares"}, "training": {"ema_decay": 0.9}},
         "config.training.ema_decay: least_squares reaches the minimum in one step; leave it out"),
        ({"precision": {"compute": "float8"}}, "config.precision.compute: expected"),
        ({"seed": -1}, "config.seed: expected at least 0 and below"),
        ({"seed": 2**32}, "config.seed: expected at least 0 and below"),
        ({"devices": 99}, "config.devices: 99 asked for, but JAX sees"),
        ({"placement": "zero"}, "config.placement: expected"),
        ({"training": {"sizes": ((4, {"epoch": 1}),)}}, r"sizes\[0\]: give exactly one of"),
        ({"training": {"sizes": ((0, {"epochs": 1}),)}}, r"training.sizes\[0\]: expected a size"),
        ({"training": {"sizes": (4, 1)}}, "config.training.sizes: expected"),
        ({"training": {"sizes": ((4, 10),)}}, "config: the train step fails"),
        ({"target": {"metric": "test/acuracy", "value": 0.9, "source": "s"}},
         "config.target.metric: unknown 'test/acuracy'; did you mean 'test/accuracy'"),
        ({"figures": ("confusio",)}, "figures: unknown .confusio.; did you mean .confusion."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(nodes, message):
    with pytest.raises(UserError, match=message) as error:
        check_shapes(build_experiment(changed(**nodes)))
    assert "\n" not in str(error.value)


CNN = {"name": "mnist_cnn", "widths": (2,), "kernels": (3,), "strides": (2,), "dense": 4}
SINGLE = r"config.training: BatchNorm 'BatchNorm_1' gets one value per mean, \[1, 4\].*batch_size"


class OnePixel(nn.Module):
    """Flax's batch norm of maps of 1x1, and a layer norm of single values if asked."""

    layer_norm: bool = False

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Conv(10, (8, 8), padding="VALID")(x)
        if self.layer_norm:
            x = nn.LayerNorm()(x[..., None])
        else:
            x = nn.BatchNorm(use_running_average=not train)(x)
        return x.reshape(len(x), -1)


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [
        (CNN, {"batch_size": 1}, SINGLE),
        (CNN, {"batch_size": 6, "accumulate": 6}, SINGLE),
        ({"name": "test_check:OnePixel"}, {"batch_size": 1}, r"'BatchNorm_0'.*\[1, 1, 1, 10\]"),
        ({"name": "test_check:OnePixel", "layer_norm": True}, {}, "config.model: LayerNorm"),
        (CNN, {"batch_size": 2}, None),
        (CNN, {"batch_size": 6, "accumulate": 3}, None),
        (CNN, {"batch_size": 1, "freeze_statistics": True}, None),
    ],
)
def test_norms_of_single_values_are_refused(model, training, message):
    nodes = {"model": model, "training": training}
    experiment = build_experiment(changed(**nodes))
    if message is None:
        return check_shapes(experiment)
    with pytest.raises(UserError, match=message) as error:
        check_shapes(experiment)
    assert "\n" not in str(error.value)


def test_a_step_that_does_not_fit_is_refused_with_what_would(monkeypatch):
    model = {"name": "mlp", "outputs": 10, "hidden": (2048,)}
    experiment = build_experiment(changed(model=model, training={"batch_size": 1024}))
    state, batch = experiment.abstract_state, experiment.abstract_batch()
    whole = Memory.of(experiment.devices.compiled_step(experiment.step, state, batch))
    monkeypatch.setattr(check_module, "free_memory", lambda: whole.needed - (4 << 20))
    said = []
    with pytest.raises(UserError, match=r"needs [\d.]+ MiB, and [\d.]+ MiB are free; ") as error:
        check(experiment, said.append)
    parts = int(str(error.value).partition("config.training.accumulate=")[2].partition(",")[0])
    smaller = build_experiment(
        changed(model=model, training={"batch_size": 1024, "accumulate": parts})
    )
    check(smaller, said.append)
    monkeypatch.setattr(check_module, "free_memory", lambda: 1000)
    with pytest.raises(UserError, match="; lower it, or take a smaller model or more memory"):
        check(build_experiment(changed(training={"batch_size": 6})), said.append)


def test_free_memory_is_that_of_the_machine_or_the_device(monkeypatch):
    assert 1 << 24 < free_memory() < 1 << 50
    device = type("Device", (), {"memory_stats": lambda self: STATS})()
    monkeypatch.setattr("jaxdl.training.memory.jax.local_devices", lambda: [device, device])
    assert free_memory() == 70


STATS = {"bytes_limit": 100, "bytes_in_use": 30}


def test_fsdp_that_shards_nothing_says_why():
    said = []
    check(build_experiment({**CONFIG, "placement": "fsdp", "devices": 1}), said.append)
    assert "placement   fsdp shards nothing: there is one device along 'data'" in said


def test_the_best_is_not_to_be_chosen_by_the_test_split():
    config = changed(training={"best": {"metric": "accuracy"}})
    with pytest.raises(UserError, match=r"best\.metric: unknown 'accuracy'") as error:
        check_shapes(build_experiment(config))
    assert "validation/accuracy" in str(error.value) and "test/" not in str(error.value)
