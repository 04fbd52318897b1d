"""RandAugment: a few operations an image, drawn from a list, all of one magnitude."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms import color
from jaxdl.transforms.base import Transform, map_colors, without_boxes
from jaxdl.transforms.geometry import turn, warp

_MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_TONES = ("autocontrast", "equalize", "posterize", "solarize")
_FACTORS = ("color", "contrast", "brightness", "sharpness")
OPERATIONS = ("identity", *_MOVES, *_TONES, *_FACTORS)
_TOP = 30  # the greatest magnitude


def rand_augment(layers: int = 2, magnitude: int = 9, column: str = "image") -> Transform:
    """In each layer, one of 14 operations for each image (Cubuk et al. 2020, section 3).

    At magnitude m of 30, and with a random sign where they have one, they are:

        identity
        rotate                                m/30 · 30°
        shear_x, shear_y                      m/30 · 0.3 pixels sideways for each pixel
        translate_x, translate_y              m/30 · 150/331 of the width, of the height
        autocontrast, equalize
        posterize                             to 8 - round(m/30 · 4) bits
        solarize                              what is at least 1 - m/30 of white
        color, contrast, brightness,          by 1 ± m/30 · 0.9
        sharpness

    The list and its table are torchvision's. Unlike there, pixels are interpolated linearly, moves
    are about the middle and by parts of pixels, and values are rounded once, at the end; what
    comes from outside the image is black.

    Args:
      layers: how many operations one after the other (the paper's N).
      magnitude: 0 to 30 (the paper's M).
      column: of the images, with 1 or 3 channels: uint8, or floats from 0 to 1.
    """
    if layers < 0:
        raise UserError(f"rand_augment: layers={layers}; it must be at least 0")
    if not 0 <= magnitude <= _TOP:
        raise UserError(f"rand_augment: magnitude={magnitude}; it must be from 0 to {_TOP}")

    def changed(
        x: Float[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Float[Array, "batch height width channels"]:
        operations, signs = jax.random.split(key)
        drawn = jax.random.randint(operations, (layers, len(x)), 0, len(OPERATIONS))
        amount = magnitude / _TOP * jax.random.rademacher(signs, drawn.shape, x.dtype)
        # Every image goes through every operation, and one result is kept: lanes do not branch.
        one = jax.vmap(augment)
        return jax.lax.scan(lambda images, layer: (one(images, *layer), None), x, (drawn, amount))[
            0
        ]

    return without_boxes("rand_augment", map_colors(column, "rand_augment", changed, (1, 3)))


def augment(
    image: Float[Array, "height width channels"],
    operation: Int[Array, ""],
    amount: Float[Array, ""],
) -> Float[Array, "height width channels"]:
    """One operation, of `OPERATIONS`, on an image from 0 to 1; the amount is from -1 to 1."""
    strength, factor = jnp.abs(amount), 1 + 0.9 * amount
    image = _moved(image, operation, amount)
    kept = [image] * (1 + len(_MOVES))
    return jax.lax.select_n(
        operation,
        *kept,
        color.autocontrast(image),
        color.equalize(image),
        color.posterize(image, 8 - jnp.round(4 * strength)),
        color.solarize(image, 1 - strength),
        color.adjust_saturation(image, factor),
        color.adjust_contrast(image, factor),
        color.adjust_brightness(image, factor),
        color.adjust_sharpness(image, factor),
    )


def _moved(
    image: Float[Array, "height width channels"],
    operation: Int[Array, ""],
    amount: Float[Array, ""],
) -> Float[Array, "height width channels"]:
    """One warp for all moves: by 0, but for the one drawn."""
    rotate, shear_x, shear_y, across, down = (
        jnp.where(operation == OPERATIONS.index(name), amount, 0) for name in _MOVES
    )
    slant = 0.3 * jnp.array([[0.0, 1.0], [0.0, 0.0]]) * shear_y
    slant += 0.3 * jnp.array([[0.0, 0.0], [1.0, 0.0]]) * shear_x
    height, width, _ = image.shape
    shift = 150 / 331 * jnp.stack([height * down, width * across])
    return warp(image, turn(math.radians(30) * rotate) + slant, shift)
