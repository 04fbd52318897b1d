"""Batch normalisation, with the ReLU that may follow it and one hand-written gradient for both."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jaxdl.kernels import onednn
from jaxdl.kernels.onednn import Saved

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

    The gradient, with n values a channel, is

        dβ = Σ dy,  dγ = Σ dy x̂
        dx = a dy + b x + c,  a = γ r,  b = -a r dγ / n,  c = -a dβ / n - b μ

    and through the statistics, where a loss depends on them, (2 dσ² (x - μ) + dμ) / n besides.

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
    options = _Options(epsilon, relu, axis if group is None else None)
    y, mean, var = _training(rows, scale, bias, options)
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


# ---- Training, by XLA or oneDNN; x is (groups, rows, channels)

Slopes = tuple[jax.Array, jax.Array, jax.Array]  # of x, and of scale and bias by each group


class _Options(NamedTuple):
    """Those of `batch_norm_training`; no axis where groups have statistics of their own."""

    epsilon: float
    relu: bool
    axis: str | None


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _training(x: jax.Array, scale: Any, bias: Any, options: _Options) -> Any:
    """As `batch_norm_training`; means and variances are (groups, 1, channels)."""
    y, saved = _forward(x, scale, bias, options)
    return y, saved.mean, saved.var


def _training_fwd(x: Any, scale: Any, bias: Any, options: _Options) -> Any:
    x, scale, bias = (each and each.value for each in (x, scale, bias))
    y, saved = _forward(x, scale, bias, options)
    return (y, saved.mean, saved.var), (x, scale, bias, saved)


def _training_bwd(options: _Options, residuals: Any, cotangents: Any) -> Any:
    x, scale, bias, saved = residuals
    dy, dmean, dvar = (_dense(each) for each in cotangents)
    dx, dscale, dbias = _gradient(dy, x, scale, bias, saved, options)
    if not all(isinstance(each, SymbolicZero) for each in cotangents[1:]):
        n = x.shape[1] * _devices(options.axis)
        dmean, dvar = (total / n for total in _over(options.axis, (dmean, dvar)))
        dx = (dx + 2 * dvar * (x.astype(saved.mean.dtype) - saved.mean) + dmean).astype(x.dtype)
    return (
        dx,
        None if scale is None else jnp.sum(dscale, (0, 1)).astype(scale.dtype),
        None if bias is None else jnp.sum(dbias, (0, 1)).astype(bias.dtype),
    )


_training.defvjp(_training_fwd, _training_bwd, symbolic_zeros=True)


def _dense(cotangent: Any) -> jax.Array:
    zero = isinstance(cotangent, SymbolicZero)
    return jnp.zeros(cotangent.shape, cotangent.dtype) if zero else cotangent


def _forward(x: jax.Array, scale: Any, bias: Any, options: _Options) -> tuple[jax.Array, Saved]:
    """By oneDNN where that is faster, or else by XLA."""
    if options.axis is not None or not onednn.pays_normalising(x):
        return _xla_forward(x, scale, bias, options)
    mask = onednn.mask_of(x, options.relu)

    def cpu(*arrays: Any) -> tuple[jax.Array, Saved]:
        return _onednn_forward(*arrays, options)

    def default(x: jax.Array, scale: Any, bias: Any) -> tuple[jax.Array, Saved]:
        y, saved = _xla_forward(x, scale, bias, options)
        return y, saved._replace(mask=jnp.zeros(mask.shape, mask.dtype))

    return lax.platform_dependent(x, scale, bias, cpu=cpu, default=default)


def _gradient(
    dy: jax.Array, x: jax.Array, scale: Any, bias: Any, saved: Saved, options: _Options
) -> Slopes:
    """By whichever computed `saved`, without what goes through the returned statistics."""
    if saved.mask is None:
        return _xla_gradient(dy, x, scale, bias, saved, options)

    def cpu(*arrays: Any) -> Slopes:
        return _onednn_gradient(*arrays, options)

    default = functools.partial(_xla_gradient, options=options)
    return lax.platform_dependent(dy, x, scale, bias, saved, cpu=cpu, default=default)


def _xla_forward(x: jax.Array, scale: Any, bias: Any, options: _Options) -> tuple[jax.Array, Saved]:
    n = x.shape[1] * _devices(options.axis)
    mean, square = (total / n for total in _over(options.axis, _sums(x, x)))
    var = jnp.maximum(square - mean * mean, 0)
    line = _line(mean, var, scale, bias, options.epsilon)
    return _affine(x, *line, options.relu), Saved(mean, var, None)


def _xla_gradient(
    dy: jax.Array, x: jax.Array, scale: Any, bias: Any, saved: Saved, options: _Options
) -> Slopes:
    mean = saved.mean
    a, intercept = _line(mean, saved.var, scale, bias, options.epsilon)
    n = x.shape[1] * _devices(options.axis)
    if options.relu:
        dy = jnp.where(_affine(x, a, intercept, False) > 0, dy, 0)
    r = lax.rsqrt(saved.var + options.epsilon)
    here = _sums(dy, x)
    if len(x) > 1:  # without it XLA makes one sum of the groups' sums, and reads dy a second time
        here = lax.optimization_barrier(here)

    def slopes(dbias: jax.Array, product: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (product - mean * dbias) * r, dbias

    dscale, dbias = slopes(*_over(options.axis, here))
    b = -a * r * dscale / n
    c = -a * dbias / n - b * mean
    dx = (dy.astype(a.dtype) * a + x.astype(a.dtype) * b + c).astype(x.dtype)
    return dx, *slopes(*here)  # of this device's share; they are summed with all others


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _onednn_forward(
    x: jax.Array, scale: Any, bias: Any, options: _Options
) -> tuple[jax.Array, Saved]:
    return onednn.normalise(x, *_parameters(x, scale, bias), options.epsilon, options.relu)


@_onednn_forward.defjvp
def _onednn_forward_jvp(options: _Options, primals: Any, tangents: Any) -> Any:
    """Gradients of gradients are what XLA can differentiate again."""
    y, saved = _onednn_forward(*primals, options)
    dy, dsaved = jax.jvp(functools.partial(_xla_forward, options=options), primals, tangents)[1]
    no_slope = np.zeros(onednn.mask_of(primals[0], options.relu).shape, jax.dtypes.float0)
    return (y, saved), (dy, dsaved._replace(mask=no_slope))


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _onednn_gradient(
    dy: jax.Array, x: jax.Array, scale: Any, bias: Any, saved: Saved, options: _Options
) -> Slopes:
    scale, _ = _parameters(x, scale, bias)
    return onednn.normalise_gradient(dy, x, scale, saved, options.epsilon, options.relu)


@_onednn_gradient.defjvp
def _onednn_gradient_jvp(options: _Options, primals: Any, tangents: Any) -> Any:
    slopes = jax.jvp(functools.partial(_xla_gradient, options=options), primals, tangents)[1]
    return _onednn_gradient(*primals, options), slopes


def _parameters(x: jax.Array, scale: Any, bias: Any) -> tuple[jax.Array, jax.Array]:
    """Scale and bias as oneDNN takes them."""
    shape = x.shape[-1:]
    scale = jnp.ones(shape) if scale is None else scale
    bias = jnp.zeros(shape) if bias is None else bias
    return scale.astype(jnp.float32), bias.astype(jnp.float32)


# ---- What these are made of


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
