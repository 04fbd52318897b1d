"""Pooling and local response norm: what `lax` and the formulas say, and their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxdl.errors import UserError
from jaxdl.kernels.pooling import (
    adaptive_average_pool,
    channels_first,
    local_response_norm,
    max_pool,
)


def numbers(*shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def plain(x, window, stride, pads):
    shape, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, shape, strides, ((0, 0), *pads, (0, 0)))


# Window, stride, padding, ceil, (height, width), and the padding after each axis that ceil makes.
POOLS = [
    (3, 2, 1, False, (8, 9), (1, 1)),
    (3, 2, 0, False, (8, 9), (0, 0)),
    (3, 2, 0, True, (8, 9), (1, 0)),
    (3, 2, 1, True, (8, 9), (2, 1)),
    (2, 2, 0, True, (5, 4), (1, 0)),
    (3, 1, 1, False, (4, 3), (1, 1)),
    (2, 3, 0, False, (7, 8), (0, 0)),
    (1, 2, 0, True, (4, 5), (0, 0)),
    (3, 2, 0, True, (2, 2), (1, 1)),
]


@pytest.mark.parametrize(("window", "stride", "padding", "ceil", "size", "after"), POOLS)
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool_is_that_of_lax(window, stride, padding, ceil, size, after, ties):
    x = numbers(2, *size, 3)
    x = jnp.round(jnp.maximum(x, 0)) if ties else x  # most windows then have several maxima
    ours = functools.partial(max_pool, window=window, stride=stride, padding=padding, ceil=ceil)
    pads = [(padding, n) for n in after]
    y, back = jax.vjp(ours, x)
    expected, plain_back = jax.vjp(lambda x: plain(x, window, stride, pads), x)
    np.testing.assert_array_equal(y, expected)
    g = jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape)  # whose sums are exact
    np.testing.assert_array_equal(back(g)[0], plain_back(g)[0])


def test_a_window_in_the_padding_alone_is_none():
    """As in PyTorch: the last window begins before the padding behind the image."""
    assert max_pool(jnp.zeros((1, 4, 4, 1)), 2, 2, padding=1, ceil=True).shape == (1, 3, 3, 1)
    assert max_pool(jnp.zeros((1, 5, 5, 1)), 2, 3, padding=1, ceil=True).shape == (1, 2, 2, 1)


def test_max_pool_lets_nan_through():
    x = numbers(1, 4, 4, 1).at[0, 1, 1, 0].set(jnp.nan)
    assert jnp.isnan(max_pool(x, 2, 2)).sum() == 1


def test_max_pool_of_bfloat16():
    x = numbers(2, 7, 7, 4, dtype=jnp.bfloat16)
    y, back = jax.vjp(lambda x: max_pool(x, 3, 2), x)
    np.testing.assert_array_equal(y, plain(x.astype(jnp.float32), 3, 2, ((0, 0), (0, 0))))
    (dx,) = back(jnp.ones_like(y))
    assert y.dtype == dx.dtype == jnp.bfloat16
    assert dx.sum() == y.size


def test_second_derivatives():
    """Forward over reverse, as curvature needs it: of the sum of cubes, 6 max at each maximum."""
    x = numbers(1, 4, 4, 2)
    cubes = jax.grad(lambda x: jnp.sum(max_pool(x, 2, 2) ** 3))
    _, curved = jax.jvp(cubes, (x,), (jnp.ones_like(x),))
    expected = jnp.where(x == max_pool(x, 2, 2).repeat(2, 1).repeat(2, 2), 6 * x, 0)
    np.testing.assert_allclose(curved, expected, rtol=1e-6)


def test_no_room_for_a_window_is_refused():
    with pytest.raises(UserError, match="a pooling window of 3x3 does not fit into 2 pixels"):
        max_pool(jnp.zeros((1, 5, 2, 1)), 3, 2)
    with pytest.raises(UserError, match="a pooling window of 3x3 does not fit into 1 pixels"):
        max_pool(jnp.zeros((1, 1, 5, 1)), 3, 2, ceil=True)


def test_no_gradient_of_lax_on_a_cpu():
    """Its select-and-scatter takes the time of the rest of the network."""
    step = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, 3, 2) ** 2)))
    assert "select-and-scatter" not in step.lower(jnp.ones((2, 9, 9, 4))).compile().as_text()


@pytest.mark.parametrize("size", [1, 2, 4, 6, 7])
def test_adaptive_average_pool(size):
    x = numbers(2, 6, 5, 3)
    y = adaptive_average_pool(x, size)
    assert y.shape == (2, size, size, 3)
    for i in range(size):
        for j in range(size):
            rows = slice(i * 6 // size, -(-(i + 1) * 6 // size))
            columns = slice(j * 5 // size, -(-(j + 1) * 5 // size))
            expected = x[:, rows, columns].mean((1, 2))
            np.testing.assert_allclose(y[:, i, j], expected, rtol=1e-5, atol=1e-6)


def test_channels_first():
    x = numbers(2, 3, 4, 5)
    assert channels_first(x)[1, (2 * 3 + 1) * 4 + 3] == x[1, 1, 3, 2]


def by_the_formula(x, k, n, alpha, beta):
    out = np.zeros_like(x)
    channels = x.shape[-1]
    for i in range(channels):
        near = x[..., max(0, i - n // 2) : min(channels - 1, i + n // 2) + 1]
        out[..., i] = x[..., i] / (k + alpha * (near**2).sum(-1)) ** beta
    return out


@pytest.mark.parametrize("constants", [(2.0, 5, 1e-4, 0.75), (1.0, 3, 0.5, 0.75), (1, 4, 2, 0.3)])
def test_local_response_norm(constants):
    x = 3 * numbers(2, 3, 2, 7)
    y = local_response_norm(x, *constants)
    np.testing.assert_allclose(y, by_the_formula(np.asarray(x), *constants), rtol=1e-5)


@pytest.mark.parametrize("constants", [(2.0, 5, 0.1, 0.75), (1.0, 3, 0.5, 0.3)])
def test_gradient_of_local_response_norm(constants):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 6)))
        norm = jax.jit(lambda x: local_response_norm(x, *constants))
        check_grads(norm, (x,), 1, ["rev"], rtol=1e-6)


def test_local_response_norm_of_bfloat16_sums_in_float32():
    x = 30 * numbers(2, 3, 3, 8, dtype=jnp.bfloat16)
    y, back = jax.vjp(local_response_norm, x)
    expected = local_response_norm(x.astype(jnp.float32))
    np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))
    assert back(y)[0].dtype == jnp.bfloat16
