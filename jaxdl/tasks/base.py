"""The base class of tasks, with defaults for everything but the loss.

    class Autoencoder(jaxdl.Task):
        def loss(self, outputs, batch):
            return jnp.sum(jnp.square(outputs - batch["image"]), axis=(1, 2, 3))

That is a whole task: a config names it as `'my_tasks:Autoencoder'`. What only some tasks can do is
a class of its own to inherit from: `GivesAnswers` for `jaxdl predict`, `GivesLogits` for
`jaxdl explain`, `GeneratesText` for `jaxdl sample`, `SquaredErrors` for the optimiser
`least_squares`.

Outputs of a model and columns of a batch may be any pytree, so a task can have several outputs, no
labels, or many labels an example. A detector of two stages needs the truth as an input while it
trains: `training_inputs`. An agent needs nothing more either: its model unrolls the policy in the
environment, a batch is a set of start states, and the outputs are trajectories.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.table import Table
from jaxdl.decoding import Sampler, make_sampler
from jaxdl.errors import UserError
from jaxdl.metrics import Mean, Metric
from jaxdl.tasks.answer import Answer
from jaxdl.types import Batch, Params


class Task(ABC):
    """What is learnt: inputs, per-example loss and metrics, predictions.

    Attributes:
      input: column of the model's input.
      label: column of the classes, from which a config without `classes` takes their number.
      reduction: 'mean', the objective is the sum of the losses over the sum of the weights; or
        'sum', the sum of the losses.
      continues: column of sequences that may go on from one batch to the next, as a long text
        does, or None; see `config.training.carry`.
      headline: names of the reported metrics that are shown while training and drawn, beside the
        loss; by default all.
    """

    input: str = "image"
    label: str = "label"
    reduction: Literal["mean", "sum"] = "mean"
    continues: str | None = None
    headline: tuple[str, ...] = ()

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Float[Array, " batch"]:
        """The loss of each example, (batch,), times its weight."""

    def training_metrics(self, outputs: Any, batch: Batch) -> dict[str, Float[Array, " batch"]]:
        """`loss`, and what else a training step is to tell: each (batch,), times the weight.

        By default the loss alone. It is computed in every step, so it must be cheap.
        """
        return {"loss": self.loss(outputs, batch)}

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The positional arguments of the model; by default the column `input`."""
        return (batch[self.input],)

    def training_inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The arguments in training, if the model then needs the targets; by default `inputs`."""
        return self.inputs(batch)

    def weight(self, batch: Batch) -> Float[Array, " batch"]:
        """The weight of each example in the mean, (batch,); by default 1."""
        return jnp.ones(len(next(iter(batch.values()))))

    def penalty(self, params: Params) -> Any:
        """What the objective adds for the parameters themselves, a scalar; by default 0.

        Weight decay belongs to the optimiser.
        """
        return 0.0

    def metrics(self, outputs: Any, batch: Batch) -> dict[str, Metric]:
        """The metrics of each example, summed by `jaxdl.metrics`; by default the loss.

        An array (batch, ...) counts as `Mean(array)`.
        """
        loss, weight = self.loss(outputs, batch), self.weight(batch)
        return {"loss": Mean(loss / jnp.where(weight > 0, weight, 1), weight)}

    def report(self, means: Mapping[str, Any], table: Table) -> dict[str, Any]:
        """The metrics to report, from the means over a split: numbers, lists or dicts.

        A `PerExample` metric comes as the values of all examples, in the order of the split. By
        default the means are reported as they are.
        """
        return {name: np.asarray(value).tolist() for name, value in means.items()}

    def predict(self, outputs: Any, batch: Batch) -> Any:
        """The prediction for each example: a class, a number, boxes. By default the outputs.

        The batch needs only the columns that `inputs` reads, and those needed to read the outputs,
        such as the sizes of the pictures.
        """
        return outputs

    def to_original(self, predictions: Any, batch: Batch) -> Any:
        """Predictions in the units of the examples as they were before they were made to fit.

        By default they are already; boxes on a scaled image are not.
        """
        return predictions

    def check(self, table: Table) -> None:
        """Refuse a split with an example that cannot be learnt; the message names it.

        By default, refuse a split without the columns of `inputs`.

        Raises:
          UserError: a column is missing or a value out of range.
        """
        try:
            self.inputs(table[np.zeros(1, int)])
        except KeyError as error:
            table.require((error.args[0],), f"{type(self).__name__}.inputs reads it")

    def output_shapes(self, batch: Batch) -> list[tuple[int, ...]]:
        """The shapes of model outputs that this task accepts; empty, the default, for any."""
        return []


class GivesAnswers(Task):
    """A task whose predictions can be put into words, for `jaxdl predict`."""

    @abstractmethod
    def answers(self, outputs: Any, batch: Batch, classes: Sequence[str]) -> list[list[Answer]]:
        """The answers about each example, best first.

        A task may take more arguments, all with defaults, which are options of `jaxdl predict`:
        `top`, the most answers for an example; `score`, the least value of an answer; `overlap`,
        above which a box counts as a repetition of a better one.

        Args:
          outputs: of the model.
          batch: what they are of.
          classes: the names of the classes; one without a name is called by its number.
        """


class GivesLogits(GivesAnswers):
    """A task of classes, for each of which the model has a logit, for `jaxdl explain`."""

    @abstractmethod
    def logits(self, outputs: Any) -> Float[Array, "batch classes"]:
        """The logit of each class, whose softmax are the probabilities."""


class GeneratesText(Task):
    """A task whose model generates sequences that can be written, on conditions or without any.

    Of tokens of a vocabulary; or of something else, such as frames of music, with a `codec` and a
    `sampler` of its own.

    Attributes:
      tokens: column of the sequences, integers (examples, time, ...).
      conditions: columns that the model takes before the tokens, such as 'source' or 'image'.
      scores: names of what `score` reports; if empty, evaluation generates nothing.
      beam: width of the beam search in evaluation; 1 is greedy.
    """

    tokens: str = "tokens"
    conditions: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    beam: int = 1

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The conditions, and every token but the last."""
        return (*self.condition_inputs(batch), batch[self.tokens][:, :-1])

    def condition_inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The conditions alone."""
        return tuple(batch[name] for name in self.conditions)

    def score(self, generated: Sequence[str], table: Table) -> dict[str, float]:
        """The `scores` of what the model generated for each example of a split."""
        raise UserError(f"config.task: {type(self).__name__} defines no score")

    def codec(self, vocabularies: Mapping[str, Any]) -> Any:
        """How sequences are written, by default in the vocabulary of `tokens`.

        It has `encode` and `decode`, from text to integers and back, and what begins a sequence,
        ends it and is never generated: `start`, `end`, `never`; see `Vocabulary`.
        """
        return vocabularies[self.tokens]

    def sampler(self, temperature: float, top_k: int | None, top_p: float | None) -> Sampler:
        """How the next of a sequence is drawn from logits; by default one token of all.

        Raises:
          UserError: an argument is out of range, or has no meaning for what is drawn.
        """
        return make_sampler(temperature, top_k, top_p)

    def contents(self, texts: Sequence[str], suffix: str) -> bytes:
        """The bytes of a file with this suffix, such as '.txt', that holds generated texts."""
        return ("\n".join(texts) + "\n").encode("utf-8", "surrogateescape")

    def heading(self, number: int) -> str:
        """The lines above the generated sequence of this number that its notation requires."""
        return ""

    def remark(self, texts: Sequence[str]) -> str:
        """A line about generated texts, printed below them; by default empty."""
        return ""


class SquaredErrors(Task):
    """A task whose objective is half the sum, or mean, of squared residuals, plus an L2 penalty.

    Attributes:
      l2: the penalty's factor.
    """

    l2: float = 0.0

    def check_squares(self) -> None:
        """Refuse settings with which the objective is another one.

        Raises:
          UserError: naming the setting.
        """

    @abstractmethod
    def residuals(self, outputs: Any, batch: Batch) -> Float[Array, " residuals"]:
        """The residuals that are squared."""
