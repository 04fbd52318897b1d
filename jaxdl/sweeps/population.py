"""A population: many runs in one compiled program, by `jax.vmap` over the step.

Its members share model, data and length. Each has its own learning rates, and its own seed, so its
own initial parameters, dropout and order of the data; in a search also other numbers of its own, of
the optimiser and the task. A member leaves the same files as when it is trained alone, with the
same numbers to rounding.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config as cfg
from jaxdl import optim
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.loader import DeviceLoader, fetch
from jaxdl.data.order import ShuffledEpochs
from jaxdl.errors import Diverged, UserError, brief
from jaxdl.progress import Progress
from jaxdl.signals import StopSignal
from jaxdl.training import combinators
from jaxdl.training.build import build_task
from jaxdl.training.experiment import Experiment
from jaxdl.training.loop import run_loop
from jaxdl.training.measure import Measure
from jaxdl.training.recorder import Recorder, Timing
from jaxdl.training.state import State, count
from jaxdl.training.step import Summary

# One program saves the start-up of each run and, where steps are tiny, the time between them. Up to
# this many parameters it costs nothing: on a CPU, relative to training in turn, 8 perceptrons of
# 185,300 parameters step at 0.95 of the speed, softmax regressions on 8x8 digits at 1.2. The
# convolutions of several runs become grouped ones, at which XLA:CPU is slow: 0.65.
_SMALL = 1 << 18
_SLOW_ON_CPU = ("conv_general_dilated", "ffi_call")

RATE = "optimizer.learning_rate"


class Population:
    """Runs that train in one program.

    Args:
      experiment: of the first run.
      configs: of all runs. They may differ in `seed`, in `optimizer.learning_rate`, where the rates
        must be all numbers or all schedules, and in the keys of `carried`.
      carried: keys whose values are inputs of the program, so that other members can take the
        places of these: `RATE`, and numbers of `optimizer` and `task`. By default the learning
        rates, if they differ.
    """

    def __init__(
        self,
        experiment: Experiment,
        configs: Sequence[Mapping[str, Any]],
        carried: Sequence[str] | None = None,
    ) -> None:
        self.experiment = experiment
        self.members = [member_of(experiment, config) for config in configs]
        rates = [config["optimizer"].get("learning_rate") for config in configs]
        differ = [RATE] if any(rate != rates[0] for rate in rates) else []
        self._carried = differ if carried is None else carried
        self._seeds = np.asarray([member.seed for member in self.members], np.uint32)

    def __len__(self) -> int:
        return len(self.members)

    @functools.cached_property
    def carried(self) -> dict[str, Any]:
        """What differs among members, beside their seeds: key -> (members, …), as of `row`."""
        rows = [self.row(member) for member in self.members]
        return jax.tree.map(lambda *parts: jnp.stack(parts), *rows)

    def row(self, member: Experiment) -> dict[str, Any]:
        """What a member has of its own: key -> a number, or its rates (steps + 1,).

        A schedule depends on the step alone, so a table of its values can replace it.
        """
        numbers = {key: cfg.at(member.config, key) for key in self._carried if key != RATE}
        row = {key: jnp.asarray(number, float) for key, number in numbers.items()}
        if RATE in self._carried and member.rate is not None:
            steps = jnp.arange(self.experiment.clock.total + 1)
            row[RATE] = jax.vmap(member.rate)(steps)
        return row

    @property
    def shardings(self) -> tuple[Any, Any]:
        """Of states, and of batches (steps, members, batch): spread over devices by member.

        Where members do not divide over the devices, the examples of each batch do.
        """
        devices = self.experiment.devices
        if len(self) % devices.mesh.shape["data"] == 0:
            return devices.spread(0), devices.spread(1)
        return devices.replicated, devices.spread(2)

    def initial(self, carried: Any, start: Any = None) -> State:
        """The states before the first step, stacked along a leading axis of members; pure.

        Args:
          carried: as the property has them.
          start: (params, model_state) for all members, or None for fresh ones.
        """

        def one(seed: Any, carried: Any) -> State:
            return self._at(carried).initial(seed, start)

        return jax.vmap(one)(self._seeds, carried)

    def start_from(self) -> Any:
        """(params, model_state) from `init_from`, the same for all members; or None."""
        experiment, start = self.experiment, self.experiment.init_from
        if start is None:
            return None
        state = experiment.init()
        filled = start.fill(state.params, state.model_state)
        start.forget()
        return experiment.devices.replicate((filled.params, filled.model_state))

    def run_steps(
        self, states: State, carried: Any, columns: Any, batches: Any, n: jax.Array
    ) -> tuple[State, Summary]:
        """`n` steps of all members; this is compiled.

        Args:
          states: stacked along a leading axis of members.
          carried: as the property has them.
          columns: of the training data, on the device.
          batches: rows of the data, (steps, members, batch).
          n: how many of these steps to make.

        Returns:
          States, and summaries (steps, members).
        """

        def one(state: State, carried: Any, rows: Any) -> tuple[State, Summary]:
            return self._at(carried).step(state, fetch(columns, rows))

        step = combinators.population(one)
        repeated = combinators.repeat(lambda states, rows: step(states, carried, rows))
        return repeated(states, batches, n)

    def obstacle(self) -> str | None:
        """Why these runs cannot train in one program; None if they can."""
        experiment = self.experiment
        if not experiment.loader().columns:
            return "their data is not on the device"
        if experiment.devices.placement != "replicated" or jax.process_count() > 1:
            return "their states are sharded over devices"
        if experiment.sums_gradients:
            return "their gradients are summed over devices"
        if experiment.training.patience:
            return "each stops early by itself"
        if experiment.training.best:
            return "each keeps its best checkpoint"
        try:
            _ = self._program
        except Exception as error:  # models and optimisers of users can do what cannot be mapped
            return f"their step cannot be mapped over runs ({type(error).__name__})"
        return None

    def slow(self) -> str | None:
        """Why one program would not be faster; None if it would."""
        with self.experiment.precision.enabled():
            size = count(self.experiment.abstract_state.params)
        if size > _SMALL:
            return f"{size:,} parameters are more than {_SMALL:,}"
        if jax.default_backend() == "cpu" and any(
            name in str(self._program) for name in _SLOW_ON_CPU
        ):
            return "convolutions of many runs are slow on a CPU"
        return None

    def train(self, runs: Sequence[Run], folder: Path, progress: Progress) -> dict[int, str]:
        """Train all members, or resume from the checkpoints in `folder`.

        Args:
          runs: the directory of each member, locked; those with a result are left as they are.
          folder: for checkpoints of the whole population. At the end every member has its own.
          progress: counts the examples of all members.

        Returns:
          Number of each member that has diverged -> the reason.

        Raises:
          UserError: a disk is full, or all checkpoints are damaged.
          SystemExit: a signal asked to stop; all was saved.
        """
        with ExitStack() as stack:
            stack.enter_context(closing(progress))
            stack.enter_context(self.experiment.precision.enabled())
            stop = stack.enter_context(StopSignal())
            trainee = _PopulationRecorder(self, runs, Run(folder), progress)
            for recorder in trainee.recorders:
                stack.enter_context(closing(recorder))
            return run_loop(trainee, stop)

    def _at(self, carried: Mapping[str, Any]) -> Experiment:
        """The experiment of a member, from its `row`, which may be traced."""
        if not carried:
            return self.experiment
        experiment, task = self.experiment, self.experiment.task
        node = dict(experiment.config["optimizer"])
        for key, value in carried.items():
            group, _, leaf = key.partition(".")
            if key == RATE:
                node[leaf] = lambda step: carried[RATE][step]
                if not isinstance(experiment.config["optimizer"][leaf], Mapping):
                    # Some optimisers accept only numbers.
                    node[leaf] = value[0].astype(experiment.precision.params)
            elif group == "optimizer":
                node[leaf] = value.astype(experiment.precision.params)
            else:
                task = copy.copy(task)  # built already, with a number that was checked
                object.__setattr__(task, leaf, value.astype(experiment.precision.output))
        optimizer = optim.build(node, experiment.clock)
        return replace(experiment, optimizer=optimizer, task=task)

    def ignored(self) -> list[str]:
        """Keys of `carried` on which training does not depend."""
        jaxpr, keys = self._program.jaxpr, sorted(self.carried)
        used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
        states = len(jax.tree.leaves(jax.eval_shape(self.initial, self.carried)))
        inputs = jaxpr.invars[states : states + len(keys)]  # in the order of the arguments
        return [key for key, x in zip(keys, inputs, strict=True) if id(x) not in used]

    @functools.cached_property
    def _program(self) -> Any:
        """The jaxpr of one step."""
        experiment = self.experiment
        with experiment.precision.enabled():
            states = jax.eval_shape(self.initial, self.carried)
            columns = experiment.devices.abstract(dict(experiment.splits["train"].columns))
            rows = np.zeros((1, len(self), experiment.order.batch_size), np.int32)
            call = jax.make_jaxpr(self.run_steps)
            return call(states, self.carried, columns, rows, np.int32(1))


class _PopulationRecorder:
    """The recorder of a population: each member has its own `Recorder`, for its own directory.

    A member with a loss that is not finite has diverged: this is printed, and from then on nothing
    of it is recorded.
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
        """The states of the newest sound checkpoint, or those before the first step."""
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
        """Number of each diverged member -> the reason, from the notes of a checkpoint."""
        members = {str(i): i for i in range(len(self.runs))}
        if strangers := noted.keys() - members.keys():
            raise UserError(
                f"{self.checkpoints.folder}: of another population (member "
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
        """Log the summaries (steps, members) of `n` steps; members that are not finite diverge."""
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
        """Evaluate every member and show the means; returns False: none is saved as the best."""
        for i in self.going:
            state = self._member(states, i)
            self._unless_diverged(i, functools.partial(self.recorders[i].evaluate, step, state))
        if going := self.going:
            metrics = [self.recorders[i].metrics for i in going]
            means = {name: float(np.mean([m[name] for m in metrics])) for name in metrics[0]}
            self.progress.show_evaluation(step, self.experiment.headline(means))
        return False

    def _unless_diverged(self, i: int, record: Callable[[], object]) -> None:
        """Call a recorder of a member; if it finds numbers that are not finite, note this."""
        try:
            record()
        except Diverged as error:
            self.diverged[i] = str(error)
            self.progress.say(f"{self.runs[i].folder} has diverged: {error}")

    def save(self, step: int, states: State, evaluated: bool = True) -> None:
        """Save the states of all members, diverged ones too."""
        notes = {"wall_seconds": self.timing.wall, "diverged": self.diverged}
        self.checkpoints.save(step, states, notes | {"evaluated": evaluated})

    def finish(self, states: State, steps: int) -> dict[int, str]:
        """Write each member's checkpoint, result and figures; returns the diverged members."""
        examples = steps * self.experiment.order.batch_size * len(self.recorders)
        rate = examples / max(1e-9, self.timing.training)
        number = len(self.recorders)
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
    """The loaders of all members as one: it gives rows (steps, members, batch)."""

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


def member_of(experiment: Experiment, config: Mapping[str, Any]) -> Experiment:
    """The experiment for a config that differs in seed and numbers of optimiser and task alone.

    Raises:
      UserError: the optimiser or the task refuses its numbers.
    """
    order, seed, task = experiment.order, config.get("seed", 0), experiment.task
    if config["task"] != experiment.config["task"]:
        task = build_task(config["task"], getattr(task, "classes", 1))
    return replace(
        experiment,
        config=config,
        seed=seed,
        task=task,
        order=replace(order, seed=seed) if isinstance(order, ShuffledEpochs) else order,
        optimizer=optim.build(config["optimizer"], experiment.clock),
        rate=optim.learning_rate(config["optimizer"], experiment.clock),
    )
