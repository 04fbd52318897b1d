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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm_training(
    x: Features, scale: PerChannel | None, bias: PerChannel | None, epsilon: float, relu: bool
) -> tuple[Features, PerChannel, PerChannel]:
    """Normalise by the statistics of the batch (Ioffe and Szegedy 2015, algorithm 1).

        y = γ x̂ + β,  x̂ = (x - μ) r,  r = 1 / √(σ² + ε)

    The gradient, with n values a channel and the gradients of μ and σ² included, is

        dβ = Σ dy,  dγ = Σ dy x̂
        dx = a dy + b x + c,  a = γ r,  b = (2 dσ² - a r dγ) / n,  c = (dμ - a dβ) / n - b μ

    Args:
      x: any number of axes; statistics are over all but the last.
      scale: γ, or None for 1.
      bias: β, or None for 0.
      epsilon: ε, added to the variance.
      relu: apply max(0, ·) to the result.

    Returns:
      The result, of the type of `x`; mean and biased variance, in float32 or wider.
    """
    return _training_fwd(x, scale, bias, epsilon, relu)[0]


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


def _training_fwd(
    x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, epsilon: float, relu: bool
) -> Any:
    mean, square = (total / _count(x) for total in _sums(x, x))
    var = jnp.maximum(square - mean * mean, 0)
    a, c = _line(mean, var, scale, bias, epsilon)
    return (_affine(x, a, c, relu), mean, var), (x, scale, bias, mean, var, a, c)


def _training_bwd(epsilon: float, relu: bool, residuals: Any, cotangents: Any) -> Any:
    x, scale, bias, mean, var, a, intercept = residuals
    dy, dmean, dvar = cotangents
    n = _count(x)
    if relu:
        dy = jnp.where(_affine(x, a, intercept, False) > 0, dy, 0)
    dbias, product = _sums(dy, x)
    r = lax.rsqrt(var + epsilon)
    dscale = (product - mean * dbias) * r
    b = (2 * dvar - a * r * dscale) / n
    c = (dmean - a * dbias) / n - b * mean
    dx = (dy.astype(a.dtype) * a + x.astype(a.dtype) * b + c).astype(x.dtype)
    return (
        dx,
        None if scale is None else dscale.astype(scale.dtype),
        None if bias is None else dbias.astype(bias.dtype),
    )


batch_norm_training.defvjp(_training_fwd, _training_bwd)


def _count(x: jax.Array) -> int:
    """Values a channel."""
    return x.size // x.shape[-1]


def _sums(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums of x and of xy over all axes but the last, in float32 or wider."""
    dtype = jnp.promote_types(jnp.float32, x.dtype)
    x, y = (v.reshape(-1, v.shape[-1]).astype(dtype) for v in (x, y))
    return jnp.sum(x, 0), jnp.sum(x * y, 0)


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
