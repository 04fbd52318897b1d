"""What a two-dimensional convolution is, and its three functions as `lax` has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")

Pads = tuple[tuple[int, int], tuple[int, int]]
Shape = tuple[int, ...]


class Geometry(NamedTuple):
    """A convolution of NHWC images by an HWIO kernel, each pair for height and width.

    Attributes:
      strides: input steps from an output to the next.
      pads: zeros before and after the images.
      dilation: input steps from a tap of the kernel to the next.
      groups: into how many the channels fall, of which the outputs of each see one.
      precision: as in `lax.conv_general_dilated`.
    """

    strides: tuple[int, int]
    pads: Pads
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    precision: Any = None


@runtime_checkable
class Bilinear(Protocol):
    """A convolution, or one of its two gradients: they are three functions, known by name.

    'forward' takes images and kernel, and gives outputs; 'input_gradient' takes the gradient of
    the outputs and the kernel, and gives that of the images; 'kernel_gradient' takes the gradient
    of the outputs and the images, and gives that of the kernel. `shape` is that of the result.
    """

    def __call__(
        self, a: jax.Array, b: jax.Array, /, shape: Shape, geometry: Geometry
    ) -> jax.Array:
        """The result."""
        ...


def sizes(name: str, a: jax.Array, b: jax.Array, shape: Shape) -> tuple[Shape, Shape]:
    """The shapes of outputs and kernel, of the arrays and the result of one of the functions."""
    outputs = shape if name == "forward" else a.shape
    kernel = shape if name == "kernel_gradient" else b.shape
    return outputs, kernel


def forward(x: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """The convolution, as `lax` has it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=NHWC,
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def input_gradient(g: jax.Array, kernel: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """The gradient of the images, as `lax` has it."""
    return _transpose(lambda x: forward(x, kernel, g.shape, geometry), shape, g)


def kernel_gradient(g: jax.Array, x: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """The gradient of the kernel, as `lax` has it."""
    return _transpose(lambda kernel: forward(x, kernel, g.shape, geometry), shape, g)


def _transpose(linear: Callable[[jax.Array], jax.Array], shape: Shape, g: jax.Array) -> jax.Array:
    """The transpose of a linear function, at the cotangent `g`."""
    return jax.linear_transpose(linear, jax.ShapeDtypeStruct(shape, g.dtype))(g)[0]


PLAIN: dict[str, Bilinear] = {
    "forward": forward,
    "input_gradient": input_gradient,
    "kernel_gradient": kernel_gradient,
}
