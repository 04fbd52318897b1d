"""Colours: augmentation that changes them, and the arithmetic it is made of.

The arithmetic is of one image, (height, width, channels), of floats from 0 to 1; it is Pillow's
(ImageOps, ImageEnhance) without the rounding in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms.base import Transform, map_colors, require_between, require_finite

Image = Float[Array, "height width channels"]
Scalar = Float[Array, ""] | float

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
# Eigenvalues and eigenvectors (rows: red, green, blue) of the colours of ImageNet's pixels, in
# units of white: those of fb.resnet.torch.
_VALUES = (0.2175, 0.0188, 0.0045)
_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def color_jitter(
    brightness: float, contrast: float, saturation: float, hue: float = 0.0, column: str = "image"
) -> Transform:
    """Change brightness, contrast, saturation and hue, in this order (Howard 2013, section 2).

    Args:
      brightness: b draws a factor for each image, uniform from max(0, 1 - b) to 1 + b.
      contrast: likewise, away from the mean grey of the image.
      saturation: likewise, away from the grey of each pixel. Needs 3 channels, as hue does.
      hue: h, up to ½, turns the circle of hues by a share uniform from -h to h.
      column: of the images: uint8, or floats from 0 to 1. torchvision's ColorJitter, but that it
        draws the order too.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    require_between("color_jitter", 0, math.inf, **strengths)
    require_between("color_jitter", 0, 0.5, hue=hue)
    changes = (adjust_brightness, adjust_contrast, adjust_saturation)
    steps: list[tuple[Callable, float, float]] = [
        (change, max(0.0, 1 - strength), 1 + strength)
        for change, strength in zip(changes, strengths.values(), strict=True)
        if strength
    ]
    if hue:
        steps.append((turn_hue, -hue, hue))

    def jittered(
        x: Float[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Float[Array, "batch height width channels"]:
        for place, (change, low, high) in enumerate(steps):
            drawn = jax.random.fold_in(key, place)
            x = jax.vmap(change)(x, jax.random.uniform(drawn, (len(x),), x.dtype, low, high))
        return x

    return map_colors(column, "color_jitter", jittered, (3,) if saturation or hue else (1, 3))


def pca_color(
    std: float = 0.1,
    values: tuple[float, float, float] = _VALUES,
    vectors: tuple[tuple[float, float, float], ...] = _VECTORS,
    column: str = "image",
) -> Transform:
    """Add a colour along the principal components of those in the data, one to each image.

    That is Σᵢ αᵢ λᵢ pᵢ, with αᵢ ~ N(0, std²) (Krizhevsky et al. 2012, section 4.1).

    Args:
      std: the standard deviation of α.
      values: λ, the eigenvalues, in units of white; by default ImageNet's.
      vectors: p, the eigenvectors as columns: a row each for red, green and blue.
      column: of the images, with 3 channels: uint8, or floats from 0 to 1.
    """
    require_finite("pca_color", values=values, vectors=sum(vectors, ()))
    require_between("pca_color", 0, math.inf, std=std)
    if len(vectors) != 3:
        raise UserError(f"pca_color: vectors has {len(vectors)} rows; give red, green and blue")

    def shifted(
        x: Float[Array, "batch height width channels=3"], key: PRNGKeyArray
    ) -> Float[Array, "batch height width channels=3"]:
        alpha = std * jax.random.normal(key, (len(x), 1, 3), x.dtype)
        shift = jnp.sum(alpha * jnp.array(values) * jnp.array(vectors), axis=-1)
        return x + shift[:, None, None]

    return map_colors(column, "pca_color", shifted, (3,))


def random_shadow(
    probability: float = 0.5, light: tuple[float, float] = (0.3, 0.8), column: str = "image"
) -> Transform:
    """Darken what lies on one side of a line, each image with a probability.

    The line runs from anywhere on the upper edge to anywhere on the lower one, as those who
    steered Udacity's simulator had it (Yadav 2016, "An augmentation based deep neural network
    approach to learn human driving behavior"), and either side is as likely.

    Args:
      probability: that an image has a shadow.
      light: bounds of the factor by which it is darker, drawn for each image.
      column: of the images: uint8, or floats from 0 to 1.
    """
    require_between("random_shadow", 0, 1, probability=probability)
    if len(light) != 2 or not 0 <= light[0] <= light[1] <= 1:
        raise UserError(f"random_shadow: light={light}; give bounds from 0 to 1, the lower first")

    def shaded(
        x: Float[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Float[Array, "batch height width channels"]:
        drawn = jax.random.uniform(key, (5, len(x), 1, 1), x.dtype)
        coin, side, top, bottom, depth = drawn
        down, right = (jnp.linspace(0, 1, size) for size in x.shape[1:3])
        edge = top + (bottom - top) * down[:, None]
        dark = ((right < edge) == (side < 0.5)) & (coin < probability)
        factor = jnp.where(dark, light[0] + (light[1] - light[0]) * depth, 1)
        return x * factor[..., None]

    return map_colors(column, "random_shadow", shaded, (1, 3))


def yuv(column: str = "image") -> Transform:
    """Luma and two differences of colour in place of red, green and blue (ITU-R BT.601).

    The full range, as in JPEG (JFIF 1.02): Y from black to white, U and V halfway where grey.

    Args:
      column: of the images: uint8, or floats from 0 to 1.
    """

    def converted(
        x: Float[Array, "batch height width channels=3"], key: PRNGKeyArray
    ) -> Float[Array, "batch height width channels=3"]:
        luma = jax.vmap(gray)(x)
        red, _, blue = _LUMA
        u = 0.5 + (x[..., 2:] - luma) / (2 - 2 * blue)
        v = 0.5 + (x[..., :1] - luma) / (2 - 2 * red)
        return jnp.concatenate([luma, u, v], axis=-1)

    return map_colors(column, "yuv", converted, (3,))


def blend(other: Float[Array, "..."], image: Image, factor: Scalar) -> Image:
    """From `other` at factor 0 to the image at 1, and as far again beyond; clipped."""
    return jnp.clip(other + factor * (image - other), 0, 1)


def adjust_brightness(image: Image, factor: Scalar) -> Image:
    """Away from black."""
    return blend(jnp.zeros_like(image), image, factor)


def adjust_contrast(image: Image, factor: Scalar) -> Image:
    """Away from the mean grey of the image."""
    return blend(jnp.mean(gray(image)), image, factor)


def adjust_saturation(image: Image, factor: Scalar) -> Image:
    """Away from the grey of each pixel."""
    return blend(gray(image), image, factor)


def adjust_sharpness(image: Image, factor: Scalar) -> Image:
    """Away from the image smoothed by a 3 × 3 kernel of ones about a 5; the rim stays."""
    rows = image[:-2] + image[1:-1] + image[2:]
    nine = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = image.at[1:-1, 1:-1].set((nine + 4 * image[1:-1, 1:-1]) / 13)
    return blend(smooth, image, factor)


def gray(image: Image) -> Float[Array, "height width 1"]:
    """The luma of each pixel."""
    if image.shape[-1] == 1:
        return image
    # Not a product of matrices, whose numbers a GPU would round to 10 bits.
    return jnp.sum(image * jnp.array(_LUMA, image.dtype), axis=-1, keepdims=True)


def turn_hue(image: Image, turn: Scalar) -> Image:
    """Turn the hue of each pixel by a share of the circle; lightness and saturation (HSV) stay.

    The three channels of a hue h, in sixths of the circle, are those of Smith 1978 (HSV to RGB):
    the largest less the chroma times a trapezium of h, shifted by 5, 3 and 1 sixths.
    """
    red, green, blue = jnp.moveaxis(image, -1, 0)
    high = jnp.max(image, axis=-1)
    chroma = high - jnp.min(image, axis=-1)
    over = jnp.where(chroma > 0, chroma, 1)  # grey has no hue: any will do
    # Not `high == red`: XLA may compute red twice, rounded differently, and then they differ.
    hue = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / over,
        jnp.where(green >= blue, 2 + (blue - red) / over, 4 + (red - green) / over),
    )
    place = (hue[..., None] + 6 * turn + jnp.array([5.0, 3.0, 1.0], image.dtype)) % 6
    return high[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)


def autocontrast(image: Image) -> Image:
    """Stretch each channel to the whole range; one of a single level stays."""
    low, high = (extreme(image, axis=(0, 1)) for extreme in (jnp.min, jnp.max))
    flat = high == low
    return jnp.where(flat, image, (image - low) / jnp.where(flat, 1, high - low))


def equalize(image: Image) -> Image:
    """Spread each channel evenly over 256 levels, by its histogram."""
    return jax.vmap(_equalized, -1, -1)(image)


def posterize(image: Image, bits: Scalar) -> Image:
    """Keep so many of the 8 bits of each level."""
    step = jnp.exp2(8 - bits)
    return jnp.floor(jnp.round(image * 255) / step) * step / 255


def solarize(image: Image, threshold: Scalar) -> Image:
    """Invert what is at least the threshold."""
    return jnp.where(image >= threshold, 1 - image, image)


def _equalized(channel: Float[Array, "height width"]) -> Float[Array, "height width"]:
    level = jnp.round(channel * 255).astype(jnp.int32)
    histogram = jnp.zeros(256, jnp.int32).at[level].add(1, mode="promise_in_bounds")
    # The largest level is not counted, so that it, too, can reach 255.
    step = (level.size - histogram[jnp.max(level)]) // 255
    below = jnp.cumsum(histogram) - histogram
    spread = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
    spread = jnp.where(step > 0, spread, jnp.arange(256))
    return spread.at[level].get(mode="promise_in_bounds").astype(channel.dtype) / 255
