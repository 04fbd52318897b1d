"""Flax modules as pure functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models import CifarResNet, functional


class Everything(nn.Module):
    """Batch norm, dropout, and something sown."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
        self.sow("intermediates", "x", x)
        return nn.Dropout(0.5, deterministic=not train)(x)


class Plain(nn.Module):
    """Knows nothing of training, and takes two inputs."""

    @nn.compact
    def __call__(self, x, y):
        return nn.Dense(2)(x) + y


class Constant(nn.Module):
    """Has no parameters."""

    def __call__(self, x):
        return x


X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)


def test_variables_change_in_training_only():
    model = functional(Everything())
    params, model_state = model.init(jax.random.key(0), (X,))
    assert set(model_state) == {"batch_stats"} and set(params) == {"Dense_0", "BatchNorm_0"}
    outputs, same = model.apply(params, model_state, (X,), None, False)
    jax.tree.map(np.testing.assert_array_equal, same, model_state)
    trained, new = model.apply(params, model_state, (X,), jax.random.key(1), True)
    assert jax.tree.structure(new) == jax.tree.structure(model_state)
    assert new["batch_stats"]["BatchNorm_0"]["mean"].any() and (trained != outputs).any()


@pytest.mark.parametrize("train", [False, True])
def test_modules_that_know_no_training(train):
    model = functional(Plain())
    params, model_state = model.init(jax.random.key(0), (X, 1.0))
    outputs, model_state = model.apply(params, model_state, (X, 1.0), jax.random.key(1), train)
    expected = X @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"] + 1
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    assert model_state == {}


def test_modules_without_parameters():
    model = functional(Constant())
    assert model.init(jax.random.key(0), (X,)) == ({}, {})
    assert model.apply({}, {}, (X,), jax.random.key(0), True)[0] is X


class Nested(nn.Module):
    """Modules inside modules, one of them called twice, one of them rematerialised."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        shared = nn.Dense(3, name="shared")
        x = shared(shared(x))
        x = nn.remat(Block, static_argnums=(2,))(5, name="block")(x, train)
        return nn.Dense(2, name="head")(x)


class Block(nn.Module):
    """Two layers."""

    width: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
        return nn.Dense(self.width, name="dense")(x)


def test_features_are_the_outputs_of_modules_by_their_path():
    model = functional(Nested())
    params, model_state = model.init(jax.random.key(0), (X,))
    found = model.features(params, model_state, (X,), ("block/dense", "shared", "block"))
    assert list(found) == ["block/dense", "shared", "block"]
    np.testing.assert_array_equal(found["block"], found["block/dense"])

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    np.testing.assert_allclose(found["shared"], dense("shared", dense("shared", X)), rtol=1e-5)
    outputs, _ = model.apply(params, model_state, (X,), None, False)
    np.testing.assert_allclose(dense("head", found["block"]), outputs, rtol=1e-5, atol=1e-6)


def test_features_are_computed_as_far_as_they_are_needed():
    model = functional(Nested())
    params, model_state = model.init(jax.random.key(0), (X,))

    def flops(name):
        only = jax.jit(lambda p, x: model.features(p, model_state, (x,), (name,)))
        return only.lower(params, X).compile().cost_analysis()["flops"]

    assert 0 < flops("shared") < flops("block") < flops("head")


def test_features_of_a_resnet():
    model = functional(CifarResNet(depth=8))
    images = jnp.ones((2, 16, 16, 3))
    names = ("conv1", "layer1", "layer2/0/conv2", "layer3", "fc")
    found = jax.eval_shape(
        lambda key: model.features(*model.init(key, (images,)), (images,), names),
        jax.random.key(0),
    )
    assert {name: x.shape[1:] for name, x in found.items()} == {
        "conv1": (16, 16, 16),
        "layer1": (16, 16, 16),
        "layer2/0/conv2": (8, 8, 32),
        "layer3": (4, 4, 64),
        "fc": (10,),
    }


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("block/dens",), "did you mean 'block/dense'"),
        (("gone",), "it has block, head, shared, and those inside"),
        (("shared", ""), "no module ''"),
        ("shared", "expected a list of names"),
    ],
)
def test_features_of_no_module(names, told):
    model = functional(Nested())
    params, model_state = model.init(jax.random.key(0), (X,))
    with pytest.raises(UserError, match=told) as refused:
        model.features(params, model_state, (X,), names)
    assert "\n" not in str(refused.value)
