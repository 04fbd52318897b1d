"""Augmentation of images, one by one: where things are in them, and what is cut out of them."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Num, PRNGKeyArray

from jaxdl.data.columns import (
    Batch,
    Transform,
    along,
    find_column,
    find_images,
    floating,
    map_images,
    rectangles,
    require_between,
    require_finite,
    restore,
)
from jaxdl.data.moves import mirrored_pictures
from jaxdl.errors import UserError

_TRIES = 10  # rectangles drawn until one fits, as torchvision does


def random_flip(
    column: str = "image", negate: tuple[str, ...] = (), boxes: str | None = None
) -> Transform:
    """Mirror left and right, each image with probability ½.

    Args:
      column: of the images.
      negate: columns of numbers (batch,) whose sign turns where the image is mirrored, such as the
        angle of a steering wheel.
      boxes: the column of boxes, where there is one: they are mirrored too. Pictures then stay at
        the left of their canvases, as wide as `extent` says.
    """

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        count = len(find_column(batch, column, "random_flip"))
        mirrored = jax.random.bernoulli(key, shape=(count,))

        def flipped(
            x: Num[Array, "batch height width channels"], key: PRNGKeyArray
        ) -> Num[Array, "batch height width channels"]:
            return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)

        if boxes is None:
            done = {**map_images(column, "random_flip", flipped)(batch, key)}
        else:
            done = {**batch, **mirrored_pictures(batch, mirrored, column, boxes)}
        for name in negate:
            x = find_column(batch, name, "random_flip")
            if x.ndim != 1 or x.dtype == bool or jnp.issubdtype(x.dtype, jnp.unsignedinteger):
                raise UserError(
                    f"random_flip: column {name!r} holds {x.dtype}{list(x.shape)}; the sign of one "
                    "number an example can be turned"
                )
            done[name] = jnp.where(mirrored, -x, x)
        return done

    return transform


def random_reverse(swap: tuple[str, ...] = (), column: str = "image") -> Transform:
    """Play each clip backwards with probability ½.

    A car that drives forwards then looks like one that reverses along the same path, and so with
    the wheel turned alike.

    Args:
      swap: columns (batch, ...) of the last frame, which then is the one that was first: they
        change places with `first_…`, which `config.data.clips.first` makes.
      column: of the clips.
    """

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x = find_column(batch, column, "random_reverse")
        if x.ndim != 5:
            raise UserError(
                f"random_reverse: column {column!r} has shape {x.shape}, not (batch, time, height, "
                "width, channels); set config.data.clips"
            )
        reverse = jax.random.bernoulli(key, shape=(len(x),))
        done = {**batch, column: jnp.where(along(reverse, x), x[:, ::-1], x)}
        for last in swap:
            first, own = f"first_{last}", find_column(batch, last, "random_reverse")
            if first not in batch:
                raise UserError(
                    f"random_reverse: no column {first!r}; set config.data.clips.first=({last!r},)"
                )
            done[last] = jnp.where(along(reverse, own), batch[first], own)
            done[first] = jnp.where(along(reverse, own), own, batch[first])
        return done

    return transform


def views(shift: int = 0, column: str = "image") -> Transform:
    """Each image and its mirror image, and both moved: (batch, views, height, width, channels).

    For `config.data.views`: a classifier's answers to them are averaged (Krizhevsky et al. 2012,
    section 4.1; Jordan 2024, section 3.5).

    Args:
      shift: by how many pixels they are moved up and left, and down and right, a reflection of
        what is inside coming in; 0 leaves those four out, and two views.
      column: of the images.
    """
    if shift < 0:
        raise UserError(f"views: shift={shift}; move by at least 1 pixel, or 0 for none")

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x = find_images(batch, column, "views")
        _, height, width, _ = x.shape
        corners = (shift, 0, 2 * shift) if shift else (0,)
        padded = jnp.pad(x, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="reflect")
        seen = [padded[:, at : at + height, at : at + width] for at in corners]
        return {**batch, column: jnp.stack([*seen, *(image[:, :, ::-1] for image in seen)], axis=1)}

    return transform


def random_crop(
    padding: int, fill: Literal["zero", "reflect"] = "zero", column: str = "image"
) -> Transform:
    """Pad every side, and cut the old size out again at random, image by image.

    That is a shift by up to `padding` pixels each way (He et al. 2015, section 4.2, has 4 on
    CIFAR-10), where zeros come in, or a reflection of what is inside.
    """
    if padding < 1:
        raise UserError(f"random_crop: padding={padding}; shift by at least 1 pixel")

    def cropped(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        corner = jax.random.randint(key, (x.shape[0], 2), 0, 2 * padding + 1)
        around = (padding, padding)
        mode = "reflect" if fill == "reflect" else "constant"
        padded = jnp.pad(x, ((0, 0), around, around, (0, 0)), mode=mode)
        # A slice an image, so that a device with its share of the batch needs none of the others.
        cut = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), x.shape[1:]))
        return cut(padded, corner)

    return map_images(column, "random_crop", cropped)


def random_affine(
    rotate: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    shift: float = 0.0,
    column: str = "image",
) -> Transform:
    """Rotate, zoom, shear and shift about the middle, by amounts drawn for each image.

    Each is uniform within its bound both ways. Pixels between pixels are interpolated linearly,
    and what comes from outside the image is 0 (Simard et al. 2003, section 2).

    Args:
      rotate: degrees.
      zoom: as a share: 0.1 draws factors from 0.9 to 1.1.
      shear: pixels sideways for each pixel down.
      shift: pixels along each axis.
      column: of the images. Integers stay integers, rounded.
    """
    require_finite("random_affine", rotate=rotate, zoom=zoom, shear=shear, shift=shift)
    if min(rotate, zoom, shear, shift) < 0 or max(rotate, zoom, shear, shift) == 0 or zoom >= 1:
        raise UserError(
            f"random_affine: rotate={rotate}, zoom={zoom}, shear={shear}, shift={shift}; give at "
            "least one, none below 0, and zoom below 1"
        )

    def one(
        image: Num[Array, "height width channels"], drawn: Float[Array, " moves=5"]
    ) -> Num[Array, "height width channels"]:
        angle, zoom, shear, *shift = drawn
        slant = jnp.array([[1.0, 0.0], [shear, 1.0]])
        back = jnp.matmul(turn(angle), slant, precision="highest") / (1 + zoom)
        return warp(image, back, jnp.stack(shift))

    def moved(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        bounds = jnp.array([math.radians(rotate), zoom, shear, shift, shift])
        return jax.vmap(one)(x, bounds * jax.random.uniform(key, (len(x), 5), minval=-1.0))

    return map_images(column, "random_affine", moved)


def cutout(size: int, value: float | tuple[float, ...] = 0.0, column: str = "image") -> Transform:
    """Paint over a square whose middle is anywhere in the image (DeVries & Taylor 2017, section 3).

    What of it lies outside the image is cut off, so the square is often smaller.

    Args:
      size: side of the square, in pixels (the paper has 16 on CIFAR-10, and 8 on CIFAR-100).
      value: the paint, or one for each channel, in the units of the column as it comes. The
        paper's 0 is that of standardised images: before `standardize`, give its mean.
      column: of the images.
    """
    if size < 1:
        raise UserError(f"cutout: size={size}; cut out at least 1 pixel")
    require_finite("cutout", value=value)

    def cut(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        middle = jax.random.randint(key, (len(x), 2), 0, jnp.array(x.shape[1:3]))
        corner = middle - size // 2
        hole = rectangles(corner, corner + size, (x.shape[1], x.shape[2]))
        return jnp.where(hole, _paint("cutout", value, x), x)

    return map_images(column, "cutout", cut)


def random_erasing(
    probability: float = 0.25,
    area: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: float | tuple[float, ...] | Literal["noise"] = 0.0,
    column: str = "image",
) -> Transform:
    """Paint over a rectangle, each image with a probability (Zhong et al. 2020, algorithm 1).

    A rectangle that does not fit is drawn again, up to ten times. The ratio is uniform in its
    logarithm, as torchvision's, so that high ones are as likely as wide ones; the paper's is not.

    Args:
      probability: that an image is erased.
      area: bounds of the rectangle's share of the image.
      ratio: bounds of its height over its width.
      value: the paint, or one for each channel, in the units of the column as it comes; or 'noise',
        drawn for each number from 0 to 255 (uint8) or from 0 to 1 (floats), the paper's best.
      column: of the images.
    """
    require_between("random_erasing", 0, 1, probability=probability)
    require_finite("random_erasing", area=area, ratio=ratio)
    if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise UserError(
            f"random_erasing: area={area}, ratio={ratio}; give bounds above 0, the lower first, "
            "and areas up to 1"
        )
    if value != "noise":
        require_finite("random_erasing", value=value)

    def erased(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        shape, drawn, noise = jax.random.split(key, 3)
        size = (x.shape[1], x.shape[2])
        sides, fits = _fitting(shape, len(x), size, area, ratio)
        *place, coin = jax.random.uniform(drawn, (3, len(x)))
        corner = jnp.floor(jnp.stack(place, axis=-1) * (jnp.array(size) - sides + 1))
        hole = rectangles(corner, corner + sides, size)
        hole &= (fits & (coin < probability))[:, None, None, None]
        paint = _noise(noise, x) if value == "noise" else _paint("random_erasing", value, x)
        return jnp.where(hole, paint, x)

    return map_images(column, "random_erasing", erased)


def turn(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    """The rotation by an angle, in radians, of (down, right)."""
    return jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])


def warp(
    image: Num[Array, "height width channels"],
    back: Float[Array, "2 2"],
    shift: Float[Array, "2"],
) -> Num[Array, "height width channels"]:
    """The image, moved about its middle: bilinear, and 0 where it comes from outside.

    Args:
      image: integers stay integers, rounded.
      back: takes (down, right) from the middle of the result to where in the image it comes from.
      shift: by how many pixels (down, right) the result is moved.
    """
    height, width, _ = image.shape
    middle = ((height - 1) / 2, (width - 1) / 2)
    down = (jnp.arange(height) - middle[0] - shift[0])[:, None]
    right = (jnp.arange(width) - middle[1] - shift[1])[None, :]
    # Written out, since by default a GPU rounds the numbers of a matrix product to 10 bits.
    row = back[0, 0] * down + back[0, 1] * right + middle[0]
    column = back[1, 0] * down + back[1, 1] * right + middle[1]
    return restore(interpolate(floating(image), row, column), image)


def interpolate(
    image: Inexact[Array, "height width channels"],
    row: Float[Array, "rows columns"],
    column: Float[Array, "rows columns"],
) -> Inexact[Array, "rows columns channels"]:
    """What an image holds between its pixels: bilinear, 0 outside."""
    height, width, channels = image.shape
    # A rim of zeros: places beyond it are moved onto it, and so read zeros only.
    rimmed = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    row = jnp.clip(row + 1, 0, height + 1)
    column = jnp.clip(column + 1, 0, width + 1)
    top = jnp.minimum(row.astype(jnp.int32), height)
    left = jnp.minimum(column.astype(jnp.int32), width)
    down, right = (row - top)[..., None], (column - left)[..., None]
    # The four neighbours side by side, so that one gather finds them all: a third faster.
    corners = (rimmed[:-1, :-1], rimmed[:-1, 1:], rimmed[1:, :-1], rimmed[1:, 1:])
    flat = jnp.concatenate(corners, axis=-1).reshape(-1, 4 * channels)
    near = flat.at[top * (width + 1) + left].get(mode="promise_in_bounds")
    upper_left, upper_right, lower_left, lower_right = jnp.split(near, 4, axis=-1)
    upper = upper_left * (1 - right) + upper_right * right
    lower = lower_left * (1 - right) + lower_right * right
    return upper * (1 - down) + lower * down


def _fitting(
    key: PRNGKeyArray,
    count: int,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Float[Array, "batch 2"], Bool[Array, " batch"]]:
    """Sides of rectangles smaller than the image, as `random_erasing` draws them, and if any is."""
    low, high = map(math.log, ratio)
    # Tries before examples: XLA's CPU compiler takes seconds over 10 as the last axis.
    drawn = jax.random.uniform(key, (2, _TRIES, count))
    surface = math.prod(size) * (area[0] + (area[1] - area[0]) * drawn[0])
    slope = jnp.exp(low + (high - low) * drawn[1])
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
