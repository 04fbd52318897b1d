"""Evaluates a state: the task's report on every split, and scores of generated text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxdl.checkpointing.checkpoints import Checkpoints, none_saved
from jaxdl.checkpointing.run_directory import Run
from jaxdl.parallel.processes import alive
from jaxdl.training.continuation import require_config_of
from jaxdl.training.evaluation import report
from jaxdl.training.experiment import Experiment
from jaxdl.training.state import State


class Measure:
    """Evaluates states of an experiment; compiled once for all splits.

    Args:
      experiment: says what to evaluate, and on which splits.
      state: any state of it, for its shapes.
    """

    def __init__(self, experiment: Experiment, state: State) -> None:
        self.experiment = experiment
        self._local = experiment.devices.local(experiment.training.eval_batch_size)
        batch = experiment.abstract_eval_batch((*experiment.eval_splits, "train")[0])
        arguments = self._begun(state), batch
        self._evaluation = experiment.devices.compiled(experiment.evaluation, *arguments)
        self._generation = None
        if experiment.scores_text:
            self._generation = experiment.devices.compiled(experiment.generation, *arguments)

    def __call__(self, state: State) -> tuple[dict[str, float], dict[str, Any]]:
        """The report on every split: its numbers, and its tables such as a confusion matrix."""
        experiment, reports = self.experiment, dict[str, Any]()
        state, size = self._begun(state), experiment.training.eval_batch_size
        for split in experiment.eval_splits:
            table = experiment.splits[split]
            programs, task = (self._evaluation, self._generation), experiment.task
            found = report(*programs, task, state, table, size, self._place, self._local)
            reports |= {f"{split}/{name}": value for name, value in found.items()}
        numbers = {name: value for name, value in reports.items() if isinstance(value, float)}
        return numbers, {name: value for name, value in reports.items() if name not in numbers}

    def _begun(self, state: State) -> State:
        """The state with the carry of sequences that have not begun, which may be learned."""
        size = self.experiment.training.eval_batch_size
        return replace(state, carry=self.experiment.fresh_carry(state, size))

    def _place(self, batch: Any) -> Any:
        alive()
        return self.experiment.devices.scatter(batch)


def measure(experiment: Experiment, run: Run) -> tuple[int, dict[str, float], dict[str, int]]:
    """Evaluate the newest (or best) sound checkpoint of a run.

    Returns:
      Its step, the metrics, and how many examples of each split were evaluated.

    Raises:
      UserError: there is no checkpoint, or none that is sound.
    """
    with experiment.precision.enabled():
        checkpoints = Checkpoints(run.checkpoints, best=run.best_wanted)
        restored = checkpoints.restore(experiment.abstract_state)
        if restored is None:
            raise none_saved(run.checkpoints)
        state = restored[0]
        require_config_of(run, int(state.step))
        run.check_data(experiment.description)
        metrics, _ = Measure(experiment, state)(state)
    return int(state.step), metrics, {k: len(experiment.splits[k]) for k in experiment.eval_splits}
