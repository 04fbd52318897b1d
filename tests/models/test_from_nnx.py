"""Flax NNX modules as pure functions: the same promises as of Linen ones."""

import functools
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxdl.checkpointing.run_directory import Run
from jaxdl.data import Table
from jaxdl.errors import UserError
from jaxdl.models import functional
from jaxdl.training.build import build_experiment
from jaxdl.training.loop import train_experiment
from jaxdl.tree import paths

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 1)), jnp.float32)


class CNN(nnx.Module):
    """Batch norm and two dropouts, in a list and beside it."""

    def __init__(self, width: int = 4, outputs: int = 3, rngs: nnx.Rngs | None = None):
        conv = functools.partial(nnx.Conv, kernel_size=(3, 3), rngs=rngs)
        self.convs = nnx.List([conv(1, width), conv(width, width)])
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.drops = nnx.List([nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.head = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.convs[1](nnx.relu(self.convs[0](x))))
        return self.head(nnx.relu(self.drops[0](x)).mean((1, 2)))


class Same(nnx.Module):
    """Two dropouts of what comes in."""

    def __init__(self, rngs):
        self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.first(x), self.second(x)


class Told(nnx.Module):
    """Is handed its mode, holds an array, and sows."""

    def __init__(self):
        self.offset = nnx.data(jnp.ones(1))
        self.drop = nnx.Dropout(0.5)

    def __call__(self, x, *, deterministic, rngs):
        self.sow(nnx.Intermediate, "x", x)
        return self.drop(x, deterministic=deterministic, rngs=rngs) + self.offset


@pytest.fixture(scope="module")
def cnn():
    model = functional(functools.partial(CNN, width=5))
    return model, *model.init(jax.random.key(0), (X,))


def test_its_variables_are_params_and_model_state(cnn):
    _, params, model_state = cnn
    assert set(paths(params)) == {
        *(f"convs/{i}/{leaf}" for i in (0, 1) for leaf in ("bias", "kernel")),
        *("norm/scale", "norm/bias", "head/kernel", "head/bias"),
    }
    assert set(paths(model_state)) == {"batch_stats/norm/mean", "batch_stats/norm/var"}


def test_a_key_says_the_parameters(cnn):
    model, params, _ = cnn
    again, other = (model.init(jax.random.key(key), (X,))[0] for key in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, params, again)
    assert (params["head"]["kernel"] != other["head"]["kernel"]).any()


def test_training_and_evaluation_are_those_of_nnx(cnn):
    model, params, model_state = cnn
    module = CNN(width=5, rngs=nnx.Rngs(jax.random.key(0)))  # the same key, so the same parameters
    module.eval()
    outputs, same = jax.jit(model.apply, static_argnums=4)(params, model_state, (X,), None, False)
    np.testing.assert_allclose(outputs, module(X), rtol=1e-5)
    assert same.keys() == model_state.keys()
    module.train()
    module(X)
    _, new = model.apply(params, model_state, (np.asarray(X),), jax.random.key(1), True)
    np.testing.assert_allclose(new["batch_stats"]["norm"]["mean"], module.norm.mean[...], rtol=1e-5)
    assert jax.tree.structure(new) == jax.tree.structure(model_state)


def test_dropout_is_of_the_key_alone_and_different_in_each_layer():
    model = functional(Same)
    ones, key = (jnp.ones((64, 64)),), jax.random.key(3)
    (first, second), state = model.apply({}, {}, ones, key, True)
    assert state == {} and (first != second).any() and 0.45 < (first > 0).mean() < 0.55
    np.testing.assert_array_equal(first, model.apply({}, {}, ones, key, True)[0][0])
    assert (first != model.apply({}, {}, ones, jax.random.key(4), True)[0][0]).any()
    assert (model.apply({}, {}, ones, None, False)[0][0] == 1).all()


@pytest.mark.filterwarnings("ignore:Using 'Module.sow")
def test_a_module_may_take_its_mode_as_arguments():
    model = functional(Told)
    params, model_state = model.init(jax.random.key(0), (X,))
    assert params == {} and paths(model_state) == ["arrays/offset"]
    outputs, new = model.apply(params, model_state, (X,), jax.random.key(0), True)
    assert (outputs == 1).any() and paths(new) == ["arrays/offset"]
    assert (model.apply(params, model_state, (X,), None, False)[0] == X + 1).all()


def test_features_are_those_of_its_modules(cnn):
    model, params, model_state = cnn
    outputs = model.features(params, model_state, (X,), ["convs/1", "head"])
    assert outputs["convs/1"].shape == (6, 8, 8, 5)
    np.testing.assert_allclose(
        outputs["head"], model.apply(params, model_state, (X,), None, False)[0], rtol=1e-5
    )
    with pytest.raises(UserError, match="no module 'con'; did you mean"):
        model.features(params, model_state, (X,), ["con"])


class Grows(nnx.Module):
    """Makes a variable when called."""

    def __call__(self, x):
        self.seen = nnx.Variable(x.mean())
        return x


class Restless(nnx.Module):
    """Draws in evaluation too."""

    def __init__(self, rngs):
        self.rngs = rngs

    def __call__(self, x):
        return x + jax.random.normal(self.rngs.noise(), x.shape)


@pytest.mark.parametrize(
    "module, said",
    [
        (lambda: CNN(rngs=nnx.Rngs(0)), "give what creates it, functools.partial\\(CNN, …\\)"),
        (lambda: nn.Dense, "create it: Dense\\(…\\)"),
        (lambda: CNN(rngs=nnx.Rngs(0)).head, "Linear is not a Linen module"),
        (lambda: lambda width: None, "a function that creates an NNX module takes `rngs`"),
        (lambda: functools.partial(lambda rngs: 3), "expected an NNX module, got int"),
    ],
)
def test_what_is_not_a_module_is_told(module, said):
    with pytest.raises(UserError, match=said):
        functional(module())


@pytest.mark.parametrize(
    "module, said",
    [
        (Grows, "creates or drops seen when it is called"),
        (Restless, "Restless draws random numbers in evaluation \\(rngs/default/count\\)"),
    ],
)
def test_what_cannot_be_pure_is_told(module, said):
    model = functional(module)
    with pytest.raises(UserError, match=said):
        jax.eval_shape(lambda: model.apply({}, {}, (X,), None, False))


def test_ghost_batch_norm_is_not_nnx():
    with pytest.raises(UserError, match=r"ghost_batch_size: .* NNX module does not use"):
        functional(CNN, 4)


def stripes(examples: int = 64):
    """A source: stripes along one axis or the other."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 2 * examples).astype(np.int32)
    image = np.zeros((2 * examples, 8, 8, 1), np.float32)
    image[label == 0, ::2] = image[label == 1, :, ::2] = 1
    image += rng.normal(0, 0.1, image.shape).astype(np.float32)
    columns = {"image": image, "label": label}
    rows = {"train": slice(examples), "test": slice(examples, None)}
    return {
        name: Table({key: x[part] for key, x in columns.items()}, classes=("rows", "columns"))
        for name, part in rows.items()
    }


CONFIG = {
    "data": {"source": "test_from_nnx:stripes"},
    "model": {"name": "test_from_nnx:CNN", "width": 3},
    "task": {"name": "classification"},
    "optimizer": {"name": "adam", "learning_rate": 0.02},
    "training": {
        "batch_size": 16,
        "steps": 12,
        "log_every": {"steps": 1},
        "checkpoint_every": {"steps": 5},
    },
}


def trained(folder, kill_at=None, monkeypatch=None):
    run = Run(folder)
    run.claim(CONFIG)
    experiment = build_experiment(CONFIG)
    taken = type(experiment.order).rows

    def rows(order, step):
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return taken(order, step)

    if kill_at is not None:
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(type(experiment.order), "rows", rows)
            train_experiment(experiment, run)
        experiment = build_experiment(CONFIG, resumed=True)
    return train_experiment(experiment, run), run


def test_it_trains_and_a_resumed_run_is_the_same_to_the_bit(call, tmp_path, monkeypatch):
    whole, run = trained(tmp_path / "whole")
    parts, resumed = trained(tmp_path / "parts", 7, monkeypatch)
    assert whole["metrics"]["test/accuracy"] > 0.9
    for key in ("params_sha256", "metrics"):
        assert parts[key] == whole[key]
    losses = [[line.get("loss") for line in r.history()] for r in (run, resumed)]
    assert losses[0] == losses[1]
    evaluate = ("evaluate", "--workdir", run.folder)
    assert call(*evaluate)[0] == 2  # it is code that somebody else might have written
    status, said, wrong = call(*evaluate, "--trust", "test_from_nnx")
    assert status == 0, wrong
    assert f"test/accuracy            {whole['metrics']['test/accuracy']:.4g}" in said


@pytest.mark.parametrize(
    "model, said",
    [
        ({"widht": 3}, "config.model.widht: unknown; did you mean 'width'?"),
        ({"width": "wide"}, "config.model.width: expected int, got 'wide'"),
        ({"rngs": 3}, "config.model.rngs: unknown"),
        ({"name": "test_from_nnx:CNNs"}, "has no 'CNNs'; did you mean 'CNN'?"),
    ],
)
def test_its_init_says_what_a_config_may_set(refuses, model, said):
    with refuses(said):
        build_experiment({**CONFIG, "model": {**CONFIG["model"], **model}})
