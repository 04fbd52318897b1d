"""Metrics: per-example quantities, masked and summed, so that they merge exactly.

A task gives the value of each example, and only this module sums them. Means are then exact over an
uneven last batch, several devices or several hosts: sums and weights are added, and divided once,
at the end. A measure that is not a mean, such as average precision, is computed from the values of
all examples: `PerExample`.
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
    """A mean over examples. An array (batch, ...) in its place counts as `Mean(array)`.

    Attributes:
      value: (batch, ...) the value of each example.
      weight: (batch,) the weight of each example, such as its number of tokens; by default 1.
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


class PerExample(NamedTuple):
    """The values of all examples, in order, for measures that are not means.

    Attributes:
      value: a pytree of arrays (batch, ...).
    """

    value: Any


class WeightedSum(NamedTuple):
    """A sum over examples and the sum of their weights, None for counts; merged by adding."""

    sum: Any
    weight: Any


class Gathered(NamedTuple):
    """Values of examples, and a mask of the real ones; merged by appending the real ones."""

    value: Any
    mask: Any


Metric = Array | Mean | Count | PerExample
Totals = Mapping[str, WeightedSum | Gathered]


def total(
    metric: Metric, mask: Float[Array, " batch"] | Bool[Array, " batch"]
) -> WeightedSum | Gathered:
    """Sum a metric over a batch; an array counts as `Mean(array)`.

    Args:
      metric: of the examples of the batch.
      mask: (batch,) which examples are real. The others are padding and add nothing, even where
        their value is not finite.
    """
    if isinstance(metric, PerExample):
        return Gathered(metric.value, mask)
    if isinstance(metric, Count):
        return WeightedSum(jnp.zeros(metric.bins).at[metric.bin].add(mask), None)
    if not isinstance(metric, Mean):
        metric = Mean(metric)
    kind = jnp.promote_types(metric.value.dtype, jnp.float32)  # 16 bits cannot count a batch
    value = metric.value.astype(kind)
    weight = jnp.ones_like(mask, kind) if metric.weight is None else metric.weight.astype(kind)
    weight = jnp.where(mask, weight, 0)
    spread = weight.reshape(weight.shape + (1,) * (value.ndim - 1))
    return WeightedSum(jnp.sum(jnp.where(spread != 0, value * spread, 0), axis=0), jnp.sum(weight))


def merge(totals: Iterable[Totals]) -> dict[str, WeightedSum | Gathered]:
    """The totals of several batches together: sums in float64 on the host, values in order."""
    by_name: dict[str, list[Any]] = {}
    for batch in totals:
        for name, part in batch.items():
            by_name.setdefault(name, []).append(part)
    return {
        name: _appended(parts) if isinstance(parts[0], Gathered) else _added(parts)
        for name, parts in by_name.items()
    }


def means(totals: Totals) -> dict[str, Any]:
    """Each sum divided by its weight, nan where that is 0; of counts, the sum.

    Of `PerExample`, the values of all examples.
    """
    return {name: t.value if isinstance(t, Gathered) else _mean(t) for name, t in totals.items()}


def _added(parts: list[WeightedSum]) -> WeightedSum:
    wide = [jax.tree.map(lambda x: np.asarray(x, np.float64), part) for part in parts]
    return functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), wide)


def _appended(parts: list[Gathered]) -> Gathered:
    masks = [np.asarray(part.mask, bool) for part in parts]
    real = [
        jax.tree.map(lambda rows, mask=mask: np.asarray(rows)[mask], part.value)
        for part, mask in zip(parts, masks, strict=True)
    ]
    value = jax.tree.map(lambda *rows: np.concatenate(rows), *real)
    return Gathered(value, np.concatenate([mask[mask] for mask in masks]))


def _mean(total: WeightedSum) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(total.sum if total.weight is None else total.sum / total.weight)
