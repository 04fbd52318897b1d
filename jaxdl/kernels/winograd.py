"""3x3 convolutions of wide layers with fewer multiplications (Lavin and Gray 2016, section 4.1).

A tile of 4x4 inputs gives 2x2 outputs. Transformed by sums and differences, and the kernel with it,
that takes 16 multiplications for a pair of channels where the definition takes 36. Each of the 16
is one matrix product over all tiles. The transforms move four times as many numbers as the images
have, so it pays where channels are many. Rounding errors are about twice those of the definition.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.kernels.geometry import Bilinear, Geometry, Pads, Shape, sizes

Matrix = tuple[tuple[float, ...], ...]
Square = list[list[jax.Array]]  # arrays of one shape, by row and column within a tile

# The three transforms of F(2x2, 3x3), as the paper names them: Bᵀ, G and Aᵀ.
_INPUT: Matrix = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_KERNEL: Matrix = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT: Matrix = ((1, 1, 1, 0), (0, 1, -1, -1))
# A kernel that is flipped has its transform's first and last rows and columns exchanged.
_FLIPPED = (3, 1, 2, 0)

# Multiplications below which the many small operations cost more than they save.
_LEAST = 250_000_000
# What the transforms take, as so many multiplications: for each number of the images and of the
# outputs, and for each of the kernel. Measured on a Zen 5 with AVX-512; the gradient of the kernel
# also packs the transformed images for a product over tiles.
_TRANSFORMS = {"forward": 125, "input_gradient": 125, "kernel_gradient": 300}
_KERNEL_TRANSFORM = 800


def share(name: str, a: jax.Array, b: jax.Array, shape: Shape, geometry: Geometry) -> float:
    """The estimated time, relative to XLA's for the definition; infinite if it does not apply."""
    outputs, kernel = sizes(name, a, b, shape)
    plain = Geometry((1, 1), geometry.pads, precision=geometry.precision)
    if kernel[:2] != (3, 3) or geometry != plain or a.dtype not in (jnp.float32, jnp.float64):
        return math.inf
    positions = math.prod(outputs[:3])
    if positions * math.prod(kernel) < _LEAST:
        return math.inf
    padded = math.prod(2 * n for n in _tiles(outputs)) / math.prod(outputs[1:3])
    moved = _TRANSFORMS[name] * (1 / kernel[2] + 1 / kernel[3])
    return (padded * (4 + moved) + _KERNEL_TRANSFORM / positions) / 9


def _forward(x: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    inputs = _transformed(x, geometry.pads, shape)
    return _joined(_products(inputs, _of_kernel(kernel), (1, 0), geometry), shape)


def _input_gradient(g: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """The convolution of the gradient with the kernel flipped, its channels exchanged."""
    (top, bottom), (left, right) = geometry.pads
    inputs = _transformed(g, ((2 - top, 2 - bottom), (2 - left, 2 - right)), shape)
    transformed = _of_kernel(kernel)
    flipped = [[transformed[i][j] for j in _FLIPPED] for i in _FLIPPED]
    return _joined(_products(inputs, flipped, (1, 1), geometry), shape)


def _kernel_gradient(g: jax.Array, x: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """The transpose of the forward function, whose transforms are theirs transposed."""
    down, across = _tiles(g.shape)
    rest = (2 * down - g.shape[1], 2 * across - g.shape[2])
    g = jnp.pad(g, ((0, 0), (0, rest[0]), (0, rest[1]), (0, 0)))
    parts = [[_flat(g[:, i::2, j::2]) for j in range(2)] for i in range(2)]
    spread = _both_ways(_transposed(_OUTPUT), parts)
    # Without the barrier XLA would find them transformed in the forward function, and keep that.
    inputs = _transformed(lax.optimization_barrier(x), geometry.pads, g.shape)
    taps = _both_ways(_transposed(_KERNEL), _products(inputs, spread, (0, 0), geometry))
    return jnp.stack([jnp.stack(row) for row in taps])


def _tiles(outputs: Shape) -> tuple[int, int]:
    """The number of tiles, down and across."""
    return -(-outputs[1] // 2), -(-outputs[2] // 2)


def _transformed(x: jax.Array, pads: Pads, outputs: Shape) -> Square:
    """The tiles of the images, (tiles, channels) for each place in them, transformed."""
    (top, _), (left, _) = pads
    down, across = _tiles(outputs)
    rest = (2 * down + 2 - x.shape[1] - top, 2 * across + 2 - x.shape[2] - left)
    x = jnp.pad(x, ((0, 0), (top, rest[0]), (left, rest[1]), (0, 0)))
    parts = [
        [_flat(x[:, i : i + 2 * down : 2, j : j + 2 * across : 2]) for j in range(4)]
        for i in range(4)
    ]
    return _both_ways(_INPUT, parts)


def _of_kernel(kernel: jax.Array) -> Square:
    return _both_ways(_KERNEL, [[kernel[i, j] for j in range(3)] for i in range(3)])


def _joined(products: Square, shape: Shape) -> jax.Array:
    """The outputs, from the products over tiles."""
    down, across = _tiles(shape)
    parts = [
        [part.reshape(shape[0], down, across, shape[3]) for part in row]
        for row in _both_ways(_OUTPUT, products)
    ]
    together = jnp.stack([jnp.stack(row, 3) for row in parts], 2)
    y = together.reshape(shape[0], 2 * down, 2 * across, shape[3])
    return y[:, : shape[1], : shape[2]]


def _products(a: Square, b: Square, axes: tuple[int, int], geometry: Geometry) -> Square:
    """The product of each pair of matrices, over these axes of theirs."""
    over = (((axes[0],), (axes[1],)), ((), ()))
    dot = functools.partial(lax.dot_general, dimension_numbers=over, precision=geometry.precision)
    return [[dot(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _both_ways(matrix: Matrix, parts: Sequence[Sequence[jax.Array]]) -> Square:
    """matrix · parts · matrixᵀ."""
    rows = [[_sum(row, column) for column in zip(*parts, strict=True)] for row in matrix]
    return [[_sum(column, row) for column in matrix] for row in rows]


def _sum(weights: Sequence[float], arrays: Sequence[jax.Array]) -> jax.Array:
    pairs = zip(weights, arrays, strict=True)
    return functools.reduce(jnp.add, [x if w == 1 else w * x for w, x in pairs if w])


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


WINOGRAD: dict[str, Bilinear] = {
    "forward": _forward,
    "input_gradient": _input_gradient,
    "kernel_gradient": _kernel_gradient,
}
