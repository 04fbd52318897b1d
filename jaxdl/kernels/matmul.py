"""Products of matrices that are fast in bfloat16 on a CPU too.

XLA is slower at bfloat16 than at float32 on a CPU. oneDNN is several times as fast, if it is
installed and the CPU has instructions for bfloat16 (`jaxdl.kernels.onednn`).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax import lax

from jaxdl.kernels import onednn


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a @ b`, with gradients.

    Args:
      a: (..., n).
      b: (n, m), of the type of a; or in bfloat16, where a is in float32 and `in_bfloat16` says so.

    Returns:
      (..., m), of the type of a.
    """
    if not in_bfloat16(a, b):
        return a @ b
    return _matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], -1)


def dot_general(
    lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, *args: Any, **kwargs: Any
) -> jax.Array:
    """`lax.dot_general`, and `matmul` where it is a product by a matrix in bfloat16."""
    matrix = rhs.ndim == 2 and dimension_numbers == (((lhs.ndim - 1,), (0,)), ((), ()))
    if matrix and lhs.dtype == rhs.dtype and in_bfloat16(lhs, rhs):
        return matmul(lhs, rhs)
    return lax.dot_general(lhs, rhs, dimension_numbers, *args, **kwargs)


def in_bfloat16(a: jax.Array, b: jax.Array) -> bool:
    """Whether oneDNN multiplies the rows of `a` by a matrix b in bfloat16, which is b's type."""
    return onednn.pays_multiplying(a.size * b.shape[-1], b.dtype)


@jax.custom_vjp
def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return product(a, b)


def _matmul_fwd(a: jax.Array, b: jax.Array) -> Any:
    return product(a, b), (a, b)


def _matmul_bwd(saved: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = saved
    of_b = product(a, g.astype(b.dtype), transpose_a=True)
    return product(g, b, transpose_b=True), of_b.astype(b.dtype)


_matmul.defvjp(_matmul_fwd, _matmul_bwd)


def product(
    a: jax.Array, b: jax.Array, *, transpose_a: bool = False, transpose_b: bool = False
) -> jax.Array:
    """The product of two matrices, of the type of a; its derivative is XLA's.

    Args:
      a, b: as in `matmul`.
      transpose_a, transpose_b: multiply the transpose.
    """
    by_xla = functools.partial(_by_xla, transpose_a=transpose_a, transpose_b=transpose_b)
    summed = a.shape[0 if transpose_a else 1]
    if not onednn.pays_multiplying(a.size * b.size // summed, b.dtype):
        return by_xla(a, b)
    cpu = functools.partial(_by_onednn, transpose_a=transpose_a, transpose_b=transpose_b)
    return lax.platform_dependent(a, b, cpu=cpu, default=by_xla)


def _by_xla(a: jax.Array, b: jax.Array, transpose_a: bool, transpose_b: bool) -> jax.Array:
    return ((a.T if transpose_a else a) @ (b.T if transpose_b else b)).astype(a.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _by_onednn(a: jax.Array, b: jax.Array, transpose_a: bool, transpose_b: bool) -> jax.Array:
    return onednn.matmul(a.astype(b.dtype), b, transpose_a, transpose_b, a.dtype)


@_by_onednn.defjvp
def _by_onednn_jvp(transpose_a: bool, transpose_b: bool, primals: Any, tangents: Any) -> Any:
    by_xla = functools.partial(_by_xla, transpose_a=transpose_a, transpose_b=transpose_b)
    return _by_onednn(*primals, transpose_a, transpose_b), jax.jvp(by_xla, primals, tangents)[1]
