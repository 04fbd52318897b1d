"""Convolution and its gradients in the form that XLA computes fast on a CPU.

XLA:CPU has one fast convolution: NHWC images by an HWIO kernel, in Eigen. Everything else is a
naive loop, up to 400 times slower. Its compiler rewrites the gradients of a convolution into that
form, but not inside `lax.scan` or `lax.while_loop` (jax issue 12868), which is where training
runs. So the gradients here are written in that form to begin with, and shaped for how Eigen spends
its time, which `_cost` models.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.kernels.geometry import NHWC, PLAIN, Bilinear, Geometry, Pads, Shape

# ---- Eigen's convolution and its price


def _correlate(
    x: jax.Array,
    kernel: jax.Array,
    pads: Pads,
    strides: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    precision: Any = None,
) -> jax.Array:
    """The canonical convolution: NHWC by HWIO, where negative padding crops."""
    small = math.prod(x.shape[1:3]) < math.prod(kernel.shape[:2])
    if small or min(map(min, pads)) < 0:
        rows, columns = pads
        x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))
        # XLA takes padding back into the convolution, and then an image smaller than its kernel
        # for the kernel, and the kernel for the image.
        x = lax.optimization_barrier(x)
        pads = ((0, 0), (0, 0))
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=NHWC,
        precision=precision,
    )


def _cost(taps: int, outputs: int) -> int:
    """Eigen's time for a convolution, up to a factor: `taps` multiplications an output.

    It multiplies 16 outputs at a time, and to pack a patch costs it about 12 outputs' time
    (measured with AVX-512: 8 outputs reach 50 GFLOP/s, 16: 107, 48: 168, 96: 187, 192: 202).
    """
    return taps * (-(-outputs // 16) * 16 + 12)


# ---- Forward


def _forward(x: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    strides, pads, precision = geometry.strides, geometry.pads, geometry.precision
    if kernel.shape[:2] == (1, 1) and strides == (1, 1):
        return _dot(x, kernel[0, 0], precision)
    columns = _columns_together(x, kernel, geometry)
    if columns > 1:
        return _folded(x, kernel, geometry, columns)
    return _correlate(x, kernel, pads, strides, precision=precision)


def _dot(x: jax.Array, matrix: jax.Array, precision: Any) -> jax.Array:
    """(..., c) by (c, o)."""
    return lax.dot_general(x, matrix, (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def _columns_together(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> int:
    """How many neighbouring columns of the output to compute as channels of one.

    With few input channels, packing patches number by number is all that Eigen does. Up to six
    numbers to a block of columns, wider patches and fewer of them are faster; with many outputs
    that is not worth the zeros to multiply, but for single numbers.
    """
    outputs, step = kernel.shape[3], geometry.strides[1] * x.shape[3]
    width = _output_width(x.shape[2], kernel.shape[1], geometry)
    most = 6 if step == 1 else min(6, 64 * step // outputs)
    return next((n for n in (4, 2) if n * step <= most and width % n == 0), 1)


def _output_width(width: int, kernel: int, geometry: Geometry) -> int:
    return (width + sum(geometry.pads[1]) - kernel) // geometry.strides[1] + 1


def _folded(x: jax.Array, kernel: jax.Array, geometry: Geometry, columns: int) -> jax.Array:
    """The convolution with `columns` columns of the output side by side in its channels.

    Input columns become channels in blocks of `columns * stride`, so that a block of the output
    reads whole blocks of the input, by a kernel that holds `kernel` `columns` times, shifted.
    """
    (stride, step), (rows, (left, _)), *_, precision = geometry
    batch, height, width, channels = x.shape
    tall, wide, _, outputs = kernel.shape
    block = columns * step
    before = -(-left // block)  # blocks of padding on the left
    blocks = before + ((columns - 1) * step - left + wide - 1) // block + 1
    shifts = [before * block - left + i * step for i in range(columns)]
    kernels = [
        jnp.pad(kernel, ((0, 0), (s, blocks * block - wide - s), (0, 0), (0, 0))) for s in shifts
    ]
    kernel = jnp.stack(kernels, 3).reshape(tall, blocks, block * channels, columns * outputs)
    inputs = -(-width // block)
    x = jnp.pad(x, ((0, 0), (0, 0), (0, inputs * block - width), (0, 0)))
    x = x.reshape(batch, height, inputs, block * channels)
    out = _output_width(width, wide, geometry)
    after = out // columns + blocks - 1 - before - inputs
    y = _correlate(x, kernel, (rows, (before, after)), (stride, 1), precision=precision)
    return y.reshape(batch, y.shape[1], out, outputs)


# ---- Gradient of the kernel


def _kernel_gradient(g: jax.Array, x: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """The sum over images and positions of input times output gradient, as a convolution.

    The batch takes the place of the channels, the gradient that of the kernel, dilated by the
    strides. Input channels stand beside columns, (1, height, width * channels, batch): such a
    transposition writes long runs, and the result comes out in the order of the kernel.
    Neighbouring columns of the gradient count as channels where these are few.
    """
    (stride, step), ((top, _), (left, _)), *_, precision = geometry
    batch, height, width, channels = x.shape
    rows, columns, outputs = g.shape[1:]
    tall, wide = shape[:2]
    if (tall, wide) == (1, 1):
        x, g = x[:, ::stride, ::step].reshape(-1, channels), g.reshape(-1, outputs)
        # A product over rows packs the left matrix number by number, which costs as much as the
        # arithmetic where it is the wider one. The barrier has it transposed in memory first.
        x = lax.optimization_barrier(x.T) if channels > outputs else x.T
        return _dot(x, g, precision).reshape(shape)

    def cost(n: int) -> float:
        return _cost(tall * (wide + (n - 1) * step), n * outputs) / n

    n = min((n for n in (1, 2, 4) if columns % n == 0), key=cost)
    reach = wide + (n - 1) * step
    # A reshape between a transposition and a convolution keeps XLA from folding the one into the
    # other, which would make it a naive loop again.
    x = x.transpose(1, 2, 3, 0).reshape(1, height, width * channels, batch)
    g = g.reshape(batch, rows * columns // n, n * outputs).transpose(1, 0, 2)
    g = g.reshape(rows, columns // n, batch, n * outputs)
    below = tall + (rows - 1) * stride - height - top
    beyond = wide + (columns - 1) * step - width - left
    taps = _correlate(
        x,
        g,
        ((top, below), (left * channels, beyond * channels)),
        dilation=(stride, n * step * channels),
        precision=precision,
    )
    taps = taps.reshape(tall, reach, channels, n, outputs)
    shifted = [taps[:, i * step : i * step + wide, :, i] for i in range(n)]
    return functools.reduce(jnp.add, shifted)


# ---- Gradient of the input


class _Phase(NamedTuple):
    """The inputs that lie alike between strides, along one axis.

    Attributes:
      first: the first kernel tap that reaches them; then every stride-th does.
      taps: how many do.
      last: position of the gradient that the first tap brings, from the input's own.
    """

    first: int
    taps: int
    last: int


def _phases(kernel: int, stride: int, pad: int) -> list[_Phase]:
    """Input s*u + phase meets gradients u + last, u + last - 1, …, one for each tap."""
    firsts = [(phase + pad) % stride for phase in range(stride)]
    return [
        _Phase(first, len(range(first, kernel, stride)), (phase + pad) // stride)
        for phase, first in enumerate(firsts)
    ]


def _input_gradient(g: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """Convolutions of stride 1, one for each phase between the strides, interleaved.

    The phases along the width may be channels of one convolution, its kernels padded with zeros:
    `_cost` says whether that is faster. They then need no interleaving.
    """
    (stride, step), ((top, _), (left, _)), *_ = geometry
    batch, height, width, channels = shape
    tall, wide = kernel.shape[:2]
    # Flipping a kernel takes long if it has more numbers than what its taps give.
    if (tall, wide) == (1, 1) or math.prod(g.shape[:3]) < g.shape[3]:
        return _tap_by_tap(g, kernel, shape, geometry)
    downs, acrosses = _phases(tall, stride, top), _phases(wide, step, left)
    reach = _reach(acrosses)
    apart = sum(_cost(p.taps, channels) for p in acrosses)
    groups = [[p] for p in acrosses]
    if _cost(reach[1] - reach[0] + 1, step * channels) < apart:
        groups = [acrosses]
    size = (-(-height // stride), -(-width // step))
    rows = []
    for down in downs:
        parts = [_phase_gradient(g, kernel, down, group, geometry, size) for group in groups]
        rows.append(jnp.stack(parts, 3).reshape(batch, size[0], size[1] * step, channels))
    dx = jnp.stack(rows, 2).reshape(batch, size[0] * stride, size[1] * step, channels)
    return dx[:, :height, :width]


def _tap_by_tap(g: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """One product with all of the kernel, and a sum over its taps, each put where it belongs."""
    tall, wide, channels, outputs = kernel.shape
    taps = _dot(g, kernel.reshape(-1, outputs).T, geometry.precision)
    zero = jnp.zeros((), g.dtype)
    dx = []
    for i in range(tall):
        for j in range(wide):
            first = (i * wide + j) * channels
            places = [
                (tap - low, n - 1 - (m - 1) * stride - tap + low, stride - 1)
                for tap, (low, _), stride, n, m in zip(
                    (i, j), geometry.pads, geometry.strides, shape[1:3], g.shape[1:3], strict=True
                )
            ]
            tap = taps[..., first : first + channels]
            dx.append(lax.pad(tap, zero, ((0, 0, 0), *places, (0, 0, 0))))
    return functools.reduce(jnp.add, dx)


def _reach(phases: list[_Phase]) -> tuple[int, int]:
    """The nearest and farthest gradient, from a position, that any of the phases meets."""
    met = [p for p in phases if p.taps]
    return min(p.last - p.taps + 1 for p in met), max(p.last for p in met)


def _phase_gradient(
    g: jax.Array,
    kernel: jax.Array,
    down: _Phase,
    acrosses: list[_Phase],
    geometry: Geometry,
    size: tuple[int, int],
) -> jax.Array:
    """The gradient of one phase of rows and some of columns, (batch, *size, phases * channels)."""
    (stride, step), *_, precision = geometry
    _, _, channels, outputs = kernel.shape
    rows, columns = g.shape[1:3]
    if not down.taps or not any(p.taps for p in acrosses):
        return jnp.zeros((len(g), *size, len(acrosses) * channels), g.dtype)
    low, high = _reach(acrosses)
    kernels = []
    for p in acrosses:
        taps = kernel[down.first :: stride, p.first :: step][::-1, ::-1]
        room = (p.last - p.taps + 1 - low, high - p.last) if p.taps else (0, high - low + 1)
        kernels.append(jnp.pad(taps, ((0, 0), room, (0, 0), (0, 0))))
    flipped = jnp.stack(kernels, 2).transpose(0, 1, 4, 2, 3)
    flipped = flipped.reshape(down.taps, high - low + 1, outputs, len(acrosses) * channels)
    pads = (
        (down.taps - 1 - down.last, size[0] + down.last - rows),
        (-low, size[1] + high - columns),
    )
    # Folded into the convolution, the flip would make it a naive loop.
    return _correlate(g, lax.optimization_barrier(flipped), pads, precision=precision)


# ---- Groups, and what has no fast form

_MOST_GROUPS = 8  # to compile one by one


def _by_group(name: str, one: Bilinear) -> Bilinear:
    """Groups one by one: in all three functions, they lie side by side in the last axes."""

    def function(a: jax.Array, b: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
        if geometry.dilation != (1, 1) or geometry.groups > _MOST_GROUPS:
            return PLAIN[name](a, b, shape, geometry)
        n = geometry.groups
        shape, geometry = (*shape[:-1], shape[-1] // n), geometry._replace(groups=1)
        pairs = zip(jnp.split(a, n, -1), jnp.split(b, n, -1), strict=True)
        return jnp.concatenate([one(a, b, shape, geometry) for a, b in pairs], -1)

    return function


EIGEN: dict[str, Bilinear] = {
    name: _by_group(name, one)
    for name, one in {
        "forward": _forward,
        "input_gradient": _input_gradient,
        "kernel_gradient": _kernel_gradient,
    }.items()
}
