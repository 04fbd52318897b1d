"""Mixing two examples of a batch into one image, with the share of each label.

Each example is mixed with the next of its batch (the last with the first), by a share drawn for
each example, where the papers draw one for the whole batch. Two columns are added: `other_label`,
and `share` (batch,), the weight of the example's own label; `Classification` reads both.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms.base import (
    Batch,
    Transform,
    find_column,
    find_images,
    floating,
    rectangles,
    require_between,
    restore,
)


def mixup(alpha: float = 0.2, column: str = "image", label: str = "label") -> Transform:
    """λ of an image and 1 - λ of another, λ ~ Beta(α, α) (Zhang et al. 2018, section 2).

    Args:
      alpha: 0 leaves the images as they are.
      column: of the images, numbers of any range.
      label: column of the label.
    """
    require_between("mixup", 0, math.inf, alpha=alpha)
    return _mixed("mixup", column, label, fading=1.0, fade=alpha)


def cutmix(alpha: float = 1.0, column: str = "image", label: str = "label") -> Transform:
    """A rectangle from another image, of 1 - λ of the area (Yun et al. 2019, section 3.1).

    It is centered anywhere in the image, so a part may lie outside; the labels are weighted by the
    visible areas.

    Args:
      alpha: λ ~ Beta(α, α); 0 leaves the images as they are.
      column: of the images, numbers of any range.
      label: column of the label.
    """
    require_between("cutmix", 0, math.inf, alpha=alpha)
    return _mixed("cutmix", column, label, fading=0.0, paste=alpha)


def mix(
    mixup: float = 0.2, cutmix: float = 1.0, column: str = "image", label: str = "label"
) -> Transform:
    """`mixup` or `cutmix` of each image, with probability ½ each; the arguments are their α."""
    require_between("mix", 0, math.inf, mixup=mixup, cutmix=cutmix)
    return _mixed("mix", column, label, fading=0.5, fade=mixup, paste=cutmix)


def _mixed(
    name: str, column: str, label: str, *, fading: float, fade: float = 0.0, paste: float = 0.0
) -> Transform:
    """Mixup of each image with probability `fading`, with α = `fade`; else CutMix, α = `paste`."""

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x, labels = find_images(batch, column, name), find_column(batch, label, name)
        if "share" in batch:
            raise UserError(f"{name}: the batch is already mixed; use one of mixup, cutmix and mix")
        coin, shares, places = jax.random.split(key, 3)
        fades = jax.random.bernoulli(coin, fading, (len(x),))
        share = _beta(shares, jnp.where(fades, fade, paste))
        hole = _hole(places, 1 - share, (x.shape[1], x.shape[2]))
        own = jnp.where(fades[:, None, None, None], share[:, None, None, None], ~hole)
        # With the next image as partner, devices exchange one image each and not the batch.
        values = floating(x)
        mixed = own * values + (1 - own) * jnp.roll(values, -1, axis=0)
        return {
            **batch,
            column: restore(mixed, x),
            "other_label": jnp.roll(labels, -1, axis=0),
            "share": jnp.mean(own, axis=(1, 2, 3)),
        }

    return transform


def _beta(key: PRNGKeyArray, alpha: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """Beta(α, α); 1 where α is 0. By logarithms, since for a small α the gammas underflow."""
    first, second = jax.random.loggamma(key, alpha, (2, len(alpha)))
    return jnp.where(alpha > 0, jax.nn.sigmoid(first - second), 1)


def _hole(
    key: PRNGKeyArray, area: Float[Array, " batch"], size: tuple[int, int]
) -> Bool[Array, "batch height width channels=1"]:
    """A rectangle centered anywhere, of this share of the image and with its aspect ratio."""
    middle = jax.random.randint(key, (len(area), 2), 0, jnp.array(size))
    sides = jnp.floor(jnp.array(size) * jnp.sqrt(area)[:, None]).astype(jnp.int32)
    corner = middle - sides // 2
    return rectangles(corner, corner + sides, size)
