"""The results of a run that figures are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxdl.types import Batch, Params

if TYPE_CHECKING:
    from jaxdl.data.table import Table
    from jaxdl.tasks import Task


class FinishedRun(NamedTuple):
    """The results of a run, and functions that give more of them.

    At an evaluation before the end, for `PREVIEWS`, `result` and `history` are empty.

    Attributes:
      task: what was learnt.
      splits: the data, by name.
      eval_splits: the names of the evaluated splits.
      params: the parameters, as the model has them.
      predict: batch -> what the task predicts for it, arrays of NumPy. The batch needs the
        columns that the task's `predict` reads, untransformed.
      trajectory: steps -> the parameters before each of the first so many steps, with a leading
        axis of steps. Training is repeated, with the whole training split as the batch.
      result: as in result.json.
      tables: as in tables.json.
      history: the lines of metrics.jsonl.
    """

    task: Task
    splits: Mapping[str, Table]
    eval_splits: Sequence[str]
    params: Params
    predict: Callable[[Batch], Any]
    trajectory: Callable[[int], Params]
    result: Mapping[str, Any]
    tables: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

    @property
    def last_split(self) -> str:
        """The last split that is evaluated, usually 'test'; 'train' where none is."""
        return ("train", *self.eval_splits)[-1]
