"""Building blocks of transforms: from a function of a column to a function of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Num, PRNGKeyArray, Shaped

from jaxdl.errors import UserError
from jaxdl.types import Batch

Transform = Callable[[Batch, PRNGKeyArray], Batch]
Change = Callable[[Array, PRNGKeyArray], Array]


def compose(transforms: Sequence[Transform]) -> Transform:
    """Apply transforms from left to right, each with a key of its own."""

    def composed(batch: Batch, key: PRNGKeyArray) -> Batch:
        for place, transform in enumerate(transforms):
            batch = transform(batch, jax.random.fold_in(key, place))
        return batch

    return composed


def map_column(column: str, name: str, change: Change) -> Transform:
    """A transform that changes one column; `name` is the transform's, for messages."""

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        return {**batch, column: change(find_column(batch, column, name), key)}

    return transform


def map_images(column: str, name: str, change: Change) -> Transform:
    """A transform that changes a column of images, (batch, height, width, channels).

    In clips, (batch, time, height, width, channels), all frames of a clip change alike.
    """

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x = find_column(batch, column, name)
        if x.ndim == 5:  # every frame gets the same key
            return {**batch, column: jax.vmap(change, in_axes=(1, None), out_axes=1)(x, key)}
        return {**batch, column: change(find_images(batch, column, name), key)}

    return transform


def without_boxes(name: str, transform: Transform) -> Transform:
    """The transform of images; it refuses a batch with boxes, since it would not move them."""

    def checked(batch: Batch, key: PRNGKeyArray) -> Batch:
        if {"boxes", "extent"} <= {*batch}:
            raise UserError(
                f"{name}: would move the image but not its boxes; random_flip(boxes='boxes'), "
                "random_zoom and mosaic move both"
            )
        return transform(batch, key)

    return checked


def map_colors(column: str, name: str, change: Change, channels: tuple[int, ...]) -> Transform:
    """A transform of images whose `change` sees floats from 0, black, to 1, white.

    The column may hold such floats, or uint8 from 0 to 255, and keeps its type: results are clipped
    to the range and, for uint8, rounded. It must have one of the given numbers of channels.
    """

    def changed(
        x: Num[Array, "batch height width channels"], key: PRNGKeyArray
    ) -> Num[Array, "batch height width channels"]:
        if x.shape[-1] not in channels:
            raise UserError(
                f"{name}: column {column!r} has {x.shape[-1]} channels, not "
                f"{' or '.join(map(str, channels))}"
            )
        if x.dtype != jnp.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
            raise UserError(
                f"{name}: column {column!r} holds {x.dtype}; colours are uint8 from 0 to 255, or "
                "floats from 0 to 1"
            )
        white = 255 if x.dtype == jnp.uint8 else 1
        result = change(x.astype(jnp.promote_types(x.dtype, jnp.float32)) / white, key)
        return restore(jnp.clip(result, 0, 1) * white, x)

    return map_images(column, name, changed)


def find_column(batch: Batch, column: str, name: str) -> Array:
    """A column of the batch.

    Raises:
      UserError: the batch does not have it.
    """
    if column not in batch:
        there = ", ".join(sorted(batch))
        raise UserError(f"{name}: no column {column!r}; the batch has {there}: set column to one")
    return batch[column]


def find_images(batch: Batch, column: str, name: str) -> Num[Array, "batch height width channels"]:
    """A column of images.

    Raises:
      UserError: the batch does not have it, or it does not have four axes.
    """
    x = find_column(batch, column, name)
    if x.ndim != 4:
        raise UserError(
            f"{name}: column {column!r} has shape {x.shape}, not (batch, height, width, "
            "channels); put it before any transform that flattens"
        )
    return x


def rectangles(
    start: Num[Array, "batch 2"], stop: Num[Array, "batch 2"], size: tuple[int, int]
) -> Bool[Array, "batch height width 1"]:
    """Which pixels of images of `size` lie in a rectangle, from (top, left) to (bottom, right)."""
    inside = []
    for axis, length in enumerate(size):
        place = jnp.arange(length)
        inside.append((place >= start[:, axis, None]) & (place < stop[:, axis, None]))
    return inside[0][:, :, None, None] & inside[1][:, None, :, None]


def along(
    mask: Bool[Array, " batch"], column: Shaped[Array, "batch ..."]
) -> Bool[Array, "batch ..."]:
    """A mask of examples with as many axes as a column, to broadcast with it."""
    return mask.reshape(-1, *(1,) * (column.ndim - 1))


def floating(x: Num[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """Integers as float32; floats as they are."""
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def restore(values: Float[Array, "*shape"], like: Num[Array, "*shape"]) -> Num[Array, "*shape"]:
    """Values as the type of `like`; rounded, for integers."""
    return (values if jnp.issubdtype(like.dtype, jnp.inexact) else jnp.round(values)).astype(
        like.dtype
    )


def require_finite(name: str, **settings: float | tuple[float, ...]) -> None:
    """Refuse settings that are infinite or not a number.

    Raises:
      UserError: names the first.
    """
    for setting, value in settings.items():
        if not all(map(math.isfinite, value if isinstance(value, tuple) else (value,))):
            raise UserError(f"{name}: {setting}={value}; it must be finite")


def require_between(name: str, low: float, high: float, **settings: float) -> None:
    """Refuse settings outside low … high, both allowed.

    Raises:
      UserError: names the first.
    """
    for setting, value in settings.items():
        if not (low <= value <= high and math.isfinite(value)):
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise UserError(f"{name}: {setting}={value}; it must be finite and {limits}")
