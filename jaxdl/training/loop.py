"""The training loop, for every task: take batches, step, record, evaluate, save."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.parallel.processes import agreed, leads
from jaxdl.progress import Progress, duration
from jaxdl.signals import Stopped, StopSignal
from jaxdl.training.callbacks import Callback
from jaxdl.training.experiment import Experiment
from jaxdl.training.profile import Profile
from jaxdl.training.recorder import Recorder
from jaxdl.training.state import State
from jaxdl.training.step import Summary
from jaxdl.training.timing import Pace, Timing


@runtime_checkable
class Loader(Protocol):
    """The input of compiled calls; see `jaxdl.data.loader.DeviceLoader`."""

    steps: int

    def take(self, step: int, n: int) -> Any:
        """The input of the `n` steps from `step`."""

    def prepare(self, step: int, n: int) -> None:
        """Start making the input of the `n` steps from `step`."""

    def close(self) -> None:
        """Make no more."""


@runtime_checkable
class Trainee(Protocol):
    """What the loop trains, and records: a run (`Recorder`), or a population of runs.

    Attributes:
      experiment: says how long to train, and when to evaluate and to save.
      checkpoints: where `save` saves to.
      progress: shows the progress of training.
      timing: measures what the time is spent on.
      evaluated: False if a signal cut off the evaluation of the state that `start` returns, which
        is then evaluated first.
    """

    experiment: Experiment
    checkpoints: Checkpoints
    progress: Progress
    timing: Timing
    evaluated: bool

    @property
    def loader(self) -> Loader:
        """The input of compiled calls."""

    @property
    def active(self) -> bool:
        """Whether there is anything left to train."""

    def start(self) -> tuple[int, State]:
        """The step and state to start from: the newest sound checkpoint, or the initial state."""

    def compile(self, state: State) -> Any:
        """(state, batches, n) -> (state, summaries), compiled: `n` steps on batches of `loader`."""

    def record(self, step: int, n: int, summaries: Summary) -> None:
        """Log the summaries of `n` steps from `step`."""

    def evaluate(self, step: int, state: State) -> bool:
        """Evaluate, log and show; returns whether to save: it is the best so far, or the last."""

    def save(self, step: int, state: State, evaluated: bool = True) -> None:
        """Save the state in the background, with whether it was evaluated."""

    def finish(self, state: State, steps: int) -> Any:
        """Write the result, `steps` steps after the start, and return it."""


def train_experiment(
    experiment: Experiment,
    run: Run,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Train, or resume what the run directory holds.

    Args:
      experiment: what is trained.
      run: the directory to write to.
      progress: shows the progress of training.
      callbacks: called in addition to those of the config.
      profile: steps to trace.

    Returns:
      The result, as written to result.json.

    Raises:
      Diverged: the loss or the gradient is not finite.
      UserError: the disk is full, no checkpoint is sound, or they belong to another run.
      SystemExit: a signal asked to stop; the state was saved.
    """
    if progress is None:
        stream = None if leads() else io.StringIO()
        progress = Progress(experiment.clock.total, experiment.order.batch_size, stream=stream)
    with contextlib.closing(progress), experiment.precision.enabled(), StopSignal() as stop:
        recorder = Recorder(experiment, run, progress, callbacks=callbacks)
        loader = recorder.loader
        with contextlib.closing(recorder), contextlib.closing(loader), profile or nullcontext():
            return run_loop(recorder, stop, profile)


def run_loop(trainee: Trainee, stop: StopSignal, profile: Profile | None = None) -> Any:
    """Start, step to the end, finish.

    While a call of several steps is computed, the summaries of the one before are recorded and the
    batches of the next are made. After a signal, nothing is computed that a resumed run can
    compute: no evaluation, no figure.
    """
    experiment, loader, timing = trainee.experiment, trainee.loader, trainee.timing
    total, periods, pace = experiment.clock.total, experiment.periods, Pace(loader.steps)
    signals = _Signals(trainee, stop, pace)

    # ---- Start
    with signals.giving_up(nothing_to_save=True):
        first, state = trainee.start()
        if profile:
            profile.check(first, total)
        with trainee.progress.busy("compiling"):
            call = trainee.compile(state)
        if not trainee.evaluated:
            trainee.evaluate(first, state)
    to_event: Callable[[int], int] = periods.steps_to_event
    if profile:
        call, to_event = profile.traced(call, first, trainee.progress.say), profile.limit(to_event)

    # ---- Train
    step, unread, asked = first, None, 0
    most = pace.steps
    n = min(most, to_event(step))
    timing.start_training(step)
    while step < total and trainee.active and not asked:
        try:
            batches = loader.take(step, n)
        except Stopped:
            signals.abandon(step, state, unread)
        state, summaries = call(state, batches, n)
        previous, unread = unread, (step, n, summaries)
        step += n
        n = min(most, to_event(step))
        if step < total:
            loader.prepare(step, n)
        if previous:
            trainee.record(*previous)
            pace.tick(previous[1])
        most, asked, save = agreed(pace.steps, stop.asked, save_due(trainee, step))
        evaluate, save = periods.due(periods.evaluate, step), save or bool(asked)
        if not (evaluate or save):
            continue

        # ---- Evaluate and save
        trainee.record(*unread)
        unread = None
        timing.stop_training()
        if evaluate and not asked:
            try:
                with signals.giving_up():
                    save = trainee.evaluate(step, state) or save
                    evaluate = False
            except Stopped:
                asked, save = stop.asked, True
        if save:
            trainee.save(step, state, evaluated=not evaluate)
        if step < total and trainee.active:
            pace.restart()
            timing.start_training(step)

    # ---- Finish
    loader.close()
    trainee.checkpoints.wait()
    if asked:
        signals.leave(step, asked)
    with signals.giving_up(nothing_to_save=True):
        return trainee.finish(state, step - first)


def save_due(trainee: Trainee, step: int) -> bool:
    """Whether to save after `step` steps; `Checkpoints.overdue` decides if the config does not."""
    periods = trainee.experiment.periods
    unset = periods.save is None
    return periods.due(periods.save, step) or (unset and trainee.checkpoints.overdue())


class _Signals:
    """What happens after a signal: what is given up, what is saved, and what is printed."""

    def __init__(self, trainee: Trainee, stop: StopSignal, pace: Pace) -> None:
        self._trainee, self._stop, self._pace = trainee, stop, pace
        stop.answer = self._answer

    def giving_up(self, nothing_to_save: bool = False) -> AbstractContextManager[None]:
        """A block that a signal interrupts, unless several processes must continue together."""
        alone = jax.process_count() == 1
        return self._stop.giving_up(nothing_to_save) if alone else nullcontext()

    def abandon(self, step: int, state: State, unread: Any) -> NoReturn:
        """Stop because the next input does not come; save what this process can."""
        if jax.process_count() > 1:  # several save together, and the others are not here
            raise SystemExit(128 + self._stop.asked)
        if unread:
            self._trainee.record(*unread)
        self._trainee.save(step, state)
        self._trainee.checkpoints.wait()
        self.leave(step, self._stop.asked)

    def leave(self, step: int, asked: int) -> NoReturn:
        """End with the status of a signal; all is saved."""
        self._trainee.progress.say(f"stopped at step {step:,} and saved; run again to resume")
        raise SystemExit(128 + asked)

    def _answer(self, signals: int) -> None:
        """Print what a signal will do, when, and what a second one would do."""
        stop, seconds, saved = self._stop, self._pace.seconds, self._trainee.checkpoints.steps()
        since = (
            f"the steps since the last checkpoint at step {saved[-1]:,}" if saved else "all steps"
        )
        when = f", in about {duration(max(1, seconds))}" if seconds else ""
        after = "without this evaluation" if stop.gives_up else f"after this call{when}"
        text = f"stopping {after}; press Ctrl-C again to stop now, losing {since}"
        if stop.nothing_to_save:
            text = "stopping; no steps are lost, run again to resume"
        elif signals > 1:
            text = f"stopped; {since} are lost, run again to resume"
        if signals < 3:
            self._trainee.progress.say(text)
