"""Augmentation that paints over a part of each image."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms.base import (
    Transform,
    map_images,
    rectangles,
    require_between,
    require_finite,
    restore,
)

_TRIES = 10  # rectangles drawn until one fits, as torchvision does


def cutout(size: int, value: float | tuple[float, ...] = 0.0, column: str = "image") -> Transform:
    """Paint over a square centered anywhere in the image (DeVries & Taylor 2017, section 3).

    The part outside the image does not count, so the square is often smaller.

    Args:
      size: side of the square, in pixels (in the paper 16 on CIFAR-10, and 8 on CIFAR-100).
      value: the paint, or one for each channel, in the units of the column at this point. The
        paper's 0 is that of standardised images: before `standardize`, give its mean.
      column: of the images.
    """
    if size < 1:
        raise UserError(f"cutout: size={size}; the side must be at least 1 pixel")
    require_finite("cutout", value=value)

    def painted(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        middle = jax.random.randint(key, (len(x), 2), 0, jnp.array(x.shape[1:3]))
        corner = middle - size // 2
        hole = rectangles(corner, corner + size, (x.shape[1], x.shape[2]))
        return jnp.where(hole, _paint("cutout", value, x), x)

    return map_images(column, "cutout", painted)


def random_erasing(
    probability: float = 0.25,
    area: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: float | tuple[float, ...] | Literal["noise"] = 0.0,
    column: str = "image",
) -> Transform:
    """Paint over a rectangle, each image with a probability (Zhong et al. 2020, algorithm 1).

    A rectangle that does not fit is drawn again, up to ten times. The logarithm of the ratio is
    uniform, as in torchvision, so that tall rectangles are as likely as wide ones; in the paper the
    ratio itself is uniform.

    Args:
      probability: that an image is erased.
      area: bounds of the rectangle's share of the image.
      ratio: bounds of its height over its width.
      value: the paint, or one for each channel, in the units of the column; or 'noise',
        drawn for each number from 0 to 255 (uint8) or from 0 to 1 (floats), the paper's best.
      column: of the images.
    """
    require_between("random_erasing", 0, 1, probability=probability)
    require_finite("random_erasing", area=area, ratio=ratio)
    if not len(area) == len(ratio) == 2 or not (
        0 < area[0] <= area[1] <= 1 and 0 < ratio[0] <= ratio[1]
    ):
        raise UserError(
            f"random_erasing: area={area}, ratio={ratio}; give bounds above 0, the lower first, "
            "and areas up to 1"
        )
    if value != "noise":
        require_finite("random_erasing", value=value)

    def erased(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        shape, position, noise = jax.random.split(key, 3)
        size = (x.shape[1], x.shape[2])
        sides, fits = _fitting(shape, len(x), size, area, ratio)
        *place, coin = jax.random.uniform(position, (3, len(x)))
        corner = jnp.floor(jnp.stack(place, axis=-1) * (jnp.array(size) - sides + 1))
        hole = rectangles(corner, corner + sides, size)
        hole &= (fits & (coin < probability))[:, None, None, None]
        paint = _noise(noise, x) if value == "noise" else _paint("random_erasing", value, x)
        return jnp.where(hole, paint, x)

    return map_images(column, "random_erasing", erased)


def _fitting(
    key: PRNGKeyArray,
    count: int,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Float[Array, "batch 2"], Bool[Array, " batch"]]:
    """Sides of a random rectangle for each image, and whether it fits into the image."""
    low, high = map(math.log, ratio)
    # With tries as the last axis, XLA's CPU compiler would take seconds.
    uniform = jax.random.uniform(key, (2, _TRIES, count))
    surface = math.prod(size) * (area[0] + (area[1] - area[0]) * uniform[0])
    slope = jnp.exp(low + (high - low) * uniform[1])
    sides = jnp.round(jnp.sqrt(jnp.stack([surface * slope, surface / slope], axis=-1)))
    fits = jnp.all(sides < jnp.array(size), axis=-1)
    first = jnp.argmax(fits, axis=0)[None, :, None]
    return jnp.take_along_axis(sides, first, axis=0)[0], jnp.any(fits, axis=0)


def _paint(
    name: str, value: float | tuple[float, ...], x: Num[Array, "batch height width channels"]
) -> Num[Array, " shades"]:
    shades = value if isinstance(value, tuple) else (value,)
    if len(shades) not in (1, x.shape[-1]):
        raise UserError(
            f"{name}: value has {len(shades)} numbers, the images {x.shape[-1]} channels; give "
            "one for each, or one for all"
        )
    return restore(jnp.array(shades, jnp.float32), jnp.zeros(len(shades), x.dtype))


def _noise(
    key: PRNGKeyArray, x: Num[Array, "batch height width channels"]
) -> Num[Array, "batch height width channels"]:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jax.random.uniform(key, x.shape, x.dtype)
    return jax.random.bits(key, x.shape, jnp.uint8).astype(x.dtype)
