"""Starts a run for the loop, and logs, evaluates, saves and draws it."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config as cfg
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import Diverged, UserError, some
from jaxdl.figures import FigureFolder, draw, preview
from jaxdl.files import Secondary
from jaxdl.json_files import write_json
from jaxdl.parallel.processes import compare
from jaxdl.progress import Progress, duration
from jaxdl.training.callbacks import Callback
from jaxdl.training.continuation import config_changes
from jaxdl.training.experiment import Experiment
from jaxdl.training.for_figures import results_for_figures
from jaxdl.training.listeners import Listeners
from jaxdl.training.measure import Measure
from jaxdl.training.memory import Memory
from jaxdl.training.speed import Arithmetic, Speed
from jaxdl.training.state import State, count, digest
from jaxdl.training.step import Summary
from jaxdl.training.timing import Timing

_FINGERPRINT = ("examples", "sha256")  # of the description of the data


class Recorder:
    """Starts and records one run.

    Args:
      experiment: what is trained.
      run: the directory to write to.
      progress: shows the progress of training.
      timing: shared by the members of a population; by default its own.
      callbacks: called in addition to those of the config.

    Attributes:
      metrics: of the newest evaluation.
      measure: evaluates a state; set by `compile`.
      evaluated: whether the state to start from was evaluated, if that was due.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: Run,
        progress: Progress,
        timing: Timing | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.experiment, self.run, self.progress = experiment, run, progress
        self.timing = timing or Timing(progress)
        self.loader = experiment.loader()
        self.metrics: dict[str, float] = {}
        self.evaluated = True
        self.measure: Measure
        self._listeners = Listeners(experiment.logging, experiment.callbacks, callbacks, run)
        self.checkpoints = Checkpoints(
            run.checkpoints,
            experiment.training.keep,
            check=run.check_held,
            saved=self._listeners.saved,
        )
        self._figures = Secondary("figures")
        self._rate = experiment.rate and jax.jit(experiment.rate)
        self._tables: dict[str, Any] = {}
        self._best: dict[str, Any] | None = None  # step, metric and value of the best checkpoint
        self._evaluated_at = 0  # step
        self._speed = Speed(experiment.order.batch_size)

    @property
    def active(self) -> bool:
        """Whether to train on: a single run trains to its end, or until its patience runs out."""
        patience, best = self.experiment.training.patience, self._best
        waited = self.experiment.periods.waited(self._evaluated_at, best["step"] if best else None)
        return patience is None or waited < patience

    # ---- Start

    def start(self) -> tuple[int, State]:
        """The step and state to start from: the newest sound checkpoint, or the initial state."""
        restored = self.checkpoints.restore(self.experiment.abstract_state)
        if restored is not None:
            state, notes = restored
            self._check_origin(notes.get("origin", {}))
            self.timing.earlier, self._best = notes.get("wall_seconds", 0.0), notes.get("best")
            self.evaluated = notes.get("evaluated", True)
            self.progress.say(f"resumed at step {int(state.step):,}")
        else:
            state = self._initial()
        step = int(state.step)
        if self.evaluated:
            self._evaluated_at = step
        self.begin(step, self.evaluated)
        description = self.experiment.description
        compare({"config": self.experiment.config, "data set": description, "checkpoint": step})
        return step, state

    def begin(self, step: int, evaluated: bool = True) -> None:
        """Prepare the directory for logging after a step, or from its evaluation on."""
        self._speed.restart(step)
        self._listeners.remember()
        self.run.start(step, self.experiment.description, evaluated)
        self._listeners.start(self.experiment.config, step)

    def _initial(self) -> State:
        experiment = self.experiment
        state, start = experiment.init(), experiment.init_from
        if start is None:
            return state
        filled = start.fill(state.params, state.model_state)
        start.forget()
        self.progress.say(f"init_from {start.path}: {filled}")
        return experiment.init((filled.params, filled.model_state))

    def compile(self, state: State) -> Callable[[State, Any, int], tuple[State, Summary]]:
        """Compile the training program and the evaluation."""
        began, devices = time.perf_counter(), self.experiment.devices
        columns = devices.replicate(self.loader.columns)
        batches = devices.scatter(self.loader.make(0, 0), axis=1)
        arguments = state, columns, batches, np.int32(0)
        lowered = devices.lowered_step(self.experiment.run_steps, *arguments)
        program, arithmetic = lowered.compile(), Arithmetic.of(lowered, devices)
        self.measure = Measure(self.experiment, state)
        self.timing.compiling = time.perf_counter() - began
        self._speed.arithmetic = arithmetic
        facts = [f"{count(state.params):,} parameters", str(Memory.of(program))]
        if arithmetic is not None:
            facts.insert(1, arithmetic.per_example(self.experiment.order.batch_size))
        self.progress.say(f"{'; '.join(facts)}; compiled in {duration(self.timing.compiling)}")

        def call(state: State, batches: Any, n: int) -> tuple[State, Summary]:
            return program(state, columns, devices.scatter(batches, axis=1), np.int32(n))

        return call

    @functools.cached_property
    def _origin(self) -> dict[str, Any]:
        """The config and data of this run, with which a checkpoint must agree to be resumed."""
        data = self.experiment.description
        origin = {"config": self.experiment.config, "data": {k: data[k] for k in _FINGERPRINT}}
        return cfg.plain(origin, "checkpoint")

    def _check_origin(self, origin: Any) -> None:
        mine, origin = self._origin, cfg.plain(origin, "checkpoint")
        saved, changes = origin.pop("config", None), list[str]()
        if saved is not None:  # `Run.check_claim` has checked the length
            changes = config_changes(mine["config"], saved, self.run.checkpoints)
        for part in origin:
            changes += cfg.differences(origin[part], mine.get(part), part)
        if changes:
            raise UserError(
                f"{self.run.checkpoints}: belong to another run ({some(changes)}); restore its "
                "config and data, or choose another --workdir"
            )

    # ---- What is kept

    def record(self, step: int, n: int, summaries: Mapping[str, jax.Array | np.ndarray]) -> None:
        """Log the summaries of `n` steps from `step`; raise `Diverged` if one is not finite."""
        values = {name: np.asarray(v)[:n] for name, v in summaries.items()}
        finite = values.pop("finite")
        if not finite.all():
            i = int(np.argmin(finite))
            self._refuse(step + i, {name: float(v[i]) for name, v in values.items()})
        self.checkpoints.settle()
        periods = self.experiment.periods
        for i in range(n):
            if periods.due(periods.log, step + i + 1):
                line = {name: float(v[i]) for name, v in values.items()}
                if self._rate is not None:
                    line["learning_rate"] = float(self._rate(step + i))
                self.run.log(step + i + 1, line, self.timing.wall)
                self._listeners.summary(step + i + 1, line)
        waiting = self.loader.waited / self.timing.training
        self.progress.show(step + n, float(values["loss"][-1]), waiting)

    def evaluate(self, step: int, state: State) -> bool:
        """Evaluate, log and show; returns whether to save: it is the best so far, or the last."""
        self.metrics, self._tables = self.measure(state)
        self._evaluated_at = step
        speed = self._speed.since(step, self.timing.training, self.loader.waited)
        self.run.log(step, {**self.metrics, **speed}, self.timing.wall)
        self.progress.show_evaluation(step, self.experiment.headline(self.metrics))
        self._listeners.evaluation(step, self.metrics, self._tables, speed)
        results = results_for_figures(self.experiment, state, self._tables)
        preview(self.experiment.figures, results, self._figure_folder(step), step)
        for name, value in self.metrics.items():
            if name.endswith("/loss") and not math.isfinite(value):
                self._refuse(step - 1, {name: value})
        best, before = self.experiment.training.best, self._best["value"] if self._best else None
        if not best or not best.better(self.metrics, before):
            return not self.active
        self._best = {"step": step, "metric": best.metric, "value": self.metrics[best.metric]}
        return True

    def save(self, step: int, state: State, evaluated: bool = True) -> None:
        """Save the state, unless it is not finite."""
        if step and not _all_finite(state.params):  # the loss was finite, the update was not
            self._refuse(step - 1, {"parameters": float("nan")})
        notes = {"wall_seconds": self.timing.wall, "origin": self._origin, "evaluated": evaluated}
        self.checkpoints.save(step, state, notes | ({"best": self._best} if self._best else {}))

    def _refuse(self, step: int, values: dict[str, float]) -> None:
        """Raise `Diverged` for a step that is not finite; earlier checkpoints stay."""
        self.checkpoints.wait()
        rows = some(self.experiment.order.rows(step), 8, ", ")
        seen = ", ".join(f"{name} {value}" for name, value in values.items())
        saved = self.checkpoints.steps()
        newest = f"newest checkpoint: step {saved[-1]}" if saved else "nothing was saved yet"
        raise Diverged(
            f"step {step + 1}: not finite ({seen}) after the batch of training examples {rows}; "
            f"lower the learning rate, set config.optimizer.clip_norm, or run `jaxdl check` on "
            f"the data; {newest}"
        )

    # ---- End

    def finish(self, state: State, steps: int) -> dict[str, Any]:
        """Write result.json and the figures, `steps` steps after the start; returns the result."""
        experiment = self.experiment
        if not self.metrics:  # killed between its last checkpoint and its result
            self.metrics, self._tables = self.measure(state)
        state = experiment.devices.gathered(state)
        result = self._result(state, steps)
        self._draw(state, result)
        self.run.check_held()
        write_json(self.run.out / "tables.json", self._tables, indent=None)
        write_json(self.run.out / "result.json", result)  # last, since it says that all is done
        self._listeners.finish(result)
        return result

    def draw_again(self, result: Mapping[str, Any]) -> None:
        """Draw the figures of a run that has finished; nothing else of it changes."""
        restored = self.checkpoints.restore(self.experiment.abstract_state)
        if restored is None:
            raise UserError("there is no checkpoint to draw them from")
        self._tables = self.run.tables()
        self._draw(self.experiment.devices.gathered(restored[0]), result)

    def close(self) -> None:
        """Tell the trackers that the run was stopped before its end."""
        self._listeners.close()

    def _draw(self, state: State, result: Mapping[str, Any]) -> None:
        results = results_for_figures(self.experiment, state, self._tables)
        finished = results._replace(result=result, history=self.run.history())
        draw(self.experiment.figures, finished, self._figure_folder(result["step"]))

    def _figure_folder(self, step: int) -> FigureFolder:
        """Where the figures of a step go."""
        publish = functools.partial(self._listeners.figure, step)
        return FigureFolder(self.run.figures, self._figures, publish)

    def _stopped_early(self, step: int) -> dict[str, int] | None:
        """Where patience ended the run, as in result.json; None if it did not."""
        total, patience = self.experiment.clock.total, self.experiment.training.patience
        if self.active or patience is None or step == total:
            return None
        return {"step": step, "of_steps": total, "patience": patience}

    def _result(self, state: State, steps: int) -> dict[str, Any]:
        experiment, target, timing = self.experiment, self.experiment.target, self.timing
        training = max(1e-9, timing.training)
        rate = round(steps * experiment.order.batch_size / training, 1)
        return {
            "step": int(state.step),
            "metrics": self.metrics,
            "examples": {name: len(experiment.splits[name]) for name in experiment.eval_splits},
            "target": target
            and {"metric": target.metric, "value": target.value, "source": target.source},
            "met": target and target.met(self.metrics),
            "best": self._best,
            "stopped_early": self._stopped_early(int(state.step)),
            "seed": experiment.seed,
            "parameters": count(state.params),
            "wall_seconds": round(timing.wall, 3),
            "examples_per_second": rate if steps else None,  # of this start
            "data_wait_share": round(self.loader.waited / training, 4),
            "compile_seconds": round(timing.compiling, 3),
            "params_sha256": digest(jax.device_get(state.params)),
        }


@jax.jit
def _all_finite(params: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))
