"""Augmentation that moves things in an image: flips, crops, and affine maps with interpolation.

`random_flip` with boxes, `random_zoom` and `mosaic` move boxes too: see with_boxes.py.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Num, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms.base import (
    Batch,
    Transform,
    along,
    find_column,
    find_images,
    floating,
    map_images,
    require_finite,
    restore,
    without_boxes,
)
from jaxdl.transforms.with_boxes import mirrored_pictures
from jaxdl.types import EPOCH, ROW


def random_flip(
    column: str = "image",
    negate: tuple[str, ...] = (),
    boxes: str | None = None,
    alternate: bool = False,
) -> Transform:
    """Mirror left and right, each image with probability ½.

    Args:
      column: of the images.
      negate: columns of numbers (batch,) that are negated where the image is mirrored, such as the
        angle of a steering wheel.
      boxes: column of boxes to mirror too, if any. Only the picture is then mirrored, which is as
        wide as `extent` says and stays at the left of its canvas.
      alternate: mirror each image in every other epoch instead; which of them begin mirrored is
        drawn. Two epochs then show both sides of all (Jordan 2024, section 3.6). For
        `config.data.augment`; elsewhere a batch needs the columns `row` and `epoch`.
    """

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        count = len(find_column(batch, column, "random_flip"))
        mirrored = _every_other(batch) if alternate else jax.random.bernoulli(key, shape=(count,))

        def flipped(
            x: Num[Array, "batch height width channels"], key: PRNGKeyArray
        ) -> Num[Array, "batch height width channels"]:
            return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)

        if boxes is None:
            flip = without_boxes("random_flip", map_images(column, "random_flip", flipped))
            result = {**flip(batch, key)}
        else:
            result = {**batch, **mirrored_pictures(batch, mirrored, column, boxes)}
        for name in negate:
            x = find_column(batch, name, "random_flip")
            if x.ndim != 1 or x.dtype == bool or jnp.issubdtype(x.dtype, jnp.unsignedinteger):
                raise UserError(
                    f"random_flip: column {name!r} holds {x.dtype}{list(x.shape)}; to be negated, "
                    "it must hold one signed number per example"
                )
            result[name] = jnp.where(mirrored, -x, x)
        return result

    return transform


def _every_other(batch: Batch) -> Bool[Array, " batch"]:
    """Which examples are mirrored in this epoch, if each is in every other one."""
    rows, epochs = (find_column(batch, name, "random_flip") for name in (ROW, EPOCH))
    drawn = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), rows)
    return (jax.vmap(jax.random.bits)(drawn) + epochs.astype(jnp.uint32)) % 2 == 1


def random_reverse(swap: tuple[str, ...] = (), column: str = "image") -> Transform:
    """Play each clip backwards with probability ½.

    A car that drives forwards then seems to reverse along the same path, with the same angle of
    the wheel.

    Args:
      swap: columns (batch, ...) of the last frame, which are swapped with those of the first
        frame, `first_…`, which `config.data.clips.first` makes.
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
        result = {**batch, column: jnp.where(along(reverse, x), x[:, ::-1], x)}
        for last in swap:
            first, own = f"first_{last}", find_column(batch, last, "random_reverse")
            if first not in batch:
                raise UserError(
                    f"random_reverse: no column {first!r}; set config.data.clips.first=({last!r},)"
                )
            result[last] = jnp.where(along(reverse, own), batch[first], own)
            result[first] = jnp.where(along(reverse, own), own, batch[first])
        return result

    return transform


def views(shift: int = 0, column: str = "image") -> Transform:
    """Each image and its mirror image, and both shifted: (batch, views, height, width, channels).

    For `config.data.views`: a classifier's predictions for them are averaged (Krizhevsky et al.
    2012, section 4.1; Jordan 2024, section 3.5).

    Args:
      shift: by how many pixels they are shifted up and left, and down and right, padded by
        reflection: six views. 0 is without shifts: two views.
      column: of the images.
    """
    if shift < 0:
        raise UserError(f"views: shift={shift}; shift by at least 1 pixel, or 0 for no shift")

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x = find_images(batch, column, "views")
        _, height, width, _ = x.shape
        corners = (shift, 0, 2 * shift) if shift else (0,)
        padded = jnp.pad(x, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="reflect")
        seen = [padded[:, at : at + height, at : at + width] for at in corners]
        return {**batch, column: jnp.stack([*seen, *(image[:, :, ::-1] for image in seen)], axis=1)}

    return without_boxes("views", transform)


def random_crop(
    padding: int, fill: Literal["zero", "reflect"] = "zero", column: str = "image"
) -> Transform:
    """Pad every side, and crop to the old size at random, image by image.

    That is a shift by up to `padding` pixels each way (He et al. 2015, section 4.2: 4 on CIFAR-10).
    The padding is zero, or a reflection of the image.
    """
    if padding < 1:
        raise UserError(f"random_crop: padding={padding}; shift by at least 1 pixel")
    if fill not in ("zero", "reflect"):
        raise UserError(f"random_crop: fill={fill!r}; give 'zero' or 'reflect'")

    def cropped(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        corner = jax.random.randint(key, (x.shape[0], 2), 0, 2 * padding + 1)
        around = (padding, padding)
        mode = "reflect" if fill == "reflect" else "constant"
        padded = jnp.pad(x, ((0, 0), around, around, (0, 0)), mode=mode)
        # One slice an image, so that a device needs its own share of the batch only.
        crop = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), x.shape[1:]))
        return crop(padded, corner)

    return without_boxes("random_crop", map_images(column, "random_crop", cropped))


def random_affine(
    rotate: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    shift: float = 0.0,
    column: str = "image",
) -> Transform:
    """Rotate, zoom, shear and shift about the center, by random amounts for each image.

    Each amount is uniform between minus and plus its bound. Interpolation is bilinear, and pixels
    from outside the image are 0 (Simard et al. 2003, section 2).

    Args:
      rotate: bound in degrees.
      zoom: bound as a fraction: 0.1 draws factors from 0.9 to 1.1.
      shear: bound in pixels sideways for each pixel down.
      shift: bound in pixels along each axis.
      column: of the images. Integers stay integers, rounded.
    """
    require_finite("random_affine", rotate=rotate, zoom=zoom, shear=shear, shift=shift)
    if min(rotate, zoom, shear, shift) < 0 or max(rotate, zoom, shear, shift) == 0 or zoom >= 1:
        raise UserError(
            f"random_affine: rotate={rotate}, zoom={zoom}, shear={shear}, shift={shift}; give at "
            "least one, none below 0, and zoom below 1"
        )

    def one(
        image: Num[Array, "height width channels"], amounts: Float[Array, " moves=5"]
    ) -> Num[Array, "height width channels"]:
        angle, zoom, shear, *shift = amounts
        slant = jnp.array([[1.0, 0.0], [shear, 1.0]])
        back = jnp.matmul(turn(angle), slant, precision="highest") / (1 + zoom)
        return warp(image, back, jnp.stack(shift))

    def moved(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        bounds = jnp.array([math.radians(rotate), zoom, shear, shift, shift])
        return jax.vmap(one)(x, bounds * jax.random.uniform(key, (len(x), 5), minval=-1.0))

    return without_boxes("random_affine", map_images(column, "random_affine", moved))


def turn(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    """The matrix that rotates (down, right) by an angle in radians."""
    return jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])


def warp(
    image: Num[Array, "height width channels"],
    back: Float[Array, "2 2"],
    shift: Float[Array, "2"],
) -> Num[Array, "height width channels"]:
    """An affine map of the image about its center: bilinear, and 0 from outside the image.

    Args:
      image: integers stay integers, rounded.
      back: the inverse map: (down, right) from the center, of the result to the image.
      shift: pixels (down, right) by which the result is shifted.
    """
    height, width, _ = image.shape
    middle = ((height - 1) / 2, (width - 1) / 2)
    down = (jnp.arange(height) - middle[0] - shift[0])[:, None]
    right = (jnp.arange(width) - middle[1] - shift[1])[None, :]
    # Written out: in a matrix product a GPU would by default round to 10 bits.
    row = back[0, 0] * down + back[0, 1] * right + middle[0]
    column = back[1, 0] * down + back[1, 1] * right + middle[1]
    return restore(interpolate(floating(image), row, column), image)


def interpolate(
    image: Inexact[Array, "height width channels"],
    row: Float[Array, "rows columns"],
    column: Float[Array, "rows columns"],
) -> Inexact[Array, "rows columns channels"]:
    """The values of an image between its pixels: bilinear, 0 outside."""
    height, width, channels = image.shape
    # A rim of zeros, onto which places outside are moved.
    rimmed = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    row = jnp.clip(row + 1, 0, height + 1)
    column = jnp.clip(column + 1, 0, width + 1)
    top = jnp.minimum(row.astype(jnp.int32), height)
    left = jnp.minimum(column.astype(jnp.int32), width)
    down, right = (row - top)[..., None], (column - left)[..., None]
    # The four neighbours side by side, for a single gather: a third faster.
    corners = (rimmed[:-1, :-1], rimmed[:-1, 1:], rimmed[1:, :-1], rimmed[1:, 1:])
    flat = jnp.concatenate(corners, axis=-1).reshape(-1, 4 * channels)
    near = flat.at[top * (width + 1) + left].get(mode="promise_in_bounds")
    upper_left, upper_right, lower_left, lower_right = jnp.split(near, 4, axis=-1)
    upper = upper_left * (1 - right) + upper_right * right
    lower = lower_left * (1 - right) + lower_right * right
    return upper * (1 - down) + lower * down
