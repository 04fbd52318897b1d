"""Successive halving of a population that trains in one compiled program.

A population has a fixed number of places, and in each a member trains with a setting of its own. At
each rung (`jaxdl.sweeps.rungs`) it is decided who goes on; the place of a member that does not is
taken by one with a new setting, from its first step. Shapes stay the same, so nothing is compiled
again.

    search.json, figures/search.png   see `jaxdl.sweeps.search`
    trace.jsonl                       one JSON object for each member at each rung
    checkpoints/…                     the states of all places, until the search ends
    best/…                            the best member, an ordinary run
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
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
from jaxdl.figures import save
from jaxdl.figures.search import search_figure
from jaxdl.files import Secondary, append_bytes, replace_text
from jaxdl.progress import Progress, duration
from jaxdl.signals import StopSignal
from jaxdl.sweeps import search as searches
from jaxdl.sweeps.carried import judged, population_of
from jaxdl.sweeps.draws import shown
from jaxdl.sweeps.population import member_of
from jaxdl.sweeps.population_recorder import Quiet
from jaxdl.sweeps.rungs import TRACE, Record, Rungs, read_trace
from jaxdl.sweeps.search import Search
from jaxdl.terminal import say
from jaxdl.training.build import build_experiment
from jaxdl.training.loop import Pace
from jaxdl.training.measure import Measure
from jaxdl.training.recorder import Recorder, Timing
from jaxdl.training.state import State

_LARGEST = 2.0**63  # of a metric: what is beyond has diverged, and no file of ours keeps it
_MOST_RUNS = 1_000_000  # that a budget may be of


@dataclass
class _Place:
    """A place of the population: which member trains there, if any, and how far it is."""

    member: int | None
    step: int = 0
    diverged: bool = False


@dataclass
class _Notes:
    """What is noted beside a checkpoint: the counters below, and who is where."""

    steps: int
    left: int
    drawn: int
    lines: int
    places: list[_Place]
    wall_seconds: float


def run_halving(folder: Path, search: Search, say: Callable[[str], None] = say) -> None:
    """Search by halving in a folder, or go on with what it holds, and tell the best setting.

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
        Secondary("figures")(_draw, records, search, folder)
        tried = len({record.member for record in records})
        for line in searches.concluded(search, folder, tried):
            say(line)


class Halving:
    """Trains a population, of which the best go on.

    Args:
      run: the folder, locked.
      search: what is searched.
      say: prints a line.

    Raises:
      UserError: a setting is not valid, or cannot be carried by a population.
    """

    def __init__(self, run: Run, search: Search, say: Callable[[str], None]) -> None:
        self.run, self.search, self._say = run, search, say
        self.base, self._objective = judged(search)
        self.rungs = Rungs.of(self.base.clock.total, search.eta, search.size)
        if not search.size <= search.budget <= _MOST_RUNS:
            raise UserError(
                f"--budget {search.budget:g}: is in whole runs; expected as many as there are "
                f"places, {search.size}, to {_MOST_RUNS:,}"
            )
        self.length = math.floor(search.budget * self.base.clock.total / search.size)
        with self.base.precision.enabled():
            self.population = population_of(search, self.base)
        self._loader = self.base.loader()
        self._checkpoints = Checkpoints(run.checkpoints, keep=1, check=run.check_held)
        self._places = [_Place(member) for member in range(search.size)]
        self._drawn, self._lines = search.size, 0  # members, and lines of the trace
        self._steps, self._left = 0, self.rungs.steps[0]  # made, and to make until an event
        self._reached: list[dict[int, float]] = [{} for _ in self.rungs.steps]
        self._best: tuple[int, float] | None = None  # member, and value: the smaller the better
        self._progress = Progress(self.length, self.base.order.batch_size * search.size)
        self._timing = Timing(self._progress)

    @property
    def _active(self) -> list[_Place]:
        """The places in which a member trains."""
        return [place for place in self._places if place.member is not None]

    # ---- Training

    def train(self) -> Search:
        """Train until no member can be trained to its end within the budget.

        Returns:
          The search, with its best setting.

        Raises:
          UserError: all members have diverged.
          SystemExit: a signal asked to stop; all was saved.
        """
        rungs = ", ".join(f"{step:,}" for step in self.rungs.steps)
        self._say(
            f"{len(self._places)} places in one program, up to {self.length:,} steps of each; "
            f"compared at steps {rungs} by {self._objective.metric}"
        )
        with self.base.precision.enabled(), StopSignal() as stop:
            stop.answer = self._answer
            with stop.giving_up(True):  # nothing to save
                states, carried, best = self._start()
                with self._progress.busy("compiling"):
                    self._compile(states, carried)
            self._timing.start_training(self._steps)
            while self._active or self._steps_to_refill() is not None:
                states = self._train_to_event(states, carried, stop)
                if stop.asked:
                    self._save(states, best)
                    self._checkpoints.wait()
                    self._progress.say(
                        f"stopped at step {self._steps:,} and saved; run again to resume"
                    )
                    raise SystemExit(128 + stop.asked)
                best = self._decide(states, best)
                states, carried = self._refill(states, carried)
                self._left = self._steps_to_event()
                self._save(states, best)
            self._checkpoints.wait()
            self._loader.close()
            return self._finish(best)

    def _start(self) -> tuple[State, Any, State]:
        """States, what they carry, and the best so far: of the newest checkpoint, or the first."""
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
            replace_text(self.run.folder / TRACE, "")
            states = self._fresh(carried)
            blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)
            return states, carried, devices.replicate(blank)
        tree, notes = restored
        self._resume(notes)
        for i, place in enumerate(self._places):
            if place.member is not None:
                carried = self._with_row(carried, i, place.member)
        self._progress.say(f"resumed at step {self._steps:,}")
        return tree["states"], jax.device_put(carried, sharding), tree["best"]

    def _resume(self, notes: Mapping[str, Any]) -> None:
        if reason := json_files.fault(notes, _Notes):
            raise UserError(f"{self._checkpoints.folder}: {reason}; {json_files.RESTORE}")
        self._steps, self._left = notes["steps"], notes["left"]
        self._drawn, self._lines = notes["drawn"], notes["lines"]
        self._places = [_Place(**place) for place in notes["places"]]
        self._timing.earlier = notes["wall_seconds"]
        lines = (self.run.folder / TRACE).read_text().splitlines(keepends=True)
        replace_text(self.run.folder / TRACE, "".join(lines[: self._lines]))
        for record in read_trace(self.run.folder):
            self._note(record)

    def _note(self, record: Record) -> None:
        """Take a record into account."""
        value = math.inf if record.metric is None else self._value(record.metric)
        self._reached[record.rung][record.member] = value
        if record.decision == "finished" and (self._best is None or value < self._best[1]):
            self._best = record.member, value

    def _value(self, metric: float) -> float:
        """What is the smaller the better."""
        return metric if self._objective.smaller else -metric

    def _compile(self, states: State, carried: Any) -> None:
        """Compile once for training, evaluation and new members, whoever they will be."""
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
        chosen = np.zeros(len(self._places), bool)
        self._choose = devices.compiled(_chosen, states, states, chosen, results=sharding)
        pick = lambda states, i: jax.tree.map(lambda x: x[i], states)  # noqa: E731
        self._pick = devices.compiled(pick, states, np.int32(0))
        self._measure = Measure(self.base, self._pick(states, np.int32(0)))
        self._timing.compiling = time.perf_counter() - began

    def _rows(self, n: int) -> np.ndarray:
        """The rows of the next `n` steps of all places, (steps, members, batch)."""
        made = {step: self._loader.make(step, n) for step in {p.step for p in self._places}}
        return np.stack([made[place.step] for place in self._places], axis=1)

    def _train_to_event(self, states: State, carried: Any, stop: StopSignal) -> State:
        """Train all until there is something to decide, or until a signal asks to stop."""
        pace, unread = Pace(self._loader.steps), None
        while self._left and not stop.asked:
            n = min(self._left, pace.steps)
            batches = jax.device_put(self._rows(n), self._spread)
            states, summaries = self._program(states, carried, self._columns, batches, np.int32(n))
            for place in self._active:
                place.step += n
            self._steps, self._left = self._steps + n, self._left - n
            if unread:
                self._read(*unread)
                pace.tick(unread[0])
            unread = n, summaries
        if unread:
            self._read(*unread)
        return states

    def _steps_to_event(self) -> int:
        """Steps until a member reaches a rung, or empty places are filled; 0 at the end."""
        steps = [self.rungs.steps[self.rungs.after(p.step)] - p.step for p in self._active]
        return min([*steps, *filter(None, [self._steps_to_refill()])], default=0)

    def _read(self, n: int, summaries: Mapping[str, Any]) -> None:
        """Note which members have come to numbers that are not finite, and show the progress."""
        losses, norms = (np.asarray(summaries[k], np.float32)[:n] for k in ("loss", "grad_norm"))
        finite = np.isfinite(losses + norms).all(axis=0)
        for place, sound in zip(self._places, finite, strict=True):
            place.diverged = place.diverged or not sound
        going = [i for i, place in enumerate(self._places) if place.member is not None]
        if going:
            # The mean would be that of whoever is about to diverge.
            self._progress.show(self._steps, float(np.median(losses[-1, going])), 0.0)

    # ---- Rungs

    def _decide(self, states: State, best: State) -> State:
        """Judge members at rungs, and empty the places of those that end; returns the best."""
        self._timing.stop_training()
        ended = self._arrivals()
        values = {i: self._judged(states, i) for i in ended}
        for i, (rung, value) in values.items():
            self._reached[rung][self._member(i)] = value
        for i, (rung, value) in values.items():
            place, member = self._places[i], self._member(i)
            decision = "promoted"
            if not math.isfinite(value):
                decision = "diverged"
            elif rung + 1 == len(self.rungs.steps):
                decision = "finished"
                if self._best is None or value < self._best[1]:
                    best = self._pick(states, np.int32(i))
            elif not self.rungs.promoted(self._reached[rung], [member])[member]:
                decision = "stopped"
            metric = None if decision == "diverged" else self._value(value)
            record = Record(
                member, self.search.setting(member), rung, place.step, metric, decision, self._steps
            )
            self._log(record)
            if decision != "promoted":
                self._places[i] = _Place(None)
        self._timing.start_training(self._steps)
        return best

    def _member(self, i: int) -> int:
        member = self._places[i].member
        assert member is not None
        return member

    def _arrivals(self) -> list[int]:
        """The places whose members are at a rung, or have diverged."""
        return [
            i
            for i, place in enumerate(self._places)
            if place.member is not None and (place.diverged or place.step in self.rungs.steps)
        ]

    def _judged(self, states: State, i: int) -> tuple[int, float]:
        """The rung that the member of a place has reached, and its value there."""
        place = self._places[i]
        at_rung = place.step in self.rungs.steps
        rung = self.rungs.steps.index(place.step) if at_rung else self.rungs.after(place.step)
        if place.diverged:
            return rung, math.inf
        metrics, _ = self._measure(self._pick(states, np.int32(i)))
        value = self._value(metrics[self._objective.metric])
        return rung, value if abs(value) < _LARGEST else math.inf  # and where it is NaN

    def _log(self, record: Record) -> None:
        self._note(record)
        append_bytes(self.run.folder / TRACE, (json.dumps(asdict(record)) + "\n").encode())
        self._lines += 1
        if record.decision == "finished":
            self._progress.say(
                f"step {self._steps:,}: member {record.member} has finished, "
                f"{self._objective.metric} {record.metric:.5g} ({shown(record.setting)})"
            )

    def _steps_to_refill(self) -> int | None:
        """Steps until empty places are filled; None if there are none, or no time is left.

        Places are filled when a multiple of the first rung's steps is reached, so that members come
        to a rung together, and are compared with one another.
        """
        wait = -self._steps % self.rungs.steps[0]
        full = len(self._active) == len(self._places)
        in_time = self._steps + wait + self.rungs.steps[-1] <= self.length
        return None if full or not in_time else wait

    def _refill(self, states: State, carried: Any) -> tuple[State, Any]:
        """Fill empty places with new members, if it is time to."""
        if self._steps_to_refill() != 0:
            return states, carried
        empty = [i for i, place in enumerate(self._places) if place.member is None]
        for i in empty:
            self._places[i] = _Place(self._drawn)
            carried = self._with_row(carried, i, self._drawn)
            self._drawn += 1
        chosen = np.isin(np.arange(len(self._places)), empty)
        carried = jax.device_put(carried, self.population.shardings[0])
        return self._choose(self._fresh(carried), states, chosen), carried

    def _with_row(self, carried: Any, i: int, member: int) -> Any:
        config = self.search.with_setting(self.search.setting(member))
        row = self.population.row(member_of(self.base, config))
        return jax.tree.map(lambda all_, one: _put(all_, i, one), carried, row)

    def _save(self, states: State, best: State) -> None:
        notes = {
            "steps": self._steps,
            "left": self._left,
            "drawn": self._drawn,
            "lines": self._lines,
            "places": [asdict(place) for place in self._places],
            "wall_seconds": self._timing.wall,
        }
        self._checkpoints.save(self._steps, {"states": states, "best": best}, notes)

    def _answer(self, signals: int) -> None:
        if signals == 1:
            self._progress.say(
                "stopping after this call; press Ctrl-C again to stop now and lose the steps since "
                "the last rung"
            )

    # ---- End

    def _finish(self, best: State) -> Search:
        """Write the best member as an ordinary run, whose test split is evaluated here, once."""
        if self._best is None:
            raise UserError(f"{self.run.folder}: every member has diverged; draw lower rates")
        setting = self.search.setting(self._best[0])
        config = self.search.with_setting(setting)
        experiment, run = build_experiment(config, resumed=True), Run(self.run.folder / "best")
        shutil.rmtree(run.folder, ignore_errors=True)  # what a kill in here has left
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
        found = {"member": self._best[0], "setting": setting, "place": "best"}
        search = replace(self.search, best={**found, "metrics": result["metrics"]})
        rate = self._steps * self.base.order.batch_size * len(self._places)
        self._say(
            f"{self._drawn} members took {self._steps:,} steps of {len(self._places)} places, as "
            f"much as {self._steps * len(self._places) / self.base.clock.total:.1f} whole runs, in "
            f"{duration(self._timing.wall)}; {rate / max(1e-9, self._timing.training):,.0f} "
            "training examples/s"
        )
        searches.write(self.run, search)
        shutil.rmtree(self.run.checkpoints, ignore_errors=True)
        return search


def _chosen(fresh: State, states: State, chosen: Any) -> State:
    """The fresh states where chosen, the others elsewhere."""

    def one(new: Any, old: Any) -> Any:
        return jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(one, fresh, states)


def _put(rows: Any, i: int, row: Any) -> Any:
    rows = np.array(rows)
    rows[i] = row
    return rows


def _draw(records: Sequence[Record], search: Search, folder: Path) -> None:
    lines = [asdict(record) for record in records]
    keys = [draw.key for draw in search.ranges]
    figure = search_figure(lines, search.objective.metric, keys, search.objective.smaller)
    save(figure, folder / "figures" / "search.png")
