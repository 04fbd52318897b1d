"""Regression: predict a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.table import Table
from jaxdl.errors import UserError, check_choices
from jaxdl.metrics import Mean, Metric, PerExample
from jaxdl.tasks.answer import Answer
from jaxdl.tasks.base import GivesAnswers, SquaredErrors

_GROUPS = 20  # the most groups that are reported
_LISTED = 10_000  # the most predictions of a split in tables.json


@dataclass(frozen=True)
class Regression(SquaredErrors, GivesAnswers):
    """Least squares (or absolute error) of one number an example.

    The objective is the `reduction` of `½(y - t)²` (Bishop, PRML 2006, eq. 1.2) or `|y - t|` over
    the examples, plus `l2/2 ‖w‖²` over all parameters (eq. 1.4).

    Args:
      loss_name: 'squares' or 'absolute'.
      reduction: 'mean' or 'sum' over examples; the book's error is the sum.
      l2: λ of eq. 1.4, at least 0.
      input: column of the model's input.
      target: column of the target, (examples,).
      group: column of whole numbers, (examples,), such as the drive of a frame: each group is also
        reported by itself, next to baselines that need no model.
      zero_weight: weight in the objective of examples whose target is exactly 0, relative to the
        others; for targets that are mostly 0. The reported loss is without it.
    """

    loss_name: Literal["squares", "absolute"] = "squares"
    reduction: Literal["mean", "sum"] = "mean"
    l2: float = 0.0
    input: str = "features"
    target: str = "target"
    group: str | None = None
    zero_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a penalty that rewards large weights, and weights that reward errors."""
        check_choices(self)
        if self.l2 < 0:
            raise UserError(f"l2 must be at least 0, got {self.l2}")
        if not 0 < self.zero_weight < math.inf:
            raise UserError(f"zero_weight must be finite and above 0, got {self.zero_weight}")

    def loss(self, outputs: Float[Array, " batch"], batch: Mapping[str, Any]) -> Array:
        """½(y - t)² or |y - t|, times the weight of the example, (batch,)."""
        loss = self._loss(outputs, batch)
        return loss if self.zero_weight == 1 else loss * self.weight(batch).astype(loss.dtype)

    def weight(self, batch: Mapping[str, Any]) -> Array:
        """`zero_weight` where the target is 0, and 1 elsewhere, (batch,)."""
        return jnp.where(batch[self.target] == 0, self.zero_weight, 1.0)

    def _loss(self, outputs: Float[Array, " batch"], batch: Mapping[str, Any]) -> Array:
        error = outputs - batch[self.target]
        return 0.5 * jnp.square(error) if self.loss_name == "squares" else jnp.abs(error)

    headline = ("rmse", "r2")

    def penalty(self, params: Any) -> Any:
        """l2/2 times the squared norm of the parameters."""
        if not self.l2:
            return 0.0
        return 0.5 * self.l2 * sum(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(params))

    def metrics(self, outputs: Float[Array, " batch"], batch: Mapping[str, Any]) -> dict[str, Any]:
        """Errors of each example; with groups, also what was predicted."""
        error = outputs - batch[self.target].astype(outputs.dtype)
        shown: dict[str, Metric] = {
            "loss": Mean(self._loss(outputs, batch)),
            "mse": Mean(jnp.square(error)),
            "mae": Mean(jnp.abs(error)),
        }
        return shown if self.group is None else {**shown, "predictions": PerExample(outputs)}

    def report(self, means: Mapping[str, Any], table: Table) -> dict[str, Any]:
        """loss, mse, rmse, mae, and R² = 1 - mse / variance of the targets.

        R² is nan where all targets are equal. With groups, also those of `_apart` of each, as
        `drive0/mae`, and of a split that is not large the table `predictions`.
        """
        target = np.asarray(table.columns[self.target], np.float64)
        shown: dict[str, Any] = {name: float(means[name]) for name in ("loss", "mse", "mae")}
        shown |= {"rmse": shown["mse"] ** 0.5, "r2": _r2(shown["mse"], target)}
        if self.group is None:
            return shown
        predicted, group = np.asarray(means["predictions"], np.float64), table.columns[self.group]
        for value in np.unique(group):
            here = _apart(predicted[group == value], target[group == value])
            shown |= {f"{self.group}{value}/{name}": number for name, number in here.items()}
        if len(table) <= _LISTED:
            shown["predictions"] = predicted.tolist()
        return shown

    def answers(
        self, outputs: Float[Array, " batch"], batch: Mapping[str, Any], classes: Sequence[str]
    ) -> list[list[Answer]]:
        """The number of each example, under the name of the target."""
        return [[Answer(self.target, value)] for value in np.asarray(outputs, float).tolist()]

    def check_squares(self) -> None:
        """Refuse absolute errors, and examples that count unlike others."""
        if self.loss_name != "squares":
            raise UserError(
                f"config.task.loss_name: least_squares cannot minimise {self.loss_name!r}; set "
                "'squares'"
            )
        if self.zero_weight != 1:
            raise UserError(
                "config.task.zero_weight: least_squares weights all examples equally; set 1"
            )

    def residuals(self, outputs: Float[Array, " batch"], batch: Mapping[str, Any]) -> Array:
        """y - t, (batch,)."""
        return outputs - batch[self.target]

    def output_shapes(self, batch: Mapping[str, Any]) -> list[tuple[int, ...]]:
        """One number an example, shaped as the target."""
        return [tuple(batch[self.target].shape)]

    def check(self, table: Table) -> None:
        """Refuse missing columns and targets that are not single numbers."""
        remedy = "Set config.task.input and config.task.target"
        table.require((self.input, self.target), remedy)
        shape, kind = table.columns[self.target].shape, table.columns[self.target].dtype.kind
        if len(shape) != 1 or kind not in "fiu":
            raise UserError(
                f"{table.where}: column {self.target!r} must hold one number an example, "
                f"got shape {shape} of {table.columns[self.target].dtype}"
            )
        if self.group is not None:
            self._check_group(table, self.group)

    def _check_group(self, table: Table, name: str) -> None:
        group = table.groups(name, f"config.task.group={name!r}")
        if (count := len(np.unique(group))) > _GROUPS:
            raise UserError(
                f"{table.where}: column {name!r} makes {count} groups, and each is reported apart; "
                f"choose a config.task.group of at most {_GROUPS}"
            )


def _apart(
    predicted: Float[np.ndarray, " examples"], target: Float[np.ndarray, " examples"]
) -> dict[str, float]:
    """mae, rmse and r2 of a group, whose examples are in time order, and the mae of baselines.

    Of all constants, the mean has the least squared error (R² = 0), and the median the least
    absolute error. Both are computed from the group's own targets, so a constant learnt from other
    examples does no better. `mae_of_previous` predicts the true target of the previous example, and
    skips the first example.
    """
    error = predicted - target
    mse = float(np.mean(error**2))
    steps = np.abs(np.diff(target))
    return {
        "mae": float(np.mean(np.abs(error))),
        "rmse": mse**0.5,
        "r2": _r2(mse, target),
        "mae_of_mean": float(np.mean(np.abs(target - target.mean()))),
        "mae_of_median": float(np.mean(np.abs(target - np.median(target)))),
        "mae_of_previous": float(steps.mean()) if len(steps) else math.nan,
    }


def _r2(mse: float, target: Float[np.ndarray, " examples"]) -> float:
    variance = float(np.var(target))
    return 1 - mse / variance if variance > 0 else math.nan
