"""Measuring a state: the task's report on every split, and scores of what the model writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from jaxdl.checkpoints import Checkpoints
from jaxdl.errors import UserError
from jaxdl.runs import Run
from jaxdl.training.evaluation import evaluate, written
from jaxdl.training.experiment import Experiment
from jaxdl.training.processes import alive
from jaxdl.training.state import State

_SHOWN = 16  # of what is written, to be looked at


class Measure:
    """Measures states of an experiment; compiled once, for all splits.

    Args:
      experiment: says what is measured, and on which splits.
      state: any state of it, for its shapes.
    """

    def __init__(self, experiment: Experiment, state: State) -> None:
        self.experiment, size = experiment, experiment.training.eval_batch_size
        self._carry = experiment.fresh(state, size)
        self._local = experiment.devices.local(size)
        batch = experiment.first_batch((*experiment.evaluated, "train")[0], size)
        batch["mask"] = experiment.devices.scatter(np.ones(len(self._local), bool))
        given = replace(state, carry=self._carry), batch
        self._evaluation = experiment.devices.compiled(experiment.evaluation, *given)
        if experiment.writes:
            self._writing = experiment.devices.compiled(experiment.writing, *given)

    def __call__(self, state: State) -> tuple[dict[str, float], dict[str, Any]]:
        """The report on every split: its numbers, and its tables such as a confusion matrix."""
        experiment, found = self.experiment, dict[str, Any]()
        state = replace(state, carry=self._carry)
        size, local = experiment.training.eval_batch_size, self._local
        for split in experiment.evaluated:
            table = experiment.splits[split]
            report = evaluate(
                self._evaluation, experiment.task, state, table, size, self._place, local
            )
            if task := experiment.writes:
                texts = written(self._writing, task, state, table, size, self._place, local)
                report |= task.score(texts, table)
                asked = table.texts[task.tokens][:_SHOWN]
                report["written"] = list(zip(texts[:_SHOWN], asked, strict=True))
            found |= {f"{split}/{name}": value for name, value in report.items()}
        numbers = {name: value for name, value in found.items() if isinstance(value, float)}
        return numbers, {name: value for name, value in found.items() if name not in numbers}

    def _place(self, batch: Any) -> Any:
        alive()
        return self.experiment.devices.scatter(batch)


def measure(experiment: Experiment, run: Run) -> tuple[int, dict[str, float], dict[str, int]]:
    """Evaluate the newest (or best) sound checkpoint of a run.

    Returns:
      Its step, the metrics, and how many examples of each split were evaluated.

    Raises:
      UserError: nothing was saved, or nothing that is sound.
    """
    with experiment.precision.enabled():
        like = experiment.devices.abstract_state(experiment.init())
        restored = Checkpoints(run.checkpoints, best=run.best).restore(like)
        if restored is None:
            raise UserError(f"{run.checkpoints}: no checkpoint yet; run `jaxdl train` first")
        state = restored[0]
        metrics, _ = Measure(experiment, state)(state)
    return int(state.step), metrics, {k: len(experiment.splits[k]) for k in experiment.evaluated}
