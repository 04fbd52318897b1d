"""Starts or resumes a run from its config, or returns the result of a finished one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.caches import keep_programs
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.figures import undrawn
from jaxdl.files import Secondary
from jaxdl.parallel.processes import leads
from jaxdl.progress import Progress
from jaxdl.terminal import say
from jaxdl.training import continuation
from jaxdl.training.build import build_experiment, overridden, read_config, resolved
from jaxdl.training.callbacks import Callback
from jaxdl.training.check import check_shapes
from jaxdl.training.loop import train_experiment
from jaxdl.training.profile import Profile
from jaxdl.training.recorder import Recorder
from jaxdl.training.warn import warn_of_doubts


def train_workdir(
    workdir: str | Path,
    config: Any = None,
    overrides: Sequence[str] = (),
    *,
    trust: Collection[str] = (),
    extend: Mapping[str, Any] | None = None,
    profile: tuple[int, int] | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train in a directory, or resume what it holds; see `train_config`.

    Args:
      workdir: the directory, which is locked during training.
      config: as `jaxdl.config.read` takes it; None resumes with the config in the directory.
      overrides: of the config, as after `--config.`
      trust: modules whose code may run if the config in the directory names it.
      extend, profile, callbacks: see `train_config`.
    """
    keep_programs()
    run = Run(workdir, leads(), trust=trust)
    run.refuse_others()  # before a lock is left there
    with run.locked():
        if config is None:
            config = overridden(run.config(), overrides)
        else:
            config = read_config(config, overrides)
        return train_config(config, run, extend, profile, callbacks)


def train_config(
    config: Mapping[str, Any],
    run: Run,
    extend: Mapping[str, Any] | None = None,
    profile: tuple[int, int] | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train a config in a directory, from its newest checkpoint if there is one.

    Args:
      config: as `jaxdl.training.build.read_config` gives it.
      run: the directory, locked.
      extend: the new total length of the run, `{'steps': …}` or `{'epochs': …}`; by default that
        of its config. An earlier result is kept as result-STEP.json.
      profile: the first step to trace, and the number of steps.
      callbacks: called during training, in addition to those of the config.

    Returns:
      The result, as written to result.json; of a run that has finished, which is told, the one
      that it has.

    Raises:
      UserError: the directory holds another config, or the config or data is not valid.
      SystemExit: a signal asked to stop; everything was saved.
    """
    config = resolved(continuation.with_absolute_paths(config))
    before = continuation.length(config)
    if extend:
        before = continuation.length(run.config())
        config = resolved(continuation.extended(config, extend))
    run.check_claim(config, continuation.past if extend else continuation.lasting)
    grows = before != continuation.length(config)
    if not grows and (result := run.result()):
        if profile:
            raise UserError(
                f"--profile: {run.folder} has already finished; trace a run that still trains"
            )
        if undrawn(config.get("figures", ()), run.figures):
            Secondary("figures")(_draw_again, config, run, result)
        if leads():
            say(f"{run.folder}: has already finished; this is its result")
        return result
    resumed = bool(Checkpoints(run.checkpoints).steps())
    experiment = build_experiment(config, resumed=resumed)
    if grows:
        continuation.check_patience(run.result())
        extension = continuation.check_extension(experiment, before)
    measured = check_shapes(experiment)
    if not resumed:
        warn_of_doubts(experiment, measured)
    if grows:
        say(extension)
        run.reopen()
    run.claim(experiment.config)
    window = Profile(*profile, run.out) if profile else None
    return train_experiment(experiment, run, callbacks=callbacks, profile=window)


def _draw_again(config: Mapping[str, Any], run: Run, result: Mapping[str, Any]) -> None:
    """Draw the figures of a finished run again, because some of them failed."""
    experiment = build_experiment(config, resumed=True)
    progress = Progress(experiment.clock.total, experiment.order.batch_size)
    with experiment.precision.enabled():
        Recorder(experiment, run, progress).draw_again(result)
