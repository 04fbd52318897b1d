"""Evaluation: every example of a split exactly once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxdl.data.order import once
from jaxdl.data.table import Table
from jaxdl.metrics import Total, means, merge, total
from jaxdl.models.functional import Model
from jaxdl.tasks import Task
from jaxdl.training.precision import Precision
from jaxdl.training.state import State
from jaxdl.training.step import Batch, Transform, forward


def make_evaluation(
    model: Model, task: Task, *, precision: Precision | None = None
) -> Callable[[State, Batch], dict[str, Total]]:
    """The pure function `(state, batch) -> totals` of a batch with `mask` (batch,)."""
    precision = precision or Precision()

    def evaluation(state: State, batch: Batch) -> dict[str, Total]:
        outputs, _ = forward(model, task, precision, state.evaluated, state, batch, None)
        return {name: total(m, batch["mask"]) for name, m in task.metrics(outputs, batch).items()}

    return evaluation


def make_prediction(
    model: Model, task: Task, *, precision: Precision | None = None
) -> Callable[[State, Batch], Any]:
    """The pure function `(state, batch) -> predictions`, as the task predicts."""
    precision = precision or Precision()

    def prediction(state: State, batch: Batch) -> Any:
        outputs, _ = forward(model, task, precision, state.evaluated, state, batch, None)
        return task.predict(outputs)

    return prediction


def transformed(function: Callable[[State, Batch], Any], transform: Transform) -> Callable:
    """The function of a state and a batch, of the transformed batch."""

    @functools.wraps(function)
    def run(state: State, batch: Batch) -> Any:
        return function(state, transform(batch, state.key("transform")))

    return run


def evaluate(
    evaluation: Callable[[State, Batch], dict[str, Total]],
    task: Task,
    state: State,
    table: Table,
    batch_size: int = 256,
    place: Callable[[Any], Any] = lambda batch: batch,
) -> dict[str, Any]:
    """The task's report on a split.

    Args:
      evaluation: a `make_evaluation`, compiled.
      task: makes the report of the means.
      state: its `evaluated` parameters are.
      table: the split; each example counts once, whatever the batch size.
      batch_size: examples a batch; the last one is padded and masked.
      place: puts a batch where the evaluation wants it.

    Returns:
      Metrics by name.
    """
    totals = [
        evaluation(state, place({**table[rows], "mask": mask}))
        for rows, mask in once(len(table), batch_size)
    ]
    return task.report(means(merge(jax.device_get(totals))), table)
