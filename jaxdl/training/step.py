"""The train step, `(state, batch) -> (state, summary)`: one update from one batch.

    state = init(model, task, optimizer, batch)
    step = make_step(model, task, optimizer)
    state, summary = step(state, batch)

Everything is pure, and nothing is compiled here: `jaxdl.jit` does that. Functions of such steps are
in `jaxdl.training.combinators`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.data.table import BEGINS
from jaxdl.errors import UserError
from jaxdl.models.functional import Model
from jaxdl.tasks import Task
from jaxdl.training.precision import Precision
from jaxdl.training.state import State, fold
from jaxdl.types import Batch, Carry, ModelState, Params

Summary = dict[str, jax.Array]


class Gradient(NamedTuple):
    """The gradient, loss and metrics of a batch, as sums over examples, so that parts add up.

    Attributes:
      grads: gradient of the summed loss, a pytree like the parameters.
      loss: the summed loss.
      weight: the summed weight; padding, by the batch's mask, has none.
      model_state: the model's new state.
      metrics: sums of the task's other `training_metrics`, by name.
      carry: the model's new carry.
    """

    grads: Params
    loss: jax.Array
    weight: jax.Array
    model_state: ModelState
    metrics: dict[str, jax.Array]
    carry: Carry = None


@dataclass(frozen=True)
class Step:
    """A step in two halves, between which combinators can act.

    Attributes:
      gradient: (state, batch) -> Gradient.
      update: (state, Gradient) -> (state, summary).
    """

    gradient: Callable[[State, Batch], Gradient]
    update: Callable[[State, Gradient], tuple[State, Summary]]

    def __call__(self, state: State, batch: Batch) -> tuple[State, Summary]:
        """One update."""
        return self.update(state, self.gradient(state, batch))


def init(
    model: Model,
    task: Task,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    seed: int | jax.Array = 0,
    *,
    precision: Precision | None = None,
    ema: bool = False,
    carry: int | None = None,
) -> State:
    """The state before the first step. Only the shapes of `batch` matter.

    Args:
      model: pure functions, from `jaxdl.models.functional`.
      task: what is learnt.
      optimizer: any optax transformation.
      batch: a batch, of any size.
      seed: of all randomness of the run.
      precision: types of parameters, arithmetic and outputs; by default float32 throughout.
      ema: keep an exponential moving average of the parameters.
      carry: the batch size, if batches continue one another.

    Raises:
      UserError: the model has no carry.
    """
    precision = precision or Precision()
    inputs = precision.to_compute(task.inputs(batch))
    params, model_state = model.init(fold(seed, "init"), inputs)
    params = precision.to_params(params)
    return State(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(lambda w: jnp.array(w, widened(w.dtype)), params) if ema else None,
        carry=carry and initialize_carry(model, params, model_state, carry, precision),
    )


def initialize_carry(
    model: Model,
    params: Params,
    model_state: ModelState,
    size: int,
    precision: Precision | None = None,
) -> Any:
    """The carry of `size` sequences that have not begun.

    Raises:
      UserError: the model has none.
    """
    if model.initialize_carry is None:
        raise UserError(
            "config.training.carry: this model has no state to carry from batch to batch; it would "
            "need the methods initialize_carry and decode"
        )
    return model.initialize_carry((precision or Precision()).to_compute(params), model_state, size)


def make_step(
    model: Model,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    precision: Precision | None = None,
    ema_decay: float | None = None,
    trained: Callable[[Any], Any] | None = None,
) -> Step:
    """The plain step: loss, gradient, optimiser.

    Args:
      model: pure functions, from `jaxdl.models.functional`.
      task: what is learnt.
      optimizer: any optax transformation.
      precision: types of parameters, arithmetic and outputs; by default float32 throughout.
      ema_decay: decay of the exponential moving average of the parameters, in (0, 1), or None.
      trained: (params) -> a pytree of booleans like them, such as from `jaxdl.optim.trained`. For
        the others no gradient is computed, clipped or reported. By default all are trained.

    Returns:
      A step whose summary holds `loss`, `grad_norm`, `finite` (whether both are) and the task's
      other `training_metrics`.
    """
    precision = precision or Precision()

    def freeze(params: Params) -> Any:
        if trained is None:
            return params
        stop = lambda w, moves: w if moves else jax.lax.stop_gradient(w)  # noqa: E731
        return jax.tree.map(stop, params, trained(params))

    def differentiate(state: State, batch: Batch) -> Gradient:
        key, mask = state.key("dropout"), batch.get("mask")

        def summed(params: Params) -> tuple[jax.Array, Any]:
            params = freeze(params)
            outputs, model_state, carry = forward(model, task, precision, params, state, batch, key)
            each = task.training_metrics(outputs, batch)
            for name, value in each.items():
                check_per_example(task, name, jnp.shape(value), len(next(iter(batch.values()))))
            metrics = {name: jnp.sum(_unmasked(value, mask)) for name, value in each.items()}
            return metrics.pop("loss"), (model_state, metrics, carry)

        (loss, others), grads = jax.value_and_grad(summed, has_aux=True)(state.params)
        weight = jnp.sum(_unmasked(task.weight(batch), mask), dtype=loss.dtype)
        return Gradient(grads, loss, weight, *others)

    def update(state: State, gradient: Gradient) -> tuple[State, Summary]:
        scale = 1 / gradient.weight if task.reduction == "mean" else jnp.ones_like(gradient.weight)

        def penalise(params: Params) -> jax.Array:
            return jnp.asarray(task.penalty(freeze(params)), scale.dtype)

        penalty, slope = jax.value_and_grad(penalise)(state.params)
        grads = jax.tree.map(lambda g, s: (g * scale + s).astype(g.dtype), gradient.grads, slope)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = replace(
            state,
            step=state.step + 1,
            params=params,
            model_state=gradient.model_state,
            opt_state=opt_state,
            ema=_moving_average(state.ema, params, ema_decay),
            carry=gradient.carry,
        )
        metrics = {name: total / gradient.weight for name, total in gradient.metrics.items()}
        return new, metrics | summarise(gradient.loss * scale + penalty, optax.tree.norm(grads))

    return Step(differentiate, update)


def forward(
    model: Model,
    task: Task,
    precision: Precision,
    params: Params,
    state: State,
    batch: Batch,
    key: jax.Array | None,
) -> tuple[Any, Any, Any]:
    """Outputs of the model for a batch, its new state and its new carry; with a key it trains.

    If the state has a carry, the batch continues the one before, except for the rows where its
    column `begins` (batch,) is true: these start afresh.
    """
    train, model_state, carry = key is not None, state.model_state, state.carry
    inputs = task.training_inputs(batch) if train else task.inputs(batch)
    params, inputs = precision.to_compute((params, inputs))
    if carry is None:
        outputs, model_state = model.apply(params, model_state, inputs, key, train)
    else:
        assert model.initialize_carry is not None and model.decode is not None
        if BEGINS in batch:
            begins = batch[BEGINS]
            fresh = model.initialize_carry(params, model_state, len(begins))
            carry = jax.tree.map(functools.partial(_choose, begins), fresh, carry)
        outputs, carry = model.decode(params, model_state, carry, *inputs, key, train)
    return precision.to_outputs(outputs), model_state, carry


def check_per_example(task: Task, name: str, shape: tuple[int, ...], size: int) -> None:
    """Refuse a loss or a metric that is, say, a mean over the batch: means are taken elsewhere.

    Raises:
      UserError: the shape is not that of `size` numbers, one for each example.
    """
    if shape != (size,):
        raise UserError(
            f"config.task: {type(task).__name__} must give {name!r} as one number per example, of "
            f"shape ({size},), not {shape}; leave the mean over the batch to jaxdl"
        )


def summarise(loss: jax.Array, grad_norm: jax.Array) -> Summary:
    """The summary of a step: its loss, the norm of its gradient, and whether both are finite.

    Beyond float32's range, 3e38, a run has diverged in any type: float64 would only take longer to
    overflow.
    """
    finite = jnp.isfinite(loss.astype(jnp.float32)) & jnp.isfinite(grad_norm.astype(jnp.float32))
    return {"loss": loss, "grad_norm": grad_norm, "finite": finite}


def _choose(rows: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """x in these rows, y in the others; of the type of y."""
    return jnp.where(rows.reshape(-1, *(1,) * (y.ndim - 1)), x, y).astype(y.dtype)


def _unmasked(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    return values if mask is None else jnp.where(mask, values, 0)


def _moving_average(old: Any, params: Any, decay: float | None) -> Any:
    if decay is None:
        return None
    # Written so, the average of a parameter that does not change stays the same, to the bit.
    return jax.tree.map(lambda a, w: a + (1 - decay) * (w.astype(a.dtype) - a), old, params)


def widened(dtype: Any) -> Any:
    """The type for sums over many steps or batches: float32 or wider."""
    # In bfloat16 a sum stops growing once what is added is less than a 256th of it.
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.inexact) else dtype
