"""Predictions of a trained run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl import config as cfg
from jaxdl.data.table import Table
from jaxdl.errors import UserError, suggestion
from jaxdl.inference.inputs import as_table, columns_read
from jaxdl.inference.restored import RestoredRun
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import GivesAnswers
from jaxdl.tasks.answer import Answer
from jaxdl.training.evaluation import transformed
from jaxdl.training.state import State
from jaxdl.training.step import forward
from jaxdl.types import Batch

_BATCH = 32  # examples of a compiled call at most
_CENTER = 4  # of ten views: four corners, the center, and the mirror images of these

Program = Callable[[State, Batch], Any]


class Predictor:
    """Asks a run about examples; its programs are compiled once, for batches of a few sizes.

    The data of every method is a `Table`, or what `jaxdl.inference.inputs.as_table` makes one of.

    Args:
      run: with a checkpoint.
    """

    def __init__(self, run: RestoredRun) -> None:
        self._run = run
        self._outputs = jit(transformed(self._forward, run.transforms.evaluation))
        self._predict = jit(transformed(self._forecast, run.transforms.evaluation))
        self._features = jit(
            lambda names, state, batch: transformed(
                functools.partial(self._inside, names), run.transforms.always
            )(state, batch),
            static_argnums=0,
        )

    @functools.cached_property
    def needed(self) -> set[str]:
        """The columns that an answer needs."""
        run = self._run
        with run.precision.enabled():
            program = transformed(self._forward, run.transforms.evaluation)
            needed = columns_read(functools.partial(program, run.state), run.shapes(1))
        # How an image was put on a canvas is asked for when boxes are read.
        return needed | ({*run.columns} & {"extent", "scale"})

    def table(self, data: Any) -> Table:
        """The columns that an answer needs."""
        return as_table(self._run, data, self.needed)

    def predict(self, data: Any) -> Any:
        """What the task predicts for all examples, arrays (examples, …)."""
        task, table = self._run.task, self.table(data)
        return _joined(
            [
                _rows(count, task.to_original(predictions, batch))
                for predictions, batch, count in self.each(self._predict, table)
            ]
        )

    def answers(self, data: Any, **asked: Any) -> Iterator[list[Answer]]:
        """The answers about each example, in words.

        Args:
          data: the examples.
          **asked: arguments of the task's `answers`, such as `top`; None for its default.

        Raises:
          UserError: the task gives no answers, or does not take an argument.
        """
        task, table = self.answering, self.table(data)
        asked = {name: value for name, value in asked.items() if value is not None}
        takes = {*cfg.parameters(task.answers)} - {"outputs", "batch", "classes"}
        for name in sorted({*asked} - takes):
            raise UserError(
                f"{name}: {type(task).__name__}, the task of this run, does not take it; "
                f"{suggestion(name, takes)}"
            )
        for outputs, batch, count in self.each(self._outputs, table):
            yield from task.answers(outputs, batch, self._run.classes, **asked)[:count]

    def features(self, data: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        """What modules of the model put out for all examples: name -> array (examples, …)."""
        wanted = names if isinstance(names, str) else tuple(names)
        program = functools.partial(self._features, wanted)
        found = self.each(program, self.table(data))
        return _joined([_rows(count, made) for made, _, count in found])

    @property
    def answering(self) -> GivesAnswers:
        """The task.

        Raises:
          UserError: it gives no answers.
        """
        task = self._run.task
        if not isinstance(task, GivesAnswers):
            raise UserError(
                f"{self._run.directory.folder}: its task, {type(task).__name__}, does not answer "
                "questions about examples; a task of your own does if it inherits from "
                "jaxdl.tasks.GivesAnswers, and `jaxdl sample` shows what a language model writes"
            )
        return task

    def each(self, program: Program, table: Table) -> Iterator[tuple[Any, Batch, int]]:
        """Results of the programs for the batches of a table, the batch, and its rows that count.

        A program is compiled, of the state and a batch as the run's transforms take it.
        """
        size = min(_BATCH, 1 << (len(table) - 1).bit_length())
        for start in range(0, len(table), size):
            count = min(size, len(table) - start)
            batch = table[start + np.arange(size) % count]  # padded by rows that stand there
            with self._run.precision.enabled():
                # A transform may ask for columns that no answer needs.
                result = program(self._run.state, self._run.blank(size) | batch)
            yield result, batch, count

    def _forward(self, state: State, batch: Batch) -> Any:
        model, task, precision = self._run.eval_model, self._run.task, self._run.precision
        return forward(model, task, precision, state.eval_params, state, batch, None)[0]

    def _forecast(self, state: State, batch: Batch) -> Any:
        return self._run.task.predict(self._forward(state, batch), batch)

    def _inside(self, names: Sequence[str], state: State, batch: Batch) -> Any:
        """The outputs of modules; of an example with several views, for the one in the middle."""
        run = self._run
        batch = middle_view(run, batch)
        if run.model.features is None:
            raise UserError("features: this model is not a Flax module, so it has none to name")
        params, inputs = run.precision.to_compute((state.eval_params, run.task.inputs(batch)))
        return run.model.features(params, state.model_state, inputs, names)


def middle_view(run: RestoredRun, batch: Batch) -> Batch:
    """The batch with only the middle one of ten views of each image."""
    if run.crop is None or run.crop.views == 1:
        return batch
    return {**batch, run.task.input: batch[run.task.input][:, _CENTER]}


def _rows(count: int, tree: Any) -> Any:
    """The first rows of arrays."""
    return jax.tree.map(lambda x: x[:count], tree)


def _joined(parts: list[Any]) -> Any:
    """Trees of arrays as one, along the first axis."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
