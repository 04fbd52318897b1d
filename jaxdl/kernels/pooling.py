"""Pooling and local response normalisation, fast on a CPU as well as on GPU and TPU."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxdl.errors import UserError

Images = Float[Array, "batch height width channels"]
Pooled = Float[Array, "batch rows columns channels"]


# ---- Maximum


class _Windows(NamedTuple):
    """Square windows over images, and the padding they need: (before, after) of each axis."""

    size: int
    stride: int
    pads: tuple[tuple[int, int], tuple[int, int]]


def max_pool(
    x: Images, window: int, stride: int, padding: int = 0, *, ceil: bool = False
) -> Pooled:
    """The maximum of each square window; PyTorch's `MaxPool2d`.

    The gradient goes to the first of equal maxima, as that of `lax.reduce_window`, for which a CPU
    takes some ten times as long.

    Args:
      x: images or features.
      window: side of the window.
      stride: of the windows, in both directions.
      padding: rows and columns of -∞ on each side, fewer than the window's.
      ceil: round the number of windows up: the last may reach beyond the padding, if it begins
        before it.

    Raises:
      UserError: no window fits.
    """
    rows, columns = (_pads(n, window, stride, padding, ceil) for n in x.shape[1:3])
    return _max_pool(x, _Windows(window, stride, (rows, columns)))


def _pads(size: int, window: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    """Padding before and after, the latter enlarged to hold the last window."""
    span = size + 2 * padding - window
    windows = (-(-span // stride) if ceil else span // stride) + 1
    if windows < 1:
        raise UserError(
            f"config.model: a pooling window of {window}x{window} does not fit into {size} pixels; "
            "enlarge the images in config.data"
        )
    if ceil and (windows - 1) * stride >= size + padding:
        windows -= 1
    return padding, max(padding, (windows - 1) * stride + window - size - padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Array, windows: _Windows) -> Array:
    return _max_pool_fwd(x, windows)[0]


def _max_pool_fwd(x: Array, windows: _Windows) -> tuple[Array, Array]:
    y = lax.platform_dependent(
        x,
        cpu=lambda x: functools.reduce(jnp.maximum, _members(x, windows)),
        default=functools.partial(_plain, windows=windows),
    )
    return y, x


def _max_pool_bwd(windows: _Windows, x: Array, g: Array) -> tuple[Array]:
    def default(x: Array, g: Array) -> Array:
        return jax.vjp(functools.partial(_plain, windows=windows), x)[1](g)[0]

    cpu = functools.partial(_gradient, windows=windows)
    return (lax.platform_dependent(x, g, cpu=cpu, default=default),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _plain(x: Array, windows: _Windows) -> Array:
    size, stride, pads = windows
    low = np.array(-np.inf, x.dtype)  # a constant: else JAX does not recognise a maximum
    shape, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, low, lax.max, shape, strides, ((0, 0), *pads, (0, 0)))


def _members(x: Array, windows: _Windows) -> list[Array]:
    """The first member of each window, the second, …, row by row: each of the output's shape."""
    size, stride, pads = windows
    x = _pad(x, pads, -jnp.inf)
    rows, columns = ((n - size) // stride * stride + 1 for n in x.shape[1:3])
    return [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(size)
        for j in range(size)
    ]


def _pad(x: Array, pads: tuple[tuple[int, int], tuple[int, int]], value: float) -> Array:
    rows, columns = pads
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)


def _gradient(x: Array, g: Array, windows: _Windows) -> Array:
    """Pixels that lie alike between strides gather from their windows; then they interleave."""
    size, stride, (tall, wide) = windows
    # By comparing members, not with the maximum: XLA may compute that again, rounded differently.
    highest, *others = _members(x, windows)
    chosen = jnp.zeros(g.shape, jnp.int16)
    for i, member in enumerate(others, 1):
        chosen = jnp.where(member > highest, jnp.int16(i), chosen)
        highest = jnp.maximum(highest, member)
    height, width = (-(-n // stride) for n in x.shape[1:3])
    downs, acrosses = (_phases(size, stride, before) for before, _ in (tall, wide))
    # Padded so that the windows of all pixels are slices. Without the barriers XLA would compute
    # the padded arrays once for every member.
    room = (_room(downs, height, g.shape[1]), _room(acrosses, width, g.shape[2]))
    chosen, g = lax.optimization_barrier((_pad(chosen, room, -1), _pad(g, room, 0)))
    rows = []
    for down in downs:
        parts = []
        for across in acrosses:
            part = jnp.zeros((len(x), height, width, x.shape[3]), g.dtype)
            for i, u in down:
                for j, v in across:
                    u0, v0 = room[0][0] + u, room[1][0] + v
                    met = (slice(None), slice(u0, u0 + height), slice(v0, v0 + width))
                    part += jnp.where(chosen[met] == i * size + j, g[met], 0)
            parts.append(part)
        rows.append(jnp.stack(parts, 3).reshape(len(x), height, width * stride, x.shape[3]))
    dx = jnp.stack(rows, 2).reshape(len(x), height * stride, width * stride, x.shape[3])
    return dx[:, : x.shape[1], : x.shape[2]]


def _phases(size: int, stride: int, before: int) -> list[list[tuple[int, int]]]:
    """For pixel stride * u + phase along an axis: it is member i of window u + shift."""
    return [
        [(i, at // stride - i // stride) for i in range(at % stride, size, stride)]
        for at in range(before, before + stride)
    ]


def _room(phases: list[list[tuple[int, int]]], positions: int, windows: int) -> tuple[int, int]:
    shifts = [shift for phase in phases for _, shift in phase]
    return max(0, -min(shifts)), max(0, positions + max(shifts) - windows)


# ---- Mean


def adaptive_average_pool(x: Images, size: int) -> Pooled:
    """(batch, size, size, channels): means of windows as even as can be.

    Window i of n goes from ⌊i size / n⌋ to ⌈(i + 1) size / n⌉, as PyTorch's `AdaptiveAvgPool2d`:
    windows may overlap, and of fewer pixels than windows some repeat.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (_means(n, size, x.dtype) for n in x.shape[1:3])
    return jnp.einsum("bhwc,hi,wj->bijc", x, rows, columns)


def _means(pixels: int, windows: int, dtype: jnp.dtype) -> Array:
    """The matrix (pixels, windows) of weights."""
    i, pixel = jnp.arange(windows), jnp.arange(pixels)[:, None]
    first, end = i * pixels // windows, -(-(i + 1) * pixels // windows)
    inside = (first <= pixel) & (pixel < end)
    return (inside / (end - first)).astype(dtype)


def channels_first(x: Images) -> Float[Array, "batch features"]:
    """Flattened as (channels, height, width), PyTorch's order, so that its dense weights fit."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


# ---- Local response normalisation


def local_response_norm(
    x: Images, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Images:
    """Each number over a power of what n neighbouring channels hold at its position.

    x_i / (k + α Σ x_j²)^β, over |j - i| <= n / 2 (Krizhevsky et al. 2012, section 3.3, whose
    constants these are). PyTorch and Caffe divide α by n; their `alpha` is 5 of these.
    """
    return _local_response_norm(x, k, n, alpha, beta)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _local_response_norm(x: Array, k: float, n: int, alpha: float, beta: float) -> Array:
    return _local_response_norm_fwd(x, k, n, alpha, beta)[0]


def _local_response_norm_fwd(
    x: Array, k: float, n: int, alpha: float, beta: float
) -> tuple[Array, tuple[Array, Array]]:
    wide = x.astype(jnp.promote_types(jnp.float32, x.dtype))
    base = k + alpha * _neighbours(wide * wide, n)
    return (wide * _inverse_power(base, beta)).astype(x.dtype), (x, base)


def _local_response_norm_bwd(
    k: float, n: int, alpha: float, beta: float, saved: tuple[Array, Array], g: Array
) -> tuple[Array]:
    x, base = saved
    wide, dy = x.astype(base.dtype), g.astype(base.dtype)
    rate = _inverse_power(base, beta)
    through_base = _neighbours(dy * wide * rate / base, n)
    return ((dy * rate - 2 * alpha * beta * wide * through_base).astype(x.dtype),)


_local_response_norm.defvjp(_local_response_norm_fwd, _local_response_norm_bwd)


def _neighbours(x: Array, n: int) -> Array:
    """Sums over each channel and those up to n / 2 away."""
    channels, reach = x.shape[-1], n // 2
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (reach, reach)))
    return functools.reduce(jnp.add, [x[..., i : i + channels] for i in range(2 * reach + 1)])


def _inverse_power(x: Array, beta: float) -> Array:
    if beta == 0.75:  # in roots, twice as fast on a CPU
        root = lax.rsqrt(x)
        return root * lax.sqrt(root)
    return x**-beta
