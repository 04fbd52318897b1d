"""The sum and ReLU of a residual block against Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.kernels import add_relu


def test_add_relu_and_its_gradient_are_flax_s_to_the_bit():
    x, y, g = jnp.asarray(np.random.default_rng(0).normal(size=(3, 1000)), jnp.float32)
    y = y.at[:9].set(-x[:9])  # a sum of zero has no gradient
    got, pull = jax.vjp(add_relu, x, y)
    expected, pull_expected = jax.vjp(lambda x, y: nn.relu(x + y), x, y)
    for a, b in zip((got, *pull(g)), (expected, *pull_expected(g)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_cpu_computes_the_sums_of_a_stage_once():
    def stage(x, scales, bias):
        for scale in scales:  # so cheap that XLA would compute all of them again after each
            x = add_relu(x * scale + bias, x)
            bias = bias + (x @ jnp.ones((8, 8)))[0]
        return x

    arguments = (jnp.ones((64, 8)), jnp.arange(1.0, 6.0), jnp.ones(8))
    text = jax.jit(stage).lower(*arguments).compile().as_text()
    bodies = [body for body in text.split("\n\n") if "maximum(" in body]
    assert len(bodies) >= 5
    assert all(body.count(" maximum(") == 1 for body in bodies)
