"""Successive halving of a population that trains in one compiled program.

A population has a fixed number of slots, in each of which a member trains with its own setting. At
each rung, the rule in `jaxdl.sweeps.rungs` decides which members continue; new members, with new
settings, start at step 0 in place of the others. Shapes stay the same, so nothing is recompiled.

    search.json, figures/search.png   see `jaxdl.sweeps.search`
    trace.jsonl                       see `jaxdl.sweeps.trace`
    checkpoints/…                     the states of all slots, until the search ends
    best/…                            the best member, as an ordinary run
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import json_files
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.files import Secondary
from jaxdl.progress import Progress, duration
from jaxdl.signals import StopSignal
from jaxdl.sweeps import search as searches
from jaxdl.sweeps.carried import judged, population_of
from jaxdl.sweeps.draws import shown
from jaxdl.sweeps.population import member_of
from jaxdl.sweeps.population_recorder import Quiet
from jaxdl.sweeps.rungs import Bracket, Decision, Rungs, Slot
from jaxdl.sweeps.search import Search
from jaxdl.sweeps.trace import Record, Trace, read_trace
from jaxdl.terminal import say
from jaxdl.training.build import build_experiment
from jaxdl.training.measure import Measure
from jaxdl.training.recorder import Recorder
from jaxdl.training.state import State
from jaxdl.training.timing import Pace, Timing

_LARGEST = 2.0**63  # a member whose metric is larger has diverged
_MOST_RUNS = 1_000_000  # in a budget


@dataclass
class _Notes:
    """The notes of a checkpoint: the bracket's, the length of the trace, and the time."""

    steps: int
    left: int
    drawn: int
    places: list[Slot]
    lines: int
    wall_seconds: float


def run_halving(folder: Path, search: Search, say: Callable[[str], None] = say) -> None:
    """Search by halving in a folder, or resume the search there, and print the best setting.

    Raises:
      UserError: before anything is trained, a setting is not valid or cannot be carried by a
        population; or all members have diverged.
      SystemExit: a signal asked to stop; all was saved.
    """
    run = Run(folder)
    with run.locked():
        if search.best is None:
            halving = Halving(run, search, say)
            search = halving.search
            searches.write(run, search)
            search = halving.train()
        records = read_trace(folder)
        Secondary("figures")(
            searches.write_figure, search, [asdict(record) for record in records], folder
        )
        tried = len({record.member for record in records})
        for line in searches.concluded(search, folder, tried):
            say(line)


class Halving:
    """Trains a population, and replaces all but the best at each rung.

    Args:
      run: the folder, locked.
      search: the search.
      say: prints a line.

    Raises:
      UserError: a setting is not valid, or cannot be carried by a population.
    """

    def __init__(self, run: Run, search: Search, say: Callable[[str], None]) -> None:
        self.run, self.search, self._say = run, search, say
        self.base, self._objective = judged(search)
        rungs = Rungs.of(self.base.clock.total, search.eta, search.size)
        if not search.size <= search.budget <= _MOST_RUNS:
            raise UserError(
                f"--budget {search.budget:g}: is in whole runs; expected from {search.size} "
                f"(--halving) to {_MOST_RUNS:,}"
            )
        length = math.floor(search.budget * self.base.clock.total / search.size)
        self.bracket, self.trace = Bracket(rungs, search.size, length), Trace(run.folder)
        with self.base.precision.enabled():
            self.population = population_of(search, self.base)
        self._loader = self.base.loader()
        self._checkpoints = Checkpoints(run.checkpoints, keep=1, check=run.check_held)
        self._progress = Progress(length, self.base.order.batch_size * search.size)
        self._timing = Timing(self._progress)

    # ---- Training

    def train(self) -> Search:
        """Train until the budget allows no further member to finish.

        Returns:
          The search, with its best setting.

        Raises:
          UserError: all members have diverged.
          SystemExit: a signal asked to stop; all was saved.
        """
        bracket = self.bracket
        rungs = ", ".join(f"{step:,}" for step in bracket.rungs.steps)
        self._say(
            f"{len(bracket.places)} settings at a time in one program, up to {bracket.length:,} "
            f"steps; compared at steps {rungs} by {self._objective.metric}"
        )
        with self.base.precision.enabled(), StopSignal() as stop:
            stop.answer = self._answer
            with stop.giving_up(True):  # nothing to save
                states, carried, best = self._start()
                with self._progress.busy("compiling"):
                    self._compile(states, carried)
            self._timing.start_training(bracket.steps)
            while not bracket.over:
                states = self._train_to_event(states, carried, stop)
                if stop.asked:
                    self._save(states, best)
                    self._checkpoints.wait()
                    self._progress.say(
                        f"stopped at step {bracket.steps:,} and saved; run again to resume"
                    )
                    raise SystemExit(128 + stop.asked)
                best = self._decide(states, best)
                states, carried = self._refill(states, carried)
                self._save(states, best)
            self._checkpoints.wait()
            self._loader.close()
            return self._finish(best)

    def _start(self) -> tuple[State, Any, State]:
        """The states, what they carry, and the best so far: from the newest checkpoint, or new."""
        devices, (sharding, _) = self.base.devices, self.population.shardings
        carried = jax.device_put(self.population.carried, sharding)
        shapes = jax.eval_shape(self.population.initial, carried)
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes)
        like = {"states": devices.abstract(shapes, sharding), "best": devices.abstract(one)}
        start = self.population.start_from()
        fresh = devices.compiled(self.population.initial, carried, start, results=sharding)
        self._fresh = lambda carried: fresh(carried, start)
        restored = self._checkpoints.restore(like)
        if restored is None:
            self.trace.restart(0)
            states = self._fresh(carried)
            blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)
            return states, carried, devices.replicate(blank)
        tree, notes = restored
        self._resume(notes)
        for i, member in self.bracket.active.items():
            carried = self._with_row(carried, i, member)
        self._progress.say(f"resumed at step {self.bracket.steps:,}")
        return tree["states"], jax.device_put(carried, sharding), tree["best"]

    def _resume(self, notes: Mapping[str, Any]) -> None:
        if reason := json_files.fault(notes, _Notes):
            raise UserError(f"{self._checkpoints.folder}: {reason}; {json_files.RESTORE}")
        self.bracket.restore(notes)
        self._timing.earlier = notes["wall_seconds"]
        for record in self.trace.restart(notes["lines"]):
            value = math.inf if record.metric is None else self._value(record.metric)
            self.bracket.note(
                Decision(record.member, record.rung, record.step, value, record.decision)
            )

    def _value(self, metric: float) -> float:
        """A metric as a value to minimise."""
        return metric if self._objective.smaller else -metric

    def _compile(self, states: State, carried: Any) -> None:
        """Compile once for training, evaluation and all members to come."""
        began, devices = time.perf_counter(), self.base.devices
        sharding, self._spread = self.population.shardings
        self._columns = devices.replicate(self._loader.columns)
        batches = jax.device_put(self._rows(0), self._spread)
        self._program = devices.compiled(
            self.population.run_steps,
            *(states, carried, self._columns, batches, np.int32(0)),
            donate=(0,),
            results=(sharding, devices.replicated),
        )
        chosen = np.zeros(len(self.bracket.places), bool)
        self._choose = devices.compiled(_chosen, states, states, chosen, results=sharding)
        pick = lambda states, i: jax.tree.map(lambda x: x[i], states)  # noqa: E731
        self._pick = devices.compiled(pick, states, np.int32(0))
        self._measure = Measure(self.base, self._pick(states, np.int32(0)))
        self._timing.compiling = time.perf_counter() - began

    def _rows(self, n: int) -> np.ndarray:
        """The rows of the next `n` steps of all slots, (steps, members, batch)."""
        steps = [place.step for place in self.bracket.places]
        made = {step: self._loader.make(step, n) for step in {*steps}}
        return np.stack([made[step] for step in steps], axis=1)

    def _train_to_event(self, states: State, carried: Any, stop: StopSignal) -> State:
        """Train all members until one arrives at a rung, or a signal asks to stop."""
        pace, unread = Pace(self._loader.steps), None
        while self.bracket.left and not stop.asked:
            n = min(self.bracket.left, pace.steps)
            batches = jax.device_put(self._rows(n), self._spread)
            states, summaries = self._program(states, carried, self._columns, batches, np.int32(n))
            self.bracket.advance(n)
            if unread:
                self._read(*unread)
                pace.tick(unread[0])
            unread = n, summaries
        if unread:
            self._read(*unread)
        return states

    def _read(self, n: int, summaries: Mapping[str, Any]) -> None:
        """Note which members have numbers that are not finite, and show the progress."""
        losses, norms = (np.asarray(summaries[k], np.float32)[:n] for k in ("loss", "grad_norm"))
        finite = np.isfinite(losses + norms).all(axis=0)
        for place, sound in zip(self.bracket.places, finite, strict=True):
            place.diverged = place.diverged or not sound
        if going := [*self.bracket.active]:
            # A mean would be dominated by a member that is about to diverge.
            self._progress.show(self.bracket.steps, float(np.median(losses[-1, going])), 0.0)

    # ---- Rungs

    def _decide(self, states: State, best: State) -> State:
        """Decide about members at rungs and empty the slots of those that end; returns the best."""
        self._timing.stop_training()
        values = {i: self._judged(states, i) for i in self.bracket.arrivals()}
        for i, decision in self.bracket.decide(values).items():
            self._log(decision)
            if decision is self.bracket.best:
                best = self._pick(states, np.int32(i))
        self._timing.start_training(self.bracket.steps)
        return best

    def _judged(self, states: State, i: int) -> float:
        """The value of the member in a slot."""
        if self.bracket.places[i].diverged:
            return math.inf
        metrics, _ = self._measure(self._pick(states, np.int32(i)))
        value = self._value(metrics[self._objective.metric])
        return value if abs(value) < _LARGEST else math.inf  # also if it is NaN

    def _log(self, made: Decision) -> None:
        setting, steps = self.search.setting(made.member), self.bracket.steps
        metric = None if made.decision == "diverged" else self._value(made.value)
        self.trace.append(
            Record(made.member, setting, made.rung, made.step, metric, made.decision, steps)
        )
        if made.decision == "finished":
            self._progress.say(
                f"step {steps:,}: member {made.member} has finished, "
                f"{self._objective.metric} {metric:.5g} ({shown(setting)})"
            )

    def _refill(self, states: State, carried: Any) -> tuple[State, Any]:
        """Fill empty slots with new members, if it is time to."""
        filled = self.bracket.refill()
        if not filled:
            return states, carried
        for i, member in filled.items():
            carried = self._with_row(carried, i, member)
        chosen = np.isin(np.arange(len(self.bracket.places)), [*filled])
        carried = jax.device_put(carried, self.population.shardings[0])
        return self._choose(self._fresh(carried), states, chosen), carried

    def _with_row(self, carried: Any, i: int, member: int) -> Any:
        config = self.search.with_setting(self.search.setting(member))
        row = self.population.row(member_of(self.base, config))
        return jax.tree.map(lambda all_, one: _put(all_, i, one), carried, row)

    def _save(self, states: State, best: State) -> None:
        notes = {"lines": self.trace.lines, "wall_seconds": self._timing.wall}
        tree = {"states": states, "best": best}
        self._checkpoints.save(self.bracket.steps, tree, self.bracket.notes() | notes)

    def _answer(self, signals: int) -> None:
        if signals == 1:
            self._progress.say(
                "stopping after this call; press Ctrl-C again to stop now, losing the steps since "
                "the last rung"
            )

    # ---- End

    def _finish(self, best: State) -> Search:
        """Write the best member as an ordinary run, and evaluate it on the test split, once."""
        bracket, winner = self.bracket, self.bracket.best
        if winner is None:
            raise UserError(f"{self.run.folder}: every run has diverged; draw lower learning rates")
        setting = self.search.setting(winner.member)
        config = self.search.with_setting(setting)
        experiment, run = build_experiment(config, resumed=True), Run(self.run.folder / "best")
        shutil.rmtree(run.folder, ignore_errors=True)  # left by a process that was killed in here
        with ExitStack() as stack:
            stack.enter_context(run.locked())
            run.claim(experiment.config)
            quiet = Quiet(experiment.clock.total, 1)
            recorder = stack.enter_context(closing(Recorder(experiment, run, quiet)))
            recorder.measure = Measure(experiment, best)
            recorder.begin(int(best.step))
            recorder.evaluate(int(best.step), best)
            recorder.save(int(best.step), best)
            recorder.checkpoints.wait()
            result = recorder.finish(best, 0)
        found = {"member": winner.member, "setting": setting, "place": "best"}
        search = replace(self.search, best={**found, "metrics": result["metrics"]})
        size = len(bracket.places)
        steps = bracket.steps * size
        rate = steps * self.base.order.batch_size / max(1e-9, self._timing.training)
        self._say(
            f"{bracket.drawn} settings, {size} at a time, took {bracket.steps:,} steps, as much as "
            f"{steps / self.base.clock.total:.1f} whole runs, in "
            f"{duration(self._timing.wall)}; {rate:,.0f} training examples/s"
        )
        searches.write(self.run, search)
        shutil.rmtree(self.run.checkpoints, ignore_errors=True)
        return search


def _chosen(fresh: State, states: State, chosen: Any) -> State:
    """The fresh states of the chosen members, the old ones of the others."""

    def one(new: Any, old: Any) -> Any:
        return jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(one, fresh, states)


def _put(rows: Any, i: int, row: Any) -> Any:
    rows = np.array(rows)
    rows[i] = row
    return rows
