"""Preparing the inputs of a model: their range and their shape."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Num, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms.base import Transform, floating, map_column, require_finite


def scale(column: str = "image", by: float = 1 / 255, shift: float = 0.0) -> Transform:
    """x · by + shift; integers become float32."""
    require_finite("scale", by=by, shift=shift)
    return map_column(column, "scale", lambda x, key: floating(x) * by + shift)


def standardize(
    mean: float | tuple[float, ...], std: float | tuple[float, ...], column: str = "image"
) -> Transform:
    """(x - mean) / std along the last axis: of an image, per channel; integers become float32.

    Both are in the units of the column at this point: 0 to 255 for an image that was not scaled.
    """
    means, deviations = (v if isinstance(v, tuple) else (v,) for v in (mean, std))
    require_finite("standardize", mean=means, std=deviations)
    if not means or not deviations or min(deviations) <= 0:
        raise UserError(
            f"standardize: mean={mean}, std={std}; give a number or one for each channel, and "
            "standard deviations above 0"
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
            raise UserError(
                f"unroll: steps={steps} does not divide the {size} numbers of an example"
            )
        return x.reshape(len(x), steps, -1)

    return map_column(column, "unroll", unrolled)
