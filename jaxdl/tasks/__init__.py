"""Tasks: what is learnt. Inputs, per-example loss and metrics; they know nothing of models.

To add one, write a class with the methods of `Task` in a file here and name it in `TASKS`, or
leave it in your own code and name it in the config as `'package.module:Class'`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import jax

from jaxdl.data.table import Table
from jaxdl.metrics import Metric
from jaxdl.tasks.classification import Classification
from jaxdl.tasks.detection import FCOS, RetinaNet
from jaxdl.tasks.language import LanguageModeling
from jaxdl.tasks.regression import Regression

Batch = Mapping[str, Any]  # name -> array with a leading batch axis


@runtime_checkable
class Task(Protocol):
    """What a train step needs to know of the thing to be learnt."""

    @property
    def reduction(self) -> Literal["mean", "sum"]:
        """Whether the objective is the sum of the losses, or that over the sum of the weights."""

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The positional arguments of the model."""

    def loss(self, outputs: Any, batch: Batch) -> jax.Array:
        """The loss of each example, (batch,)."""

    def weight(self, batch: Batch) -> jax.Array:
        """What each example counts in the mean, (batch,): 1, or how many tokens it holds."""

    def penalty(self, params: Any) -> Any:
        """What the objective adds for the parameters themselves, a scalar."""

    def metrics(self, outputs: Any, batch: Batch) -> dict[str, Metric]:
        """What is measured of each example; `jaxdl.metrics` sums it."""

    def report(self, means: Mapping[str, Any], table: Table) -> dict[str, Any]:
        """The metrics to report, from the means over a split: numbers, lists or dicts.

        Of a metric that is `Each`, there are the values of all examples, in the split's order.
        """

    def predict(self, outputs: Any, batch: Batch) -> Any:
        """What a user asks of the model, per example: a class, a number, boxes.

        The batch needs no more than the columns that `inputs` reads, and what says how to read
        the outputs, such as how large a picture is.
        """

    def check(self, table: Table) -> None:
        """Refuse a split with an example that cannot be learnt, naming it.

        Raises:
          UserError: a column is missing or a value out of range.
        """

    def output_shapes(self, batch: Batch) -> list[tuple[int, ...]]:
        """The shapes of model outputs that this task can use; empty where any will do."""


TASKS: dict[str, Callable[..., Any]] = {
    "classification": Classification,
    "fcos": FCOS,
    "language_modeling": LanguageModeling,
    "regression": Regression,
    "retinanet": RetinaNet,
}
