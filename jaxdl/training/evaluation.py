"""Evaluation: every example of a split exactly once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.order import once, onwards
from jaxdl.data.table import Table
from jaxdl.generation import Rules, beam_search, extend, make_draw
from jaxdl.metrics import Total, means, merge, total
from jaxdl.models.functional import Model
from jaxdl.tasks import LanguageModeling, Task
from jaxdl.training.precision import Precision
from jaxdl.training.state import State
from jaxdl.training.step import Batch, Transform, forward


def make_evaluation(
    model: Model, task: Task, *, precision: Precision | None = None
) -> Callable[[State, Batch], tuple[dict[str, Total], Any]]:
    """The pure function `(state, batch) -> (totals, carry)` of a batch with `mask` (batch,)."""
    precision = precision or Precision()

    def evaluation(state: State, batch: Batch) -> tuple[dict[str, Total], Any]:
        outputs, _, carry = forward(model, task, precision, state.evaluated, state, batch, None)
        metrics = task.metrics(outputs, batch)
        return {name: total(metric, batch["mask"]) for name, metric in metrics.items()}, carry

    return evaluation


def make_prediction(
    model: Model, task: Task, *, precision: Precision | None = None
) -> Callable[[State, Batch], Any]:
    """The pure function `(state, batch) -> predictions`, as the task predicts."""
    precision = precision or Precision()

    def prediction(state: State, batch: Batch) -> Any:
        outputs, *_ = forward(model, task, precision, state.evaluated, state, batch, None)
        return task.predict(outputs)

    return prediction


def make_writing(
    model: Model,
    task: LanguageModeling,
    rules: Rules,
    length: int,
    *,
    precision: Precision | None = None,
) -> Callable[[State, Batch], Any]:
    """The pure function `(state, batch) -> tokens (batch, length)` that the model writes.

    Greedily, or by the task's beam search, from the conditions of each example alone.
    """
    precision = precision or Precision()

    def writing(state: State, batch: Batch) -> Any:
        assert model.begin is not None and rules.start is not None
        model_state = precision.to_compute(state.evaluated), state.variables
        size = len(batch[task.tokens])
        carry = model.begin(*model_state, size, precision.to_compute(task.given(batch)))
        first = jnp.full((size, 1), rules.start)
        if task.beam > 1:
            return beam_search(
                model, *model_state, carry, first, length, width=task.beam, rules=rules
            )
        key, greedy = state.key("writing"), make_draw(temperature=0)
        return extend(model, *model_state, carry, first, key, 0, length, draw=greedy, rules=rules)[
            0
        ]

    return writing


def transformed(function: Callable[[State, Batch], Any], transform: Transform) -> Callable:
    """The function of a state and a batch, of the transformed batch."""

    @functools.wraps(function)
    def run(state: State, batch: Batch) -> Any:
        return function(state, transform(batch, state.key("transform")))

    return run


def written(
    writing: Callable[[State, Batch], Any],
    task: LanguageModeling,
    state: State,
    table: Table,
    batch_size: int = 256,
    place: Callable[[Any], Any] = lambda batch: batch,
) -> list[str]:
    """What the model writes for each example of a split, as text.

    Args:
      writing: a `make_writing`, compiled.
      task: names the column whose vocabulary the tokens are of.
      state: its `evaluated` parameters write.
      table: the split.
      batch_size: examples a batch; the last one is padded.
      place: puts a batch where `writing` wants it.
    """
    vocabulary, texts = table.vocabularies[task.tokens], []
    for rows, mask in once(len(table), batch_size):
        tokens = np.asarray(writing(state, place({**table[rows], "mask": mask})))
        texts += [vocabulary.decode(row) for row in tokens[mask]]
    return texts


def evaluate(
    evaluation: Callable[[State, Batch], tuple[dict[str, Total], Any]],
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
      state: its `evaluated` parameters are. With a carry, of `batch_size` sequences that have not
        begun, the split is read as so many streams, each batch continuing the one before.
      table: the split; each example counts once, whatever the batch size.
      batch_size: examples a batch; the last one is padded and masked.
      place: puts a batch where the evaluation wants it.

    Returns:
      Metrics by name.
    """
    totals, batches = [], once if state.carry is None else onwards
    for rows, mask in batches(len(table), batch_size):
        found, carry = evaluation(state, place({**table[rows], "mask": mask}))
        totals.append(found)
        state = replace(state, carry=carry)
    return task.report(means(merge(jax.device_get(totals))), table)
