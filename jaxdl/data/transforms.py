"""Transforms: pure functions of a batch on the device, `f(batch, key) -> batch`.

They are made by factories with typed keyword settings and named in `TRANSFORMS`; to add one, write
a factory here, or leave it in your own code and name it as `'package.module:factory'`. They run
inside the compiled step: each example is treated by itself, so they batch, shard and repeat as the
step does, and the key alone decides what is random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Num, PRNGKeyArray

from jaxdl.errors import UserError

Batch = Mapping[str, Array]
Transform = Callable[[Batch, PRNGKeyArray], Batch]


def compose(transforms: Sequence[Transform]) -> Transform:
    """Apply transforms from left to right, each with a key of its own."""

    def composed(batch: Batch, key: PRNGKeyArray) -> Batch:
        for place, transform in enumerate(transforms):
            batch = transform(batch, jax.random.fold_in(key, place))
        return batch

    return composed


def scale(column: str = "image", by: float = 1 / 255, shift: float = 0.0) -> Transform:
    """x · by + shift; integers become float32."""
    _require_finite("scale", by=by, shift=shift)
    return _map_column(column, "scale", lambda x, key: _floating(x) * by + shift)


def standardize(
    mean: float | tuple[float, ...], std: float | tuple[float, ...], column: str = "image"
) -> Transform:
    """(x - mean) / std along the last axis: of an image, per channel; integers become float32.

    The two are in the units of the column as it comes, so 0 to 255 for an image not scaled before.
    """
    means, deviations = (v if isinstance(v, tuple) else (v,) for v in (mean, std))
    _require_finite("standardize", mean=means, std=deviations)
    if not means or not deviations or min(deviations) <= 0:
        raise UserError(
            f"standardize: mean={mean}, std={std}; give a number or one for each channel, and "
            "deviations above 0"
        )

    def standardized(x: Num[Array, "batch ... channels"], key: PRNGKeyArray) -> Array:
        for name, values in (("mean", means), ("std", deviations)):
            if len(values) not in (1, x.shape[-1]):
                raise UserError(
                    f"standardize: {name} has {len(values)} values, column {column!r} "
                    f"{x.shape[-1]} channels; give one for each, or one for all"
                )
        x = _floating(x)
        return (x - jnp.asarray(means, x.dtype)) / jnp.asarray(deviations, x.dtype)

    return _map_column(column, "standardize", standardized)


def flatten(column: str = "image") -> Transform:
    """(batch, …) -> (batch, features)."""
    return _map_column(column, "flatten", lambda x, key: x.reshape(x.shape[0], -1))


def unroll(steps: int, column: str = "image") -> Transform:
    """(batch, …) -> (batch, steps, features): a sequence, such as the pixels of an image."""

    def unrolled(
        x: Num[Array, "batch ..."], key: PRNGKeyArray
    ) -> Num[Array, "batch time features"]:
        size = math.prod(x.shape[1:])
        if steps < 1 or size % steps:
            raise UserError(f"unroll: steps={steps} does not divide {size} numbers an example")
        return x.reshape(len(x), steps, -1)

    return _map_column(column, "unroll", unrolled)


def random_flip(column: str = "image") -> Transform:
    """Mirror left and right, each image with probability ½."""

    def flipped(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        mirrored: Bool[Array, " batch"] = jax.random.bernoulli(key, shape=x.shape[:1])
        return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)

    return _map_column(column, "random_flip", flipped, images=True)


def random_crop(padding: int, column: str = "image") -> Transform:
    """Pad with zeros on every side, and cut the old size out again at random, image by image.

    That is a shift by up to `padding` pixels each way (He et al. 2015, section 4.2, has 4 on
    CIFAR-10).
    """
    if padding < 1:
        raise UserError(f"random_crop: padding={padding}; shift by at least 1 pixel")

    def cropped(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        corner = jax.random.randint(key, (x.shape[0], 2), 0, 2 * padding + 1)
        around = (padding, padding)
        padded = jnp.pad(x, ((0, 0), around, around, (0, 0)))
        # A slice an image, so that a device with its share of the batch needs none of the others.
        cut = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), x.shape[1:]))
        return cut(padded, corner)

    return _map_column(column, "random_crop", cropped, images=True)


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
    _require_finite("random_affine", rotate=rotate, zoom=zoom, shear=shear, shift=shift)
    if min(rotate, zoom, shear, shift) < 0 or max(rotate, zoom, shear, shift) == 0 or zoom >= 1:
        raise UserError(
            f"random_affine: rotate={rotate}, zoom={zoom}, shear={shear}, shift={shift}; give at "
            "least one, none below 0, and zoom below 1"
        )

    def moved(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        bounds = jnp.array([math.radians(rotate), zoom, shear, shift, shift])
        drawn = bounds * jax.random.uniform(key, (x.shape[0], 5), minval=-1.0)
        return jax.vmap(_warp)(x, drawn)

    return _map_column(column, "random_affine", moved, images=True)


TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "flatten": flatten,
    "random_affine": random_affine,
    "random_crop": random_crop,
    "random_flip": random_flip,
    "scale": scale,
    "standardize": standardize,
    "unroll": unroll,
}


def _map_column(
    column: str,
    name: str,
    change: Callable[[Array, PRNGKeyArray], Array],
    *,
    images: bool = False,
) -> Transform:
    """A transform that changes one column; `images`: of four axes only."""

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        if column not in batch:
            raise UserError(
                f"{name}: no column {column!r}; the batch has {', '.join(sorted(batch))}"
            )
        x = batch[column]
        if images and x.ndim != 4:
            raise UserError(
                f"{name}: column {column!r} has shape {x.shape}, not (batch, height, width, "
                "channels); put it before any transform that flattens"
            )
        return {**batch, column: change(x, key)}

    return transform


def _floating(x: Num[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def _require_finite(name: str, **settings: float | tuple[float, ...]) -> None:
    for setting, value in settings.items():
        if not all(map(math.isfinite, value if isinstance(value, tuple) else (value,))):
            raise UserError(f"{name}: {setting}={value}; it must be finite")


def _warp(
    image: Num[Array, "height width channels"], drawn: Float[Array, " moves=5"]
) -> Num[Array, "height width channels"]:
    """The image, moved as `drawn` (angle, zoom, shear, shift down, shift right) says."""
    angle, zoom, shear, *shift = drawn
    height, width, _ = image.shape
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2])
    turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    slant = jnp.array([[1.0, 0.0], [shear, 1.0]])
    # From each pixel of the result back to the place in the image that it comes from.
    back = turn @ slant / (1 + zoom)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1)
    place = (grid - middle - jnp.stack(shift)) @ back.T + middle
    warped = _interpolate(_floating(image), place)
    return warped if image.dtype == warped.dtype else jnp.round(warped).astype(image.dtype)


def _interpolate(
    image: Inexact[Array, "height width channels"], place: Float[Array, "rows columns 2"]
) -> Inexact[Array, "rows columns channels"]:
    """Bilinear, 0 outside."""
    height, width, channels = image.shape
    # A rim of zeros: places beyond it are moved onto it, and so read zeros only.
    rimmed = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    row = jnp.clip(place[..., 0] + 1, 0, height + 1)
    column = jnp.clip(place[..., 1] + 1, 0, width + 1)
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
