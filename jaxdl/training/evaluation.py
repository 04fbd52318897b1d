"""Evaluation: every example of a split exactly once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.loader import batches
from jaxdl.data.order import eval_batches, eval_streams
from jaxdl.data.table import Table
from jaxdl.data.text.vocabulary import Vocabulary
from jaxdl.decoding import TokenRules, beam_search, generate, make_sampler
from jaxdl.errors import UserError
from jaxdl.metrics import Count, Gathered, WeightedSum, means, merge, total
from jaxdl.models.functional import Model
from jaxdl.tasks import GeneratesText, Task
from jaxdl.training.precision import Precision
from jaxdl.training.state import State
from jaxdl.training.step import check_per_example, forward
from jaxdl.transforms import Transform
from jaxdl.types import Batch

_SHOWN = 16  # texts that are kept to be looked at


def make_evaluation(
    model: Model, task: Task, *, precision: Precision | None = None
) -> Callable[[State, Batch], tuple[dict[str, WeightedSum | Gathered], Any]]:
    """The pure function `(state, batch) -> (totals, carry)` of a batch with `mask` (batch,).

    Of a batch as the model takes it: where a run transforms its batches (`config.data.transforms`),
    `transformed` must do so here, or the numbers mean nothing. `jaxdl.load(run).evaluate(table)`
    does all that a run does.
    """
    precision = precision or Precision()

    def evaluation(state: State, batch: Batch) -> tuple[dict[str, WeightedSum | Gathered], Any]:
        outputs, _, carry = forward(model, task, precision, state.eval_params, state, batch, None)
        metrics = task.metrics(outputs, batch)
        for name, metric in metrics.items():
            values = metric.bin if isinstance(metric, Count) else getattr(metric, "value", metric)
            for value in jax.tree.leaves(values):
                check_per_example(task, name, jnp.shape(value)[:1], len(batch["mask"]))
        return {name: total(metric, batch["mask"]) for name, metric in metrics.items()}, carry

    return evaluation


def make_prediction(
    model: Model, task: Task, *, precision: Precision | None = None
) -> Callable[[State, Batch], Any]:
    """The pure function `(state, batch) -> predictions`, as the task predicts.

    Of a batch as the model takes it: where a run transforms its batches (`config.data.transforms`),
    `transformed` must do so here, or the answers are wrong. `jaxdl.load(run).predict(columns)` does
    all that a run does.
    """
    precision = precision or Precision()

    def prediction(state: State, batch: Batch) -> Any:
        outputs, *_ = forward(model, task, precision, state.eval_params, state, batch, None)
        return task.predict(outputs, batch)

    return prediction


def make_generation(
    model: Model,
    task: GeneratesText,
    rules: TokenRules,
    length: int,
    *,
    precision: Precision | None = None,
) -> Callable[[State, Batch], Any]:
    """The pure function `(state, batch) -> tokens (batch, length)` that the model generates.

    Greedily, or by the task's beam search, from the conditions of each example alone.
    """
    precision = precision or Precision()

    def generation(state: State, batch: Batch) -> Any:
        assert model.initialize_carry is not None and rules.start is not None
        model_state = precision.to_compute(state.eval_params), state.model_state
        size = len(batch[task.tokens])
        carry = model.initialize_carry(
            *model_state, size, precision.to_compute(task.condition_inputs(batch))
        )
        first = jnp.full((size, 1), rules.start)
        if task.beam > 1:
            return beam_search(
                model, *model_state, carry, first, length, width=task.beam, rules=rules
            )
        key, greedy = state.key("writing"), make_sampler(temperature=0)
        return generate(
            model, *model_state, carry, first, key, 0, length, draw=greedy, rules=rules
        )[0]

    return generation


def make_scored_generation(
    model: Model,
    task: GeneratesText,
    vocabularies: Mapping[str, Vocabulary],
    width: int,
    *,
    precision: Precision | None = None,
) -> Callable[[State, Batch], Any]:
    """A `make_generation` of whole sequences, for the task's `scores`.

    Args:
      model, task, precision: as of `make_generation`.
      vocabularies: token column -> its vocabulary.
      width: tokens of a sequence, with start and end.

    Raises:
      UserError: sequences have no start and end, or the model cannot generate.
    """
    name = task.tokens
    if name not in vocabularies or vocabularies[name].start is None:
        raise UserError(
            "config.task.scores: generated sequences need a start and an end; set "
            f"config.data.tokenize.{name}.ends to true"
        )
    if model.initialize_carry is None:
        raise UserError(
            "config.task.scores: this model cannot generate; it needs methods "
            "initialize_carry and decode"
        )
    rules = TokenRules.of(vocabularies[name])
    return make_generation(model, task, rules, width - 1, precision=precision)


def average_views(model: Model) -> Model:
    """The model, whose outputs for images (batch, views, …) are the mean over the views.

    Of the probabilities that its logits stand for, as a logarithm (Krizhevsky et al. 2012, section
    4.1). Other images, (batch, …), are treated as ever.
    """

    def apply(params: Any, model_state: Any, inputs: Any, key: Any, train: bool) -> tuple[Any, Any]:
        images, *others = inputs
        if images.ndim != 5:
            return model.apply(params, model_state, inputs, key, train)
        merged = images.reshape(-1, *images.shape[2:])
        logits, model_state = model.apply(params, model_state, (merged, *others), key, train)
        if getattr(logits, "ndim", 0) != 2 or logits.shape[1] < 2:
            raise UserError(
                "config.data.views or config.data.crop.views: views can be averaged only if the "
                "model gives a logit for each class; leave them out"
            )
        wide = jnp.promote_types(logits.dtype, jnp.float32)
        log_p = jax.nn.log_softmax(logits.astype(wide)).reshape(*images.shape[:2], -1)
        return jax.nn.logsumexp(log_p, axis=1) - math.log(images.shape[1]), model_state

    return model._replace(apply=apply)


def transformed(function: Callable[[State, Batch], Any], transform: Transform) -> Callable:
    """The function of a state and a batch, of the transformed batch."""

    @functools.wraps(function)
    def run(state: State, batch: Batch) -> Any:
        return function(state, transform(batch, state.key("transform")))

    return run


def report(
    evaluation: Callable[[State, Batch], Any],
    generation: Callable[[State, Batch], Any] | None,
    task: Task,
    state: State,
    table: Table,
    batch_size: int = 256,
    place: Callable[[Any], Any] = lambda batch: batch,
    local: Any = slice(None),
) -> dict[str, Any]:
    """The task's report on a split, and, with a `generation`, its scores of the texts generated.

    Those are also returned, the first few, as `written`. Arguments as of `evaluate`.
    """
    metrics = evaluate(evaluation, task, state, table, batch_size, place, local)
    if generation is None:
        return metrics
    assert isinstance(task, GeneratesText)
    texts = generate_texts(generation, task, state, table, batch_size, place, local)
    asked = table.texts[task.tokens][:_SHOWN]
    written = list(zip(texts[:_SHOWN], asked, strict=True))
    return {**metrics, **task.score(texts, table), "written": written}


def generate_texts(
    generation: Callable[[State, Batch], Any],
    task: GeneratesText,
    state: State,
    table: Table,
    batch_size: int = 256,
    place: Callable[[Any], Any] = lambda batch: batch,
    local: Any = slice(None),
) -> list[str]:
    """What the model generates for each example of a split, as text.

    Args:
      generation: a `make_generation`, compiled.
      task: names the column whose vocabulary the tokens are of.
      state: its `eval_params` are used.
      table: the split.
      batch_size: examples a batch; the last one is padded.
      place: puts a batch where `generation` wants it.
      local: which rows of a batch this process makes, as an index.
    """
    vocabulary, texts = table.vocabularies[task.tokens], []
    plan = list(eval_batches(len(table), batch_size))
    mine = batches(table, ((rows[local], mask[local]) for rows, mask in plan))
    for batch, (_, mask) in zip(mine, plan, strict=True):
        tokens = np.asarray(generation(state, place(batch)))
        texts += [vocabulary.decode(row) for row in tokens[mask]]
    return texts


def evaluate(
    evaluation: Callable[[State, Batch], tuple[dict[str, WeightedSum | Gathered], Any]],
    task: Task,
    state: State,
    table: Table,
    batch_size: int = 256,
    place: Callable[[Any], Any] = lambda batch: batch,
    local: Any = slice(None),
) -> dict[str, Any]:
    """The task's report on a split.

    Args:
      evaluation: a `make_evaluation`, compiled.
      task: makes the report of the means.
      state: its `eval_params` are used. With a carry, of `batch_size` sequences that have not
        begun, the split is read as so many streams, each batch continuing the one before.
      table: the split; each example counts once, whatever the batch size.
      batch_size: examples a batch; the last one is padded and masked.
      place: puts a batch where the evaluation wants it.
      local: which rows of a batch this process makes, as an index.

    Returns:
      Metrics by name.
    """
    totals, plan = [], eval_batches if state.carry is None else eval_streams
    whole = plan(len(table), batch_size)
    for batch in batches(table, ((rows[local], mask[local]) for rows, mask in whole)):
        sums, carry = evaluation(state, place(batch))
        totals.append(sums)
        state = replace(state, carry=carry)
    return task.report(means(merge(jax.device_get(totals))), table)
