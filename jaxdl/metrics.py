"""Metrics: per-example quantities, masked and summed, so that they merge exactly.

A task gives, per example, the numerators; only this module sums. Means over an uneven last batch,
over several devices or over several hosts are then exact: sums and weights are added, and divided
once, at the end. What is no sum, such as average precision, is made from what is kept of each.
"""

from __future__ import annotations

import functools
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


class Each(NamedTuple):
    """What is kept of every example, for measures that are no sums, such as average precision.

    Attributes:
      value: (batch, ...) a pytree of arrays.
    """

    value: Any


class Total(NamedTuple):
    """A sum and its weight; two are merged by adding both. The weight of counts is None."""

    sum: Any
    weight: Any


class Kept(NamedTuple):
    """Values of examples, and which are real; two are merged by appending what is real."""

    value: Any
    mask: Any


Metric = Mean | Count | Each


def total(metric: Metric, mask: Float[Array, " batch"] | Bool[Array, " batch"]) -> Total | Kept:
    """Sum a metric over the examples that are real.

    Padding counts for nothing even where its value is not finite.
    """
    if isinstance(metric, Each):
        return Kept(metric.value, mask)
    if isinstance(metric, Count):
        return Total(jnp.zeros(metric.bins).at[metric.bin].add(mask), None)
    kind = jnp.promote_types(metric.value.dtype, jnp.float32)  # 16 bits cannot count a batch
    value = metric.value.astype(kind)
    weight = jnp.ones_like(mask, kind) if metric.weight is None else metric.weight.astype(kind)
    weight = jnp.where(mask, weight, 0)
    spread = weight.reshape(weight.shape + (1,) * (value.ndim - 1))
    return Total(jnp.sum(jnp.where(spread != 0, value * spread, 0), axis=0), jnp.sum(weight))


def merge(totals: Iterable[Mapping[str, Total | Kept]]) -> dict[str, Total | Kept]:
    """The totals of several batches, added in float64 on the host; what is kept, in their order."""
    found: dict[str, list[Any]] = {}
    for batch in totals:
        for name, one in batch.items():
            found.setdefault(name, []).append(one)
    return {
        name: _appended(parts) if isinstance(parts[0], Kept) else _added(parts)
        for name, parts in found.items()
    }


def means(totals: Mapping[str, Total | Kept]) -> dict[str, Any]:
    """Sum divided by weight (nan where that is 0); a count, which has no weight, is its sum.

    Of what is kept, the values themselves.
    """
    return {name: t.value if isinstance(t, Kept) else _mean(t) for name, t in totals.items()}


def _added(parts: list[Total]) -> Total:
    wide = [jax.tree.map(lambda x: np.asarray(x, np.float64), part) for part in parts]
    return functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), wide)


def _appended(parts: list[Kept]) -> Kept:
    masks = [np.asarray(part.mask, bool) for part in parts]
    real = [
        jax.tree.map(lambda rows, mask=mask: np.asarray(rows)[mask], part.value)
        for part, mask in zip(parts, masks, strict=True)
    ]
    value = jax.tree.map(lambda *rows: np.concatenate(rows), *real)
    return Kept(value, np.concatenate([mask[mask] for mask in masks]))


def _mean(found: Total) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(found.sum if found.weight is None else found.sum / found.weight)
