"""A population: many runs in one compiled program, by `jax.vmap` over the step.

Its members share model, task, data and length. Each has its own seed, so its own parameters,
dropout and order of the data, and its own learning rates. What a member leaves in its directory is
what it leaves when it is trained alone, to rounding.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import json_files, optim
from jaxdl.data.feed import Feed, fetch
from jaxdl.data.order import Order
from jaxdl.errors import Diverged, UserError
from jaxdl.progress import Progress
from jaxdl.runs import Run
from jaxdl.signals import StopSignal
from jaxdl.training import step as steps
from jaxdl.training.experiment import Experiment
from jaxdl.training.loop import Loop
from jaxdl.training.measure import Measure
from jaxdl.training.state import State, count
from jaxdl.training.step import Summary

# Together saves the start of each run, and, where steps are tiny, time between them. Up to so many
# parameters it costs nothing: on a CPU 8 perceptrons of 185,300 step at 0.95 of the speed of one, a
# softmax regression on 8x8 digits at 1.2. The convolutions of several runs become grouped ones,
# which XLA:CPU is slow at: 0.65.
_SMALL = 1 << 18
_SLOW_ON_CPU = ("conv_general_dilated", "ffi_call")


class Population:
    """Runs that train in one program.

    Args:
      experiment: of the first of them.
      configs: of all: equal but for `seed`, and `optimizer.learning_rate`, where all are numbers or
        all are schedules.
    """

    def __init__(self, experiment: Experiment, configs: Sequence[Mapping[str, Any]]) -> None:
        self.experiment = experiment
        self.members = [_member(experiment, config) for config in configs]
        rates = [config["optimizer"].get("learning_rate") for config in configs]
        self._rates_differ = any(rate != rates[0] for rate in rates)
        seeds = [member.seed for member in self.members]
        self._seeds = np.asarray(seeds, np.uint32)

    def __len__(self) -> int:
        return len(self.members)

    @functools.cached_property
    def rates(self) -> Any:
        """The learning rate of each member at each step, (members, steps); None if all are alike.

        A schedule is a function of the step alone, so that its values are as good as the function.
        """
        if not self._rates_differ:
            return None
        at = jnp.arange(self.experiment.clock.total + 1)
        return jnp.stack([jax.jit(jax.vmap(_schedule(member)))(at) for member in self.members])

    def initial(self, batch: Any, rates: Any, learnt: Any = None) -> State:
        """The states before the first step, stacked; a pure function."""

        def one(seed: Any, rates: Any) -> State:
            return self._at(rates).initial(batch, seed, learnt)

        return jax.vmap(one)(self._seeds, rates)

    def call(
        self, states: State, rates: Any, columns: Any, given: Any, n: jax.Array
    ) -> tuple[State, Summary]:
        """`n` steps of all members on their rows (steps, members, batch); what is compiled."""

        def one(state: State, rates: Any, rows: Any) -> tuple[State, Summary]:
            return self._at(rates).step(state, fetch(columns, rows))

        step = steps.population(one)
        return steps.repeat(lambda states, rows: step(states, rates, rows))(states, given, n)

    def obstacle(self) -> str | None:
        """Why these runs cannot train in one program; None if they can."""
        experiment = self.experiment
        if not experiment.feed().columns:
            return "their data is not held on the device"
        if experiment.devices.placement != "replicated" or jax.process_count() > 1:
            return "their states are shared out among devices"
        if experiment.training.best:
            return "each is to keep its best checkpoint"
        try:
            _ = self._program
        except Exception as error:  # whatever a model or an optimiser does that cannot be mapped
            return f"their step cannot be mapped over runs ({type(error).__name__})"
        return None

    def slow(self) -> str | None:
        """Why one program would not be faster; None if it would."""
        with self.experiment.precision.enabled():
            first = self.experiment.training_batch(1)
            size = count(jax.eval_shape(self.experiment.initial, first, jnp.uint32(0)).params)
        if size > _SMALL:
            return f"{size:,} parameters are more than {_SMALL:,}"
        if jax.default_backend() == "cpu" and any(name in self._program for name in _SLOW_ON_CPU):
            return "convolutions of many runs are slow on a CPU"
        return None

    def train(self, runs: Sequence[Run], folder: Path, progress: Progress) -> dict[int, str]:
        """Train all members, or resume what `folder` holds.

        Args:
          runs: where each member's run goes; those that have a result are left as they are.
          folder: for the checkpoints of all; removed at the end.
          progress: counts the examples of all members.

        Returns:
          Which members have diverged, and how.

        Raises:
          UserError: a disk is full, or checkpoints are damaged.
          SystemExit: a signal asked to stop; all was saved.
        """
        with ExitStack() as stack:
            for run in runs:
                stack.enter_context(run.locked())
            stack.enter_context(self.experiment.precision.enabled())
            stop = stack.enter_context(StopSignal())
            found = _Together(self, runs, folder, progress, stop).run()
        shutil.rmtree(folder, ignore_errors=True)  # every member has its own by now
        return found

    def _at(self, rates: Any) -> Experiment:
        """The experiment at learning rates (steps,) that may be traced."""
        if rates is None:
            return self.experiment
        experiment = self.experiment
        node = experiment.config["optimizer"]
        rate: Any = lambda step: rates[step]  # noqa: E731
        if not isinstance(node["learning_rate"], Mapping):  # some optimisers take numbers only
            rate = rates[0].astype(experiment.precision.params)
        optimizer = optim.build({**node, "learning_rate": rate}, experiment.clock)
        return replace(experiment, optimizer=optimizer)

    @functools.cached_property
    def _program(self) -> str:
        """The program of one step, as JAX prints it."""
        experiment = self.experiment
        with experiment.precision.enabled():
            states = jax.eval_shape(self.initial, experiment.training_batch(1), self.rates)
            columns = experiment.devices.abstract(dict(experiment.splits["train"].columns))
            rows = np.zeros((1, len(self), experiment.order.batch_size), np.int32)
            call = jax.make_jaxpr(self.call)
            return str(call(states, self.rates, columns, rows, np.int32(1)))


class _Together(Loop):
    """The loop over a population, whose members keep their own books, as a run alone does."""

    def __init__(
        self,
        population: Population,
        runs: Sequence[Run],
        folder: Path,
        progress: Progress,
        stop: StopSignal,
    ) -> None:
        super().__init__(population.experiment, Run(folder), progress, stop)
        self.population, self.runs = population, runs
        quiet = _Quiet(self.experiment.clock.total, 1)
        self.loops = [
            Loop(e, r, quiet, stop) for e, r in zip(population.members, runs, strict=True)
        ]
        self.feed: Any = _Feeds([loop.feed for loop in self.loops])
        self.finished = {i for i, run in enumerate(runs) if run.result() is not None}
        self.diverged: dict[int, str] = {}
        devices = self.experiment.devices
        spread = len(population) % devices.mesh.shape["data"] == 0
        self.held = devices.spread(0) if spread else devices.replicated
        self.given = devices.spread(1 if spread else 2)

    @property
    def going(self) -> list[int]:
        """The members that have neither diverged nor a result from before."""
        return sorted(set(range(len(self.runs))) - self.finished - self.diverged.keys())

    def _start(self) -> State:
        """The states of the newest sound checkpoint, or those before the first step."""
        experiment, devices = self.experiment, self.experiment.devices
        self.rates = jax.device_put(self.population.rates, self.held)
        learnt = None
        given = experiment.training_batch(1), self.rates
        if start := experiment.init_from:
            state = experiment.init()
            filled = start.fill(state.params, state.variables)
            start.forget()
            learnt = devices.replicate((filled.params, filled.variables))
        initial = devices.compiled(
            self.population.initial, *given, learnt, once=True, results=self.held
        )
        states = initial(*given, learnt)
        restored = self.checkpoints.restore(devices.abstract(states, self.held))
        if restored is not None:
            states, notes = restored
            members = {str(i): i for i in range(len(self.runs))}
            diverged = notes.get("diverged", {})
            if strangers := diverged.keys() - members.keys():
                raise UserError(
                    f"{self.directory.checkpoints}: are of another population (member "
                    f"{json_files.shown(min(strangers))} of {len(members)}); restore them"
                )
            self.diverged = {members[i]: reason for i, reason in diverged.items()}
            self.earlier_seconds = notes.get("wall_seconds", 0.0)
            self.progress.say(f"resumed at step {int(states.step[0]):,}")
        for i in self.going:
            self.runs[i].claim(self.population.members[i].config)
            self.runs[i].start(int(states.step[0]), experiment.description)
            self.loops[i].earlier_seconds = self.earlier_seconds
        return states

    def _compile(self, states: State, columns: Any) -> Callable:
        began, devices = time.perf_counter(), self.experiment.devices
        call = devices.compiled(
            self.population.call,
            *(states, self.rates, columns, self._placed(self.feed.make(0, 0)), np.int32(0)),
            donate=(0,),
            results=(self.held, devices.replicated),
        )
        self.one = devices.compiled(
            lambda states, i: jax.tree.map(lambda x: x[i], states), states, np.int32(0), once=True
        )
        measure = Measure(self.experiment, self.one(states, np.int32(0)))
        for loop in self.loops:
            loop.measure, loop.compile_seconds = measure, time.perf_counter() - began
        return lambda states, columns, given, n: call(states, self.rates, columns, given, n)

    def _placed(self, given: Any) -> Any:
        return jax.device_put(given, self.given)

    def record(self, step: int, n: int, summaries: Any) -> None:
        """Log the summaries of `n` steps of every member; those not finite have diverged."""
        values = {k: np.asarray(v)[:n] for k, v in summaries.items() if k != "finite"}
        numbers = (np.isfinite(v.astype(np.float32)) for v in values.values())
        values["finite"] = functools.reduce(np.logical_and, numbers)
        for i in self.going:
            self._keep(i, "record", step, n, {k: v[:, i] for k, v in values.items()})
        if going := self.going:
            running = self.training_seconds + time.perf_counter() - self.since
            loss = float(np.mean(values["loss"][-1, going]))
            self.progress.show(step + n, loss, min(1.0, self.feed.waited / running))

    def evaluate(self, step: int, states: State) -> bool:
        """Evaluate every member, and tell the means; none is kept as the best."""
        for i in self.going:
            self._keep(i, "evaluate", step, self.one(states, np.int32(i)))
        if going := self.going:
            names = self.loops[going[0]].metrics
            means = {k: float(np.mean([self.loops[i].metrics[k] for i in going])) for k in names}
            self.progress.evaluated(step, means)
        return False

    def _keep(self, i: int, what: str, *args: Any) -> None:
        """Let a member do its books; where they are refused as not finite, it has diverged."""
        try:
            getattr(self.loops[i], what)(*args)
        except Diverged as error:
            self.diverged[i] = str(error)
            self.progress.say(f"{self.runs[i].folder} has diverged: {error}")

    def check_held(self) -> None:
        """Refuse to write on where another may train in the place of one of them."""
        for run in self.runs:
            run.check_held()

    def save(self, step: int, states: State) -> None:
        """Save the states of all, also of those that have diverged."""
        notes = {"wall_seconds": self._wall_seconds(), "diverged": self.diverged}
        self.checkpoints.save(step, states, notes)
        self.saved = time.perf_counter()

    def finish(self, states: State, taken: int) -> dict[int, str]:
        """Each member's own checkpoint, result and figures; returns who has diverged, and how."""
        examples = taken * self.experiment.order.batch_size * len(self.loops)
        rate = examples / max(1e-9, self.training_seconds)
        self.progress.say(f"{len(self.loops)} runs in one program: {rate:,.0f} training examples/s")
        for i in self.going:
            state = self.one(states, np.int32(i))
            self._keep(i, "save", int(state.step), state)
            if i not in self.diverged:
                self.loops[i].training_seconds = self.training_seconds
                self.loops[i].checkpoints.wait()
                self.loops[i].finish(state, taken)
        return self.diverged


class _Feeds:
    """The feeds of all members as one, of rows (steps, members, batch)."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds
        self.columns, self.steps = feeds[0].columns, feeds[0].steps

    @property
    def waited(self) -> float:
        return sum(feed.waited for feed in self._feeds)

    def make(self, step: int, n: int) -> np.ndarray:
        return np.stack([feed.make(step, n) for feed in self._feeds], axis=1)

    def take(self, step: int, n: int) -> np.ndarray:
        return np.stack([feed.take(step, n) for feed in self._feeds], axis=1)

    def prepare(self, step: int, n: int) -> None:
        for feed in self._feeds:
            feed.prepare(step, n)

    def close(self) -> None:
        for feed in self._feeds:
            feed.close()


class _Quiet(Progress):
    """Of a member: what is said is said of all of them."""

    def _print(self, text: str) -> None:
        pass


def _member(experiment: Experiment, config: Mapping[str, Any]) -> Experiment:
    """The experiment of a config that differs in seed and learning rate alone."""
    order, seed = experiment.order, config.get("seed", 0)
    return replace(
        experiment,
        config=config,
        seed=seed,
        order=replace(order, seed=seed) if isinstance(order, Order) else order,
        optimizer=optim.build(config["optimizer"], experiment.clock),
        rate=optim.learning_rate(config["optimizer"], experiment.clock),
    )


def _schedule(member: Experiment) -> Callable:
    assert member.rate is not None
    return member.rate
