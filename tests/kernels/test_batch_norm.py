"""Batch norm's gradient against differentiation of its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.hlo import Program
from jaxdl.kernels import batch_norm_training


def random_arrays(shapes, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("group", [None, 3, 2])
@pytest.mark.parametrize("relu", [False, True])
def test_gradients_through_the_statistics_too(relu, group):
    with jax.enable_x64(True):
        x, weights, scale, bias = random_arrays([(6, 3), (6, 3), (3,), (3,)], jnp.float64)
        weight_mean, weight_var = random_arrays([(3,)] * 2, jnp.float64, 1)

        def loss(x, scale, bias):
            y, mean, var = batch_norm_training(x, scale, bias, 1e-5, relu, group)
            return jnp.sum(y * weights) + jnp.sum(mean @ weight_mean + var @ weight_var)

        def plain(x, scale, bias):
            total = 0.0
            groups = (v.reshape(-1, group or 6, 3) for v in (x, weights))
            for part, weight in zip(*groups, strict=True):
                mean, var = part.mean(0), part.var(0)
                y = (part - mean) / jnp.sqrt(var + 1e-5) * scale + bias
                y = jnp.maximum(y, 0) if relu else y
                total += jnp.sum(y * weight) + weight_mean @ mean + weight_var @ var
            return total

        got, expected = (jax.grad(f, (0, 1, 2))(x, scale, bias) for f in (loss, plain))
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_each_sum_over_the_batch_is_made_once():
    """The mean and square, and of the gradient as many; the parameters' are of those of groups."""
    x, scale, bias = jnp.ones((16, 8, 8, 32)), jnp.ones(32), jnp.zeros(32)

    def loss(x, scale, bias):
        return jnp.sum(batch_norm_training(x, scale, bias, 1e-5, True, group=4)[0] ** 2)

    text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, scale, bias).compile().as_text()
    whole = [
        each
        for inside in Program.of(text).computations.values()
        for each in inside.values()
        if each.opcode == "reduce" and inside[each.operands[0]].shapes[0].sizes == (4, 256, 32)
    ]
    assert len(whole) == 4


def test_a_constant_channel_gives_finite_results():
    x = jnp.full((64, 2), 1e3) + jnp.array([0.0, 1e-3])
    y, mean, var = batch_norm_training(x, None, None, 1e-5, False)
    gradient = jax.grad(lambda x: batch_norm_training(x, None, None, 1e-5, False)[0].sum())(x)
    assert (var >= 0).all()
    assert jnp.isfinite(y).all() and jnp.isfinite(gradient).all()
    np.testing.assert_allclose(mean[0], x[0], rtol=1e-5)
