"""Least squares, solved: the step of a model that is linear in its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxdl.errors import UserError
from jaxdl.models.functional import Model
from jaxdl.tasks import SquaredErrors, Task
from jaxdl.training.precision import Precision
from jaxdl.training.state import State
from jaxdl.training.step import Summary, forward, summarise
from jaxdl.types import Batch


def make_least_squares(
    model: Model, task: Task, precision: Precision | None = None
) -> Callable[[State, Batch], tuple[State, Summary]]:
    """A step to the minimum of the squared error, of a model that is linear in its parameters.

    One Gauss-Newton step, which for such a model is exact from any start: with the Jacobian J of
    the outputs and the residuals r, it solves min ‖r + Jδ‖² + λ‖w + δ‖² by a singular value
    decomposition of [J; √λ I], never forming JᵀJ, whose condition is the square (Bishop, PRML
    2006, eqs. 1.2, 1.4 and 3.15; λ is the task's `l2`).

    The model is as in evaluation, with or without `freeze_statistics`: nothing is dropped, and
    running statistics stay as they are.

    Raises:
      UserError: the task has no squared error to minimise, or weighs its examples.
    """
    precision = precision or Precision()
    if not isinstance(task, SquaredErrors):
        raise UserError(
            "config.optimizer: least_squares needs a regression task with squared errors"
        )
    task.check_squares()

    def step(state: State, batch: Batch) -> tuple[State, Summary]:
        flat, restore = ravel_pytree(state.params)

        def residuals(w: jax.Array) -> jax.Array:
            outputs, *_ = forward(model, task, precision, restore(w), state, batch, None)
            return task.residuals(outputs, batch).reshape(-1)

        start = residuals(flat)
        scale = 1.0 if task.reduction == "sum" else 1 / len(start)
        jacobian, ridge = jax.jacfwd(residuals)(flat), jnp.sqrt(jnp.asarray(task.l2 / scale))
        rows = jnp.concatenate([jacobian, ridge * jnp.eye(len(flat), dtype=flat.dtype)])
        right = -jnp.concatenate([start, ridge * flat])
        flat = flat + jnp.linalg.lstsq(rows, right)[0]
        error = residuals(flat)
        loss = 0.5 * scale * error @ error + task.penalty(restore(flat))
        slope = scale * jax.jacfwd(residuals)(flat).T @ error + task.l2 * flat
        new = replace(state, step=state.step + 1, params=restore(flat))
        return new, summarise(loss, jnp.linalg.norm(slope))

    return step
