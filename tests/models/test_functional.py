"""Flax modules as pure functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import functional


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
    params, variables = model.init(jax.random.key(0), (X,))
    assert set(variables) == {"batch_stats"} and set(params) == {"Dense_0", "BatchNorm_0"}
    outputs, same = model.apply(params, variables, (X,), None, False)
    jax.tree.map(np.testing.assert_array_equal, same, variables)
    trained, new = model.apply(params, variables, (X,), jax.random.key(1), True)
    assert jax.tree.structure(new) == jax.tree.structure(variables)
    assert new["batch_stats"]["BatchNorm_0"]["mean"].any() and (trained != outputs).any()


@pytest.mark.parametrize("train", [False, True])
def test_modules_that_know_no_training(train):
    model = functional(Plain())
    params, variables = model.init(jax.random.key(0), (X, 1.0))
    outputs, variables = model.apply(params, variables, (X, 1.0), jax.random.key(1), train)
    expected = X @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"] + 1
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    assert variables == {}


def test_modules_without_parameters():
    model = functional(Constant())
    assert model.init(jax.random.key(0), (X,)) == ({}, {})
    assert model.apply({}, {}, (X,), jax.random.key(0), True)[0] is X
