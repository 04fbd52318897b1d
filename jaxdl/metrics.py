"""Metrics: per-example quantities, masked and summed, so that they merge exactly.

A task gives, per example, the numerators; only this module sums. Means over an uneven last batch,
over several devices or over several hosts are then exact: sums and weights are added, and divided
once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Mean(NamedTuple):
    """A mean over examples.

    Attributes:
      value: (batch, ...) a quantity of each example.
      weight: (batch,) how much each example counts; by default 1. A language model counts tokens.
    """

    value: Float[Array, "batch ..."]
    weight: Float[Array, " batch"] | None = None


class Count(NamedTuple):
    """How many examples fall into each bin.

    Attributes:
      bin: (batch,) the bin of each example, from 0.
      bins: the number of bins.
    """

    bin: Int[Array, " batch"]
    bins: int


class Total(NamedTuple):
    """A sum and its weight; two are merged by adding both. The weight of counts is None."""

    sum: Any
    weight: Any


def total(metric: Mean | Count, mask: Float[Array, " batch"] | Bool[Array, " batch"]) -> Total:
    """Sum a metric over the examples that are real.

    Padding counts for nothing even where its value is not finite.
    """
    if isinstance(metric, Count):
        return Total(jnp.zeros(metric.bins).at[metric.bin].add(mask), None)
    kind = jnp.promote_types(metric.value.dtype, jnp.float32)  # 16 bits cannot count a batch
    value = metric.value.astype(kind)
    weight = jnp.ones_like(mask, kind) if metric.weight is None else metric.weight.astype(kind)
    weight = jnp.where(mask, weight, 0)
    spread = weight.reshape(weight.shape + (1,) * (value.ndim - 1))
    return Total(jnp.sum(jnp.where(spread != 0, value * spread, 0), axis=0), jnp.sum(weight))


def merge(totals: Iterable[Mapping[str, Total]]) -> dict[str, Total]:
    """Add the totals of several batches, in float64 on the host."""
    merged: dict[str, Total] = {}
    for batch in totals:
        for name, found in batch.items():
            found = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
            merged[name] = jax.tree.map(np.add, merged[name], found) if name in merged else found
    return merged


def means(totals: Mapping[str, Total]) -> dict[str, np.ndarray]:
    """Sum divided by weight (nan where that is 0); a count, which has no weight, is its sum."""
    with np.errstate(invalid="ignore"):
        return {
            name: np.asarray(t.sum if t.weight is None else t.sum / t.weight)
            for name, t in totals.items()
        }
