"""Transforms: pure functions of a batch on the device, `f(batch, key) -> batch`.

They are made by factories with typed keyword settings and named in `TRANSFORMS`; to add one, write
a factory here or beside, or leave it in your own code and name it as `'package.module:factory'`.
They run inside the compiled step, and the key alone decides what is random. Each example is treated
by itself, so they batch, shard and repeat as the step does; only those that mix examples look at a
neighbour.

    scale, standardize, flatten, unroll              here: what a model needs of its input
    random_flip, random_crop, random_affine,         augment.py: where things are in an image,
    random_erasing, cutout                           and what is cut out of it
    views                                            augment.py: for evaluation
    random_reverse                                   augment.py: clips
    color_jitter, pca_color, random_shadow, yuv      color.py
    rand_augment                                     rand_augment.py: both, drawn from a list
    random_zoom, mosaic                              moves.py: images with boxes
    mixup, cutmix, mix                               mixing.py: two examples in one
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num, PRNGKeyArray

from jaxdl.data.augment import (
    cutout,
    random_affine,
    random_crop,
    random_erasing,
    random_flip,
    random_reverse,
    views,
)
from jaxdl.data.color import color_jitter, pca_color, random_shadow, yuv
from jaxdl.data.columns import Batch, Transform, floating, map_column, require_finite
from jaxdl.data.mixing import cutmix, mix, mixup
from jaxdl.data.moves import mosaic, random_zoom
from jaxdl.data.rand_augment import rand_augment
from jaxdl.errors import UserError


def compose(transforms: Sequence[Transform]) -> Transform:
    """Apply transforms from left to right, each with a key of its own."""

    def composed(batch: Batch, key: PRNGKeyArray) -> Batch:
        for place, transform in enumerate(transforms):
            batch = transform(batch, jax.random.fold_in(key, place))
        return batch

    return composed


def scale(column: str = "image", by: float = 1 / 255, shift: float = 0.0) -> Transform:
    """x · by + shift; integers become float32."""
    require_finite("scale", by=by, shift=shift)
    return map_column(column, "scale", lambda x, key: floating(x) * by + shift)


def standardize(
    mean: float | tuple[float, ...], std: float | tuple[float, ...], column: str = "image"
) -> Transform:
    """(x - mean) / std along the last axis: of an image, per channel; integers become float32.

    The two are in the units of the column as it comes, so 0 to 255 for an image not scaled before.
    """
    means, deviations = (v if isinstance(v, tuple) else (v,) for v in (mean, std))
    require_finite("standardize", mean=means, std=deviations)
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
        x = floating(x)
        return (x - jnp.asarray(means, x.dtype)) / jnp.asarray(deviations, x.dtype)

    return map_column(column, "standardize", standardized)


def flatten(column: str = "image") -> Transform:
    """(batch, …) -> (batch, features)."""
    return map_column(column, "flatten", lambda x, key: x.reshape(x.shape[0], -1))


def unroll(steps: int, column: str = "image") -> Transform:
    """(batch, …) -> (batch, steps, features): a sequence, such as the pixels of an image."""

    def unrolled(
        x: Num[Array, "batch ..."], key: PRNGKeyArray
    ) -> Num[Array, "batch time features"]:
        size = math.prod(x.shape[1:])
        if steps < 1 or size % steps:
            raise UserError(f"unroll: steps={steps} does not divide {size} numbers an example")
        return x.reshape(len(x), steps, -1)

    return map_column(column, "unroll", unrolled)


TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "color_jitter": color_jitter,
    "cutmix": cutmix,
    "cutout": cutout,
    "flatten": flatten,
    "mix": mix,
    "mixup": mixup,
    "mosaic": mosaic,
    "pca_color": pca_color,
    "rand_augment": rand_augment,
    "random_affine": random_affine,
    "random_crop": random_crop,
    "random_erasing": random_erasing,
    "random_flip": random_flip,
    "random_reverse": random_reverse,
    "random_shadow": random_shadow,
    "random_zoom": random_zoom,
    "scale": scale,
    "standardize": standardize,
    "unroll": unroll,
    "views": views,
    "yuv": yuv,
}
