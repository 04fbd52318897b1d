"""Convolution whose gradients are fast on a CPU too; plain `lax` on GPU and TPU.

On a CPU it is XLA's own, written in the form that XLA computes fast (`jaxdl.kernels.eigen`), in
wide layers with fewer multiplications (`jaxdl.kernels.winograd`), or oneDNN's, if that is
installed and faster (`jaxdl.kernels.onednn`). The numbers are those of `lax` to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.kernels import onednn, winograd
from jaxdl.kernels.eigen import EIGEN
from jaxdl.kernels.geometry import NHWC, PLAIN, Geometry, Shape, forward
from jaxdl.kernels.winograd import WINOGRAD


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, with gradients that are fast on a CPU.

    They are for two-dimensional convolutions of NHWC images by HWIO kernels, of any stride and
    any padding smaller than the kernel. Other convolutions are `lax`'s own: right everywhere, slow
    to differentiate in a loop on a CPU, as are dilated ones and those of more than eight groups
    without oneDNN. Forward-mode differentiation (`jax.jvp`) is defined only for the others;
    `jax.jacfwd(jax.grad(...))` works for all.

    Args:
      lhs: images, (batch, height, width, channels).
      rhs: kernel, (height, width, channels / groups, outputs).
      window_strides: a stride for each of height and width.
      padding: 'SAME', 'VALID' or (low, high) for each of height and width.
      lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count,
        precision, preferred_element_type: as in `lax.conv_general_dilated`.

    Returns:
      (batch, height, width, outputs), of the type of the images.
    """
    general = functools.partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    if {*(lhs_dilation or ())} - {1} or batch_group_count != 1 or preferred_element_type:
        return general(lhs, rhs)
    if lhs.ndim != 4 or lhs.dtype != rhs.dtype or not jnp.issubdtype(lhs.dtype, jnp.floating):
        return general(lhs, rhs)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    if numbers != lax.conv_dimension_numbers(lhs.shape, rhs.shape, NHWC):
        return general(lhs, rhs)
    down, across = (int(d) for d in rhs_dilation or (1, 1))
    size = ((rhs.shape[0] - 1) * down + 1, (rhs.shape[1] - 1) * across + 1)
    pads = padding
    if isinstance(pads, str):
        pads = lax.padtype_to_pads(lhs.shape[1:3], size, window_strides, pads)
    if any(not 0 <= p < k for pair, k in zip(pads, size, strict=True) for p in pair):
        return general(lhs, rhs)
    (top, bottom), (left, right) = pads
    geometry = Geometry(
        (int(window_strides[0]), int(window_strides[1])),
        ((int(top), int(bottom)), (int(left), int(right))),
        (down, across),
        feature_group_count,
        precision,
    )
    out = jax.eval_shape(general, lhs, rhs).shape
    if 0 in (*lhs.shape, *rhs.shape, *out):
        return general(lhs, rhs)
    return _conv(lhs, rhs, geometry)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    return _conv_fwd(x, kernel, geometry)[0]


def _conv_fwd(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> Any:
    shape = jax.eval_shape(lambda: forward(x, kernel, (), geometry)).shape
    return _fastest("forward", x, kernel, shape, geometry), (x, kernel)


def _conv_bwd(geometry: Geometry, saved: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    dx = _fastest("input_gradient", g, kernel, x.shape, geometry)
    return dx, _fastest("kernel_gradient", g, x, kernel.shape, geometry)


_conv.defvjp(_conv_fwd, _conv_bwd)


def _fastest(name: str, a: jax.Array, b: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """One of the three functions of a convolution, as the platform computes it fastest."""
    by_onednn = onednn.pays(name, a, b, shape)
    # With many channels oneDNN takes 0.85 of XLA's time.
    if winograd.share(name, a, b, shape, geometry) < (0.8 if by_onednn else 0.95):
        cpu = functools.partial(WINOGRAD[name], shape=shape, geometry=geometry)
    elif by_onednn:
        cpu = functools.partial(_by_onednn, name=name, shape=shape, geometry=geometry)
    else:
        cpu = functools.partial(EIGEN[name], shape=shape, geometry=geometry)
    default = functools.partial(PLAIN[name], shape=shape, geometry=geometry)
    return lax.platform_dependent(a, b, cpu=cpu, default=default)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _by_onednn(
    a: jax.Array, b: jax.Array, name: str, shape: Shape, geometry: Geometry
) -> jax.Array:
    return onednn.convolve(name, a, b, shape, geometry)


@_by_onednn.defjvp
def _by_onednn_jvp(name: str, shape: Shape, geometry: Geometry, primals: Any, tangents: Any) -> Any:
    """Gradients of gradients are what XLA can differentiate again."""
    pure = functools.partial(EIGEN[name], shape=shape, geometry=geometry)
    return _by_onednn(*primals, name, shape, geometry), jax.jvp(pure, primals, tangents)[1]
