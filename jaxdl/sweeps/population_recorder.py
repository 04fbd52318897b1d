"""Trains a population, and writes for each member the files of a run that is trained alone."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.loader import DeviceLoader
from jaxdl.errors import Diverged, UserError, brief
from jaxdl.progress import Progress
from jaxdl.signals import StopSignal
from jaxdl.sweeps.population import Population
from jaxdl.training.loop import run_loop
from jaxdl.training.measure import Measure
from jaxdl.training.recorder import Recorder
from jaxdl.training.state import State
from jaxdl.training.step import Summary
from jaxdl.training.timing import Timing


def train_together(
    population: Population, runs: Sequence[Run], folder: Path, progress: Progress
) -> dict[int, str]:
    """Train all members in one program, or resume from the checkpoints in `folder`.

    Args:
      population: the members.
      runs: the directory of each member, locked; those with a result are left unchanged.
      folder: for checkpoints of the whole population; at the end, every member has its own.
      progress: counts the examples of all members.

    Returns:
      Index of each member that has diverged -> the reason.

    Raises:
      UserError: a disk is full, or all checkpoints are damaged.
      SystemExit: a signal asked to stop; all was saved.
    """
    with ExitStack() as stack:
        stack.enter_context(closing(progress))
        stack.enter_context(population.experiment.precision.enabled())
        stop = stack.enter_context(StopSignal())
        trainee = PopulationRecorder(population, runs, Run(folder), progress)
        for recorder in trainee.recorders:
            stack.enter_context(closing(recorder))
        return run_loop(trainee, stop)


class PopulationRecorder:
    """The recorder of a population, with a `Recorder` for each member's directory.

    A member whose numbers are not finite has diverged: this is printed, and the member is no longer
    recorded.
    """

    def __init__(
        self, population: Population, runs: Sequence[Run], shared: Run, progress: Progress
    ) -> None:
        self.population, self.runs, self.progress = population, runs, progress
        self.experiment = experiment = population.experiment
        self.timing = Timing(progress)
        quiet = Quiet(experiment.clock.total, 1)
        self.recorders = [
            Recorder(member, run, quiet, self.timing)
            for member, run in zip(population.members, runs, strict=True)
        ]
        self.loader = _Loaders([recorder.loader for recorder in self.recorders])
        self.finished = {i for i, run in enumerate(runs) if run.result() is not None}
        self.diverged: dict[int, str] = {}
        self.evaluated = True
        self.checkpoints = Checkpoints(
            shared.checkpoints, experiment.training.keep, check=self._check_held
        )
        self._state_sharding, self._batch_sharding = population.shardings

    @property
    def going(self) -> list[int]:
        """The members that have neither diverged nor finished in an earlier start."""
        return sorted(set(range(len(self.runs))) - self.finished - self.diverged.keys())

    @property
    def active(self) -> bool:
        """Whether any member still trains."""
        return bool(self.going)

    def start(self) -> tuple[int, State]:
        """The states of the newest intact checkpoint, or those before the first step."""
        devices = self.experiment.devices
        carried = jax.device_put(self.population.carried, self._state_sharding)
        shapes = jax.eval_shape(self.population.initial, carried)
        restored = self.checkpoints.restore(devices.abstract(shapes, self._state_sharding))
        if restored is not None:
            states, notes = restored
            self.diverged = self._diverged(notes.get("diverged", {}))
            self.timing.earlier = notes.get("wall_seconds", 0.0)
            self.evaluated = notes.get("evaluated", True)
            self.progress.say(f"resumed at step {int(states.step[0]):,}")
        else:
            arguments = carried, self.population.start_from()
            initial = devices.compiled(
                self.population.initial, *arguments, once=True, results=self._state_sharding
            )
            states = initial(*arguments)
        step = int(states.step[0])
        for i in self.going:
            self.runs[i].claim(self.population.members[i].config)
            self.recorders[i].begin(step, self.evaluated)
        return step, states

    def _diverged(self, noted: Mapping[str, str]) -> dict[int, str]:
        """Index of each diverged member -> the reason, from the notes of a checkpoint."""
        members = {str(i): i for i in range(len(self.runs))}
        if strangers := noted.keys() - members.keys():
            raise UserError(
                f"{self.checkpoints.folder}: belong to another population (member "
                f"{brief(min(strangers))} of {len(members)}); restore them"
            )
        return {members[i]: reason for i, reason in noted.items()}

    def compile(self, states: State) -> Callable[[State, Any, int], tuple[State, Summary]]:
        """Compile once for the training of all members, and once for evaluation."""
        began, devices = time.perf_counter(), self.experiment.devices
        columns = devices.replicate(self.loader.columns)
        carried = jax.device_put(self.population.carried, self._state_sharding)

        def place(batches: Any) -> Any:
            return jax.device_put(batches, self._batch_sharding)

        program = devices.compiled(
            self.population.run_steps,
            *(states, carried, columns, place(self.loader.make(0, 0)), np.int32(0)),
            donate=(0,),
            results=(self._state_sharding, devices.replicated),
        )
        pick = lambda states, i: jax.tree.map(lambda x: x[i], states)  # noqa: E731
        self._pick = devices.compiled(pick, states, np.int32(0), once=True)
        measure = Measure(self.experiment, self._member(states, 0))
        for recorder in self.recorders:
            recorder.measure = measure
        self.timing.compiling = time.perf_counter() - began
        return lambda states, batches, n: program(
            states, carried, columns, place(batches), np.int32(n)
        )

    def _member(self, states: State, i: int) -> State:
        return self._pick(states, np.int32(i))

    def record(self, step: int, n: int, summaries: Summary) -> None:
        """Log the summaries (steps, members) of `n` steps, and note which members diverge."""
        values = {k: np.asarray(v)[:n] for k, v in summaries.items() if k != "finite"}
        numbers = (np.isfinite(v.astype(np.float32)) for v in values.values())
        values["finite"] = functools.reduce(np.logical_and, numbers)
        for i in self.going:
            summary = {name: v[:, i] for name, v in values.items()}
            record = functools.partial(self.recorders[i].record, step, n, summary)
            self._unless_diverged(i, record)
        if going := self.going:
            loss = float(np.mean(values["loss"][-1, going]))
            waiting = min(1.0, self.loader.waited / max(1e-9, self.timing.training))
            self.progress.show(step + n, loss, waiting)

    def evaluate(self, step: int, states: State) -> bool:
        """Evaluate every member and show the means; returns False, as no best one is saved."""
        for i in self.going:
            state = self._member(states, i)
            self._unless_diverged(i, functools.partial(self.recorders[i].evaluate, step, state))
        if going := self.going:
            metrics = [self.recorders[i].metrics for i in going]
            means = {name: float(np.mean([m[name] for m in metrics])) for name in metrics[0]}
            self.progress.show_evaluation(step, self.experiment.headline(means))
        return False

    def _unless_diverged(self, i: int, record: Callable[[], object]) -> None:
        """Call a member's recorder, and note if it finds numbers that are not finite."""
        try:
            record()
        except Diverged as error:
            self.diverged[i] = str(error)
            self.progress.say(f"{self.runs[i].folder} has diverged: {error}")

    def save(self, step: int, states: State, evaluated: bool = True) -> None:
        """Save the states of all members, including diverged ones."""
        notes = {"wall_seconds": self.timing.wall, "diverged": self.diverged}
        self.checkpoints.save(step, states, notes | {"evaluated": evaluated})

    def finish(self, states: State, steps: int) -> dict[int, str]:
        """Write each member's checkpoint, result and figures; returns the diverged members."""
        number, examples = len(self.recorders), steps * self.experiment.order.batch_size
        if steps:
            rate = number * examples / max(1e-9, self.timing.training)
            self.progress.say(f"{number} runs in one program: {rate:,.0f} training examples/s")
        for i in self.going:
            recorder, state = self.recorders[i], self._member(states, i)
            save = functools.partial(recorder.save, int(state.step), state)
            self._unless_diverged(i, save)
            if i not in self.diverged:
                recorder.checkpoints.wait()
                recorder.finish(state, steps)
        return self.diverged

    def _check_held(self) -> None:
        """Check that all members still hold their locks."""
        for run in self.runs:
            run.check_held()


class _Loaders:
    """The loaders of all members as one, with rows (steps, members, batch)."""

    def __init__(self, loaders: Sequence[DeviceLoader]) -> None:
        self._loaders = loaders
        self.columns, self.steps = loaders[0].columns, loaders[0].steps

    @property
    def waited(self) -> float:
        return sum(loader.waited for loader in self._loaders)

    def make(self, step: int, n: int) -> np.ndarray:
        return np.stack([loader.make(step, n) for loader in self._loaders], axis=1)

    def take(self, step: int, n: int) -> np.ndarray:
        return np.stack([loader.take(step, n) for loader in self._loaders], axis=1)

    def prepare(self, step: int, n: int) -> None:
        for loader in self._loaders:
            loader.prepare(step, n)

    def close(self) -> None:
        for loader in self._loaders:
            loader.close()


class Quiet(Progress):
    """The progress of a single member, which is not printed."""

    def _print(self, text: str) -> None:
        pass
