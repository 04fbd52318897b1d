"""A run from its config: resumed, started, or finished before."""

from __future__ import annotations

from typing import Any

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.doubts import tell_doubts
from jaxdl.training.loop import train


def train_run(config: dict[str, Any], run: Run) -> tuple[dict[str, Any], bool]:
    """Train what a config says in a directory, from its newest checkpoint if it has one.

    Args:
      config: as `jaxdl.training.build.read_config` gives it.
      run: the directory, locked.

    Returns:
      The result, and whether it was there before.

    Raises:
      UserError: the directory holds another config, or the config or data cannot be.
      SystemExit: a signal asked to stop; all was saved.
    """
    run.check_claim(config)
    if result := run.result():
        return result, True
    experiment = build_experiment(config, resumed=bool(Checkpoints(run.checkpoints).steps()))
    check_shapes(experiment)
    tell_doubts(experiment)
    run.claim(config)
    return train(experiment, run), False
