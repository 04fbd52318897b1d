"""Batch normalisation, with the ReLU that may follow it and one hand-written gradient for both."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Features = Float[Array, "batch *space channels"]
PerChannel = Float[Array, " channels"]
PerGroup = Float[Array, "groups channels"]


def batch_norm_training(
    x: Features,
    scale: PerChannel | None,
    bias: PerChannel | None,
    epsilon: float,
    relu: bool,
    group: int | None = None,
    axis: str | None = None,
) -> tuple[Features, PerGroup, PerGroup]:
    """Normalise by the statistics of the batch (Ioffe and Szegedy 2015, algorithm 1).

        y = γ x̂ + β,  x̂ = (x - μ) r,  r = 1 / √(σ² + ε)

    The gradient, with n values a channel and the gradients of μ and σ² included, is

        dβ = Σ dy,  dγ = Σ dy x̂
        dx = a dy + b x + c,  a = γ r,  b = (2 dσ² - a r dγ) / n,  c = (dμ - a dβ) / n - b μ

    In groups, each with its own μ and σ², b and c are those of the group; dβ and dγ are summed over
    groups.

    Args:
      x: any number of axes; statistics are over all but the last.
      scale: γ, or None for 1.
      bias: β, or None for 0.
      epsilon: ε, added to the variance.
      relu: apply max(0, ·) to the result.
      group: examples, one after the other, that have statistics of their own (Hoffer et al. 2017,
        "ghost" batches); it divides the batch. None takes the batch whole.
      axis: a mapped axis, over which a batch that is taken whole is spread.

    Returns:
      The result, of the type of `x`; mean and biased variance, (batch / group, channels), in
      float32 or wider.
    """
    groups = 1 if group is None else len(x) // group
    rows = x.reshape(groups, -1, x.shape[-1])
    y, mean, var = _training(rows, scale, bias, epsilon, relu, axis if group is None else None)
    return y.reshape(x.shape), mean[:, 0], var[:, 0]


def batch_norm_inference(
    x: Features,
    mean: PerChannel,
    var: PerChannel,
    scale: PerChannel | None,
    bias: PerChannel | None,
    epsilon: float,
    relu: bool,
) -> Features:
    """Normalise by these statistics; otherwise as `batch_norm_training`."""
    return _affine(x, *_line(mean, var, scale, bias, epsilon), relu)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _training(x: jax.Array, scale: Any, bias: Any, epsilon: float, relu: bool, axis: Any) -> Any:
    """As `batch_norm_training`, of x (groups, rows, channels)."""
    return _training_fwd(x, scale, bias, epsilon, relu, axis)[0]


def _training_fwd(
    x: jax.Array, scale: Any, bias: Any, epsilon: float, relu: bool, axis: str | None
) -> Any:
    n = x.shape[1] * _devices(axis)
    mean, square = (total / n for total in _over(axis, _sums(x, x)))
    var = jnp.maximum(square - mean * mean, 0)
    a, c = _line(mean, var, scale, bias, epsilon)
    return (_affine(x, a, c, relu), mean, var), (x, scale, bias, mean, var, a, c)


def _training_bwd(
    epsilon: float, relu: bool, axis: str | None, residuals: Any, cotangents: Any
) -> Any:
    x, scale, bias, mean, var, a, intercept = residuals
    dy, dmean, dvar = cotangents
    n = x.shape[1] * _devices(axis)
    if relu:
        dy = jnp.where(_affine(x, a, intercept, False) > 0, dy, 0)
    r = lax.rsqrt(var + epsilon)

    def slopes(dbias: jax.Array, product: jax.Array) -> tuple[jax.Array, jax.Array]:
        return dbias, (product - mean * dbias) * r

    here = _sums(dy, x)
    if len(x) > 1:  # without it XLA makes one sum of the groups' sums, and reads dy a second time
        here = lax.optimization_barrier(here)
    *sums, dmean, dvar = _over(axis, (*here, dmean, dvar))
    dbias, dscale = slopes(*sums)
    b = (2 * dvar - a * r * dscale) / n
    c = (dmean - a * dbias) / n - b * mean
    dx = (dy.astype(a.dtype) * a + x.astype(a.dtype) * b + c).astype(x.dtype)
    # The parameters' gradients are of this device's share; they are summed with all others.
    dbias, dscale = (jnp.sum(v, (0, 1)) for v in slopes(*here))
    return (
        dx,
        None if scale is None else dscale.astype(scale.dtype),
        None if bias is None else dbias.astype(bias.dtype),
    )


_training.defvjp(_training_fwd, _training_bwd)


def _devices(axis: str | None) -> int:
    """Over how many a mapped axis goes."""
    return lax.axis_size(axis) if axis else 1


def _over(axis: str | None, sums: Any) -> Any:
    """Sums over a mapped axis too."""
    return lax.psum(sums, axis) if axis else sums


def _sums(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums of x and of xy over the rows of each group, in float32 or wider."""
    dtype = jnp.promote_types(jnp.float32, x.dtype)
    x, y = (v.astype(dtype) for v in (x, y))
    if len(x) == 1:  # XLA:CPU sums a matrix faster than a stack of one
        return jnp.sum(x[0], 0)[None, None], jnp.sum(x[0] * y[0], 0)[None, None]
    return jnp.sum(x, 1, keepdims=True), jnp.sum(x * y, 1, keepdims=True)


def _line(
    mean: jax.Array, var: jax.Array, scale: jax.Array | None, bias: jax.Array | None, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """The normalisation of each channel as a line: slope and intercept."""
    a = lax.rsqrt(var + epsilon)
    a = a if scale is None else a * scale
    c = -mean * a
    return a, c if bias is None else c + bias


def _affine(x: jax.Array, a: jax.Array, c: jax.Array, relu: bool) -> jax.Array:
    y = (x.astype(a.dtype) * a + c).astype(x.dtype)
    return jnp.maximum(y, 0) if relu else y
