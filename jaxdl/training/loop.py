"""The training loop, for every task: take a batch, step, evaluate, save."""

from __future__ import annotations

import functools
import io
import math
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config as cfg
from jaxdl.checkpoints import Checkpoints
from jaxdl.errors import Diverged, UserError, some
from jaxdl.figures import Finished, draw, preview
from jaxdl.files import Secondary
from jaxdl.progress import Progress
from jaxdl.runs import Run, write_json
from jaxdl.signals import Stopped, StopSignal
from jaxdl.training.experiment import Experiment
from jaxdl.training.measure import Measure
from jaxdl.training.processes import agreed, compare, leads
from jaxdl.training.state import State, count, digest

_CALL_SECONDS = 0.2  # how long a compiled call should take: signals and progress wait for it
_FINGERPRINT = ("examples", "sha256")  # of the description of the data
_SAVE_SECONDS, _SAVE_SHARE = 30.0, 1 / 30  # how often to save where the config does not say


def train(experiment: Experiment, run: Run, progress: Progress | None = None) -> dict[str, Any]:
    """Train, or resume what the run directory holds.

    Returns:
      The result, as it is written to result.json.

    Raises:
      Diverged: the loss or the gradient is not finite.
      UserError: the disk is full, or no checkpoint is sound, or they are of another run.
      SystemExit: a signal asked to stop; the state was saved.
    """
    if progress is None:
        stream = None if leads() else io.StringIO()
        progress = Progress(experiment.clock.total, experiment.order.batch_size, stream=stream)
    with experiment.precision.enabled(), StopSignal() as stop:
        return Loop(experiment, run, progress, stop).run()


class Loop:
    """One run of the loop, and what its parts share.

    Args:
      experiment: what is trained.
      directory: where it goes.
      progress: tells of it.
      stop: asks for its end.
    """

    def __init__(
        self, experiment: Experiment, directory: Run, progress: Progress, stop: StopSignal
    ) -> None:
        self.experiment, self.directory = experiment, directory
        self.progress, self.stop = progress, stop
        self.checkpoints = Checkpoints(
            directory.checkpoints, experiment.training.keep, check=self.check_held
        )
        self.figures = Secondary("figures")
        self.feed = experiment.feed()
        self.rate = experiment.rate and jax.jit(experiment.rate)
        self.metrics: dict[str, float] = {}
        self.tables: dict[str, Any] = {}
        self.best: dict[str, Any] | None = None  # step, metric and value of the best checkpoint
        self.started = self.saved = self.since = time.perf_counter()
        self.earlier_seconds = self.compile_seconds = self.training_seconds = 0.0

    def run(self) -> Any:
        """Start, step to the end, finish."""
        state = self._start()
        columns = self.experiment.devices.replicate(self.feed.columns)
        call = self._compile(state, columns)
        first, total = int(np.ravel(state.step)[0]), self.experiment.clock.total
        step, pace, unread, asked = first, Pace(self.feed.steps), None, 0
        most, n = pace.steps, min(pace.steps, self._until_event(step))
        self.progress.restart(step)
        self.since = time.perf_counter()
        while step < total and self.going and not asked:
            try:
                given = self._placed(self.feed.take(step, n))
            except Stopped:
                self._abandon(step, state, unread)
            state, summaries = call(state, columns, given, np.int32(n))
            unread, read = (step, n, summaries), unread
            step += n
            n = min(most, self._until_event(step))
            if step < total:
                self.feed.prepare(step, n)
            if read:  # of the call before: this one is computing meanwhile
                self.record(*read)
                pace.tick(read[1])
            most, asked, save = agreed(pace.steps, self.stop.asked, self.save_due(step))
            evaluate, save = self.due(step, "evaluate_every"), save or bool(asked)
            if evaluate or save:
                self.record(*unread)
                unread = None
                self.training_seconds += time.perf_counter() - self.since
                if evaluate:
                    save = self.evaluate(step, state) or save
                if save:
                    self.save(step, state)
                self.progress.restart(step)
                pace.restart()
                self.since = time.perf_counter()
        self.feed.close()
        self.checkpoints.wait()
        if asked and step < total:
            self._tell_stop(step)
            raise SystemExit(128 + asked)
        return self.finish(state, step - first)

    def _abandon(self, step: int, state: State, unread: Any) -> NoReturn:
        """Stop where a signal came and the next input does not, saving what this process can."""
        if jax.process_count() == 1:  # several save together, and the others are not here
            if unread:
                self.record(*unread)
            self.save(step, state)
            self.checkpoints.wait()
            self._tell_stop(step)
        raise SystemExit(128 + self.stop.asked)

    def _tell_stop(self, step: int) -> None:
        self.progress.say(f"stopped at step {step:,} and saved; run again to resume")

    def check_held(self) -> None:
        """Refuse to write on where another may train; see `Run.check_held`."""
        self.directory.check_held()

    @property
    def going(self) -> Any:
        """Whether there is anything to go on with."""
        return True

    def _start(self) -> State:
        """The newest sound checkpoint, or the state before the first step."""
        state = self.experiment.init()
        restored = self.checkpoints.restore(self.experiment.devices.abstract_state(state))
        if restored is not None:
            state, notes = restored
            self._check_origin(notes.get("origin", {}))
            self.earlier_seconds = notes.get("wall_seconds", 0.0)
            self.best = notes.get("best")
            self.progress.say(f"resumed at step {int(state.step):,}")
        elif start := self.experiment.init_from:
            filled = start.fill(state.params, state.variables)
            start.forget()
            state = self.experiment.init((filled.params, filled.variables))
            self.progress.say(f"init_from {start.path}: {filled}")
        self.directory.start(int(state.step), self.experiment.description)
        compare(
            {
                "config": self.experiment.config,
                "data set": self.experiment.description,
                "checkpoint": int(state.step),
            }
        )
        return state

    @functools.cached_property
    def _origin(self) -> dict[str, Any]:
        """What a checkpoint is of, and must be of to be trained on."""
        data = self.experiment.description
        origin = {"config": self.experiment.config, "data": {k: data[k] for k in _FINGERPRINT}}
        return cfg.plain(origin, "checkpoint")

    def _check_origin(self, origin: Any) -> None:
        mine, origin = self._origin, cfg.plain(origin, "checkpoint")
        changes = [
            line for part in origin for line in cfg.differences(origin[part], mine.get(part), part)
        ]
        if changes:
            raise UserError(
                f"{self.directory.checkpoints}: are of another run ({some(changes)}); bring back "
                "what it had, or choose another --workdir"
            )

    def _compile(self, state: State, columns: Any) -> Callable:
        """One compilation for training, and one for evaluation."""
        began, devices = time.perf_counter(), self.experiment.devices
        given, n = self._placed(self.feed.make(0, 0)), np.int32(0)
        call = devices.compiled_step(self.experiment.call, state, columns, given, n)
        self.measure = Measure(self.experiment, state)
        self.compile_seconds = time.perf_counter() - began
        return call

    def _placed(self, given: Any) -> Any:
        """What a feed gives, on the devices."""
        return self.experiment.devices.scatter(given, axis=1)

    def _until_event(self, step: int) -> int:
        """Steps to the next evaluation, checkpoint or the end."""
        periods = (self.experiment.every[name] for name in ("evaluate_every", "checkpoint_every"))
        nearest = [period - step % period for period in periods if period]
        return max(1, min(*nearest, self.experiment.clock.total - step))

    def due(self, step: int, name: str) -> bool:
        """Whether what has a period is to be done behind a step."""
        period = self.experiment.every[name]
        return step == self.experiment.clock.total or bool(period and step % period == 0)

    def save_due(self, step: int) -> bool:
        """Whether the state is to be saved behind a step."""
        if self.experiment.training.checkpoint_every is None:
            apart = max(_SAVE_SECONDS, self.checkpoints.seconds / _SAVE_SHARE)
            late = time.perf_counter() - self.saved > apart
            return late or step == self.experiment.clock.total
        return self.due(step, "checkpoint_every")

    def record(self, step: int, n: int, summaries: Any) -> None:
        """Log the summaries of `n` steps from `step`, refusing what is not finite."""
        values = {name: np.asarray(v)[:n] for name, v in summaries.items()}
        finite = values.pop("finite")
        if not finite.all():
            i = int(np.argmin(finite))
            self._refuse(step + i, {name: float(v[i]) for name, v in values.items()})
        for i in range(n):
            if self.due(step + i + 1, "log_every"):
                line = {name: float(v[i]) for name, v in values.items()}
                if self.rate is not None:
                    line["learning_rate"] = float(self.rate(step + i))
                self.directory.log(step + i + 1, line)
        running = self.training_seconds + time.perf_counter() - self.since
        self.progress.show(step + n, float(values["loss"][-1]), self.feed.waited / running)

    def _refuse(self, step: int, values: dict[str, float]) -> None:
        """Stop at a step that is not finite; what was saved before it stays."""
        self.checkpoints.wait()
        rows = self.experiment.order.rows(step)
        named = ", ".join(str(row) for row in rows[:8]) + (", …" if len(rows) > 8 else "")
        seen = ", ".join(f"{name} {value}" for name, value in values.items())
        saved = self.checkpoints.steps()
        newest = f"newest checkpoint: step {saved[-1]}" if saved else "nothing was saved yet"
        raise Diverged(
            f"step {step + 1}: not finite ({seen}) after the batch of training examples {named}; "
            f"lower the learning rate, set config.optimizer.clip_norm, or run `jaxdl check` on "
            f"the data; {newest}"
        )

    def evaluate(self, step: int, state: State) -> bool:
        """Evaluate, and tell; whether it is the best so far, to be saved."""
        self.metrics, self.tables = self.measure(state)
        self.directory.log(step, self.metrics)
        self.progress.evaluated(step, self.metrics)
        given = self.experiment.figures, self.experiment, state, step, self.directory.figures
        preview(*given, self.figures)
        for name, value in self.metrics.items():
            if name.endswith("/loss") and not math.isfinite(value):
                self._refuse(step - 1, {name: value})
        best, before = self.experiment.training.best, self.best["value"] if self.best else None
        if not best or not best.better(self.metrics, before):
            return False
        self.best = {"step": step, "metric": best.metric, "value": self.metrics[best.metric]}
        return True

    def save(self, step: int, state: State) -> None:
        """Save the state, unless it is not finite."""
        if step and not _all_finite(state.params):  # the loss was finite, the update was not
            self._refuse(step - 1, {"parameters": float("nan")})
        notes = {"wall_seconds": self._wall_seconds(), "origin": self._origin}
        self.checkpoints.save(step, state, notes | ({"best": self.best} if self.best else {}))
        self.saved = time.perf_counter()

    def _wall_seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.started

    def finish(self, state: State, taken: int) -> Any:
        """Write result.json and the figures; returns the result."""
        experiment, target = self.experiment, self.experiment.target
        if not self.metrics:  # killed between its last checkpoint and its result
            self.metrics, self.tables = self.measure(state)
        state = experiment.devices.gathered(state)
        examples = taken * experiment.order.batch_size
        result = {
            "step": int(state.step),
            "metrics": self.metrics,
            "examples": {name: len(experiment.splits[name]) for name in experiment.evaluated},
            "target": target
            and {"metric": target.metric, "value": target.value, "source": target.source},
            "met": target and target.met(self.metrics),
            "best": self.best,
            "seed": experiment.seed,
            "parameters": count(state.params),
            "wall_seconds": round(self._wall_seconds(), 3),
            "examples_per_second": round(examples / max(1e-9, self.training_seconds), 1),
            "data_wait_share": round(self.feed.waited / max(1e-9, self.training_seconds), 4),
            "compile_seconds": round(self.compile_seconds, 3),
            "params_sha256": digest(jax.device_get(state.params)),
        }
        self.check_held()
        write_json(self.directory.out / "tables.json", self.tables, indent=None)
        write_json(self.directory.out / "result.json", result)
        self.directory.close()
        finished = Finished(experiment, state, result, self.tables, self.directory.history())
        draw(experiment.figures, finished, self.directory.figures, self.figures)
        return result


@jax.jit
def _all_finite(params: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


class Pace:
    """How many steps a compiled call should take, from how long they took so far.

    Args:
      most: the most it can take.

    Attributes:
      steps: what the next call should take.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: float | None = None
        self.steps = 1

    def restart(self) -> None:
        """Something else took the time since the last tick."""
        self._last = None

    def tick(self, n: int) -> None:
        """A call of `n` steps has ended."""
        now = time.perf_counter()
        if self._last is not None:
            wanted = int(_CALL_SECONDS * n / max(1e-9, now - self._last))
            self.steps = max(1, min(wanted, 4 * self.steps, self._most))
        self._last = now
