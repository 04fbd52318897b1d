"""What figures need of a run: its results, and functions of its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.figures import FinishedRun
from jaxdl.training.experiment import Experiment
from jaxdl.training.state import State
from jaxdl.types import Batch, Params


def results_for_figures(
    experiment: Experiment, state: State, tables: Mapping[str, Any]
) -> FinishedRun:
    """The run so far, without `result` and `history`.

    Args:
      experiment: what is trained.
      state: gathered on one device, or as it is trained.
      tables: of the newest evaluation.
    """
    alone = replace(state, carry=None)

    def predict(batch: Batch) -> Any:
        batch = experiment.devices.replicate(batch)
        return jax.device_get(jax.jit(experiment.prediction)(alone, batch))

    def trajectory(steps: int) -> Params:
        batch = jax.tree.map(jnp.asarray, dict(experiment.splits["train"].columns))
        _, path = jax.lax.scan(
            lambda state, _: (experiment.step(state, batch)[0], state.params),
            experiment.initial(jnp.uint32(experiment.seed)),
            length=steps,
        )
        return jax.device_get(path)

    return FinishedRun(
        task=experiment.task,
        splits=experiment.splits,
        eval_splits=experiment.eval_splits,
        params=state.params,
        predict=predict,
        trajectory=trajectory,
        result={},
        tables=tables,
        history=(),
    )
