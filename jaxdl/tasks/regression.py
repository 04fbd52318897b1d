"""Regression: predict a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import Mean


@dataclass(frozen=True)
class Regression:
    """Least squares (or absolute error) of one number an example.

    The objective is the `reduction` of `½(y - t)²` (Bishop, PRML 2006, eq. 1.2) or `|y - t|` over
    the examples, plus `l2/2 ‖w‖²` over all parameters (eq. 1.4).

    Args:
      loss_name: 'squares' or 'absolute'.
      reduction: 'mean' or 'sum' over examples; the book's error is the sum.
      l2: λ of eq. 1.4, at least 0.
      input: column of the model's input.
      target: column of the target, (examples,).
    """

    loss_name: Literal["squares", "absolute"] = "squares"
    reduction: Literal["mean", "sum"] = "mean"
    l2: float = 0.0
    input: str = "features"
    target: str = "target"

    def __post_init__(self) -> None:
        """Refuse a penalty that rewards large weights."""
        if self.l2 < 0:
            raise UserError(f"l2 must be at least 0, got {self.l2}")

    def inputs(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The input column."""
        return (batch[self.input],)

    def loss(self, outputs: Float[Array, " batch"], batch: Mapping[str, Any]) -> Array:
        """½(y - t)² or |y - t|, (batch,)."""
        error = outputs - batch[self.target]
        return 0.5 * jnp.square(error) if self.loss_name == "squares" else jnp.abs(error)

    def weight(self, batch: Mapping[str, Any]) -> Array:
        """Each example counts once, (batch,)."""
        return jnp.ones(len(batch[self.target]))

    def penalty(self, params: Any) -> Any:
        """l2/2 times the squared norm of the parameters."""
        if not self.l2:
            return 0.0
        return 0.5 * self.l2 * sum(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(params))

    def metrics(self, outputs: Float[Array, " batch"], batch: Mapping[str, Any]) -> dict[str, Any]:
        """Errors of each example."""
        error = outputs - batch[self.target].astype(outputs.dtype)
        return {
            "loss": Mean(self.loss(outputs, batch)),
            "mse": Mean(jnp.square(error)),
            "mae": Mean(jnp.abs(error)),
        }

    def report(self, means: Mapping[str, np.ndarray], table: Table) -> dict[str, Any]:
        """loss, mse, rmse, mae, and R² = 1 - mse / variance of the targets.

        R² is nan where all targets are equal.
        """
        variance = float(np.var(table.columns[self.target], dtype=np.float64))
        shown = {name: float(means[name]) for name in ("loss", "mse", "mae")}
        r2 = 1 - shown["mse"] / variance if variance > 0 else float("nan")
        return {**shown, "rmse": shown["mse"] ** 0.5, "r2": r2}

    def predict(self, outputs: Float[Array, " batch"]) -> Array:
        """The number itself."""
        return outputs

    def output_shapes(self, batch: Mapping[str, Any]) -> list[tuple[int, ...]]:
        """One number an example, shaped as the target."""
        return [tuple(batch[self.target].shape)]

    def check(self, table: Table) -> None:
        """Refuse missing columns and targets that are no single number."""
        remedy = "Set config.task.input and config.task.target"
        table.require((self.input, self.target), remedy)
        shape, kind = table.columns[self.target].shape, table.columns[self.target].dtype.kind
        if len(shape) != 1 or kind not in "fiu":
            raise UserError(
                f"{table.where}: column {self.target!r} must hold one number an example, "
                f"got shape {shape} of {table.columns[self.target].dtype}"
            )
