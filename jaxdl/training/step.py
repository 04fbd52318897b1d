"""The train step, `(state, batch) -> (state, summary)`, and the functions of such functions.

    step = make_step(model, task, optimizer)      one update from one batch
    accumulate(step, n)                           the same update, the batch in n parts
    indexed(step, fetch)                          batches named by rows of a data set
    repeat(step)                                  many steps in one compiled call

All are pure, and compose. None compiles: `jaxdl.training.devices.compiled` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxdl.errors import UserError
from jaxdl.models.functional import Model
from jaxdl.tasks import Regression, Task
from jaxdl.training.precision import Precision
from jaxdl.training.state import State, fold

Batch = Mapping[str, Any]  # name -> array with a leading batch axis
Summary = dict[str, jax.Array]
Transform = Callable[[Batch, jax.Array], Batch]


class Gradient(NamedTuple):
    """What a batch says, as sums over its examples, so that parts of a batch add up.

    Attributes:
      grads: gradient of the summed loss, a pytree like the parameters.
      loss: the summed loss.
      weight: how many examples were summed (padding, by the batch's mask, is none).
      variables: what the model made of its variables.
    """

    grads: Any
    loss: jax.Array
    weight: jax.Array
    variables: Any


@dataclass(frozen=True)
class Step:
    """A step in its two halves, which combinators come between.

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
    average: bool = False,
) -> State:
    """The state before the first step. Only the shapes of `batch` matter."""
    precision = precision or Precision()
    inputs = precision.to_compute(task.inputs(batch))
    params, variables = model.init(fold(seed, "init"), inputs)
    params = precision.to_params(params)
    return State(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        variables=variables,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average else None,
    )


def make_step(
    model: Model,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    precision: Precision | None = None,
    average: float | None = None,
) -> Step:
    """The plain step: loss, gradient, optimiser.

    Args:
      model: pure functions, from `jaxdl.models.functional`.
      task: what is learnt.
      optimizer: any optax transformation.
      precision: types of parameters, arithmetic and outputs; by default float32 throughout.
      average: decay of the moving average of the parameters, in (0, 1), or None.

    Returns:
      A step whose summary holds `loss`, `grad_norm` and `finite` (whether both are).
    """
    precision = precision or Precision()

    def gradient(state: State, batch: Batch) -> Gradient:
        key, mask = state.key("dropout"), batch.get("mask")

        def summed(params: Any) -> tuple[jax.Array, Any]:
            outputs, variables = forward(model, task, precision, params, state, batch, key)
            losses = task.loss(outputs, batch)
            if mask is not None:
                losses = jnp.where(mask, losses, 0)
            return jnp.sum(losses), (variables, losses.shape[0])

        (loss, (variables, size)), grads = jax.value_and_grad(summed, has_aux=True)(state.params)
        weight = jnp.asarray(size, loss.dtype) if mask is None else jnp.sum(mask, dtype=loss.dtype)
        return Gradient(grads, loss, weight, variables)

    def update(state: State, found: Gradient) -> tuple[State, Summary]:
        scale = 1 / found.weight if task.reduction == "mean" else jnp.ones_like(found.weight)
        penalty, slope = jax.value_and_grad(lambda p: jnp.asarray(task.penalty(p), scale.dtype))(
            state.params
        )
        grads = jax.tree.map(lambda g, s: (g * scale + s).astype(g.dtype), found.grads, slope)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = replace(
            state,
            step=state.step + 1,
            params=params,
            variables=found.variables,
            opt_state=opt_state,
            average=_averaged(state.average, params, average),
        )
        return new, summarise(found.loss * scale + penalty, optax.tree.norm(grads))

    return Step(gradient, update)


def forward(
    model: Model,
    task: Task,
    precision: Precision,
    params: Any,
    state: State,
    batch: Batch,
    key: jax.Array | None,
) -> tuple[Any, Any]:
    """Outputs of the model for a batch, and its new variables; trains where a key is given."""
    outputs, variables = model.apply(
        precision.to_compute(params),
        state.variables,
        precision.to_compute(task.inputs(batch)),
        key,
        key is not None,
    )
    return precision.to_outputs(outputs), variables


def summarise(loss: jax.Array, grad_norm: jax.Array) -> Summary:
    """What a step tells: its loss, the norm of its gradient, and whether both are finite.

    Beyond float32's range, 3e38, a run has diverged whatever its type: float64 would only take
    longer to overflow.
    """
    finite = jnp.isfinite(loss.astype(jnp.float32)) & jnp.isfinite(grad_norm.astype(jnp.float32))
    return {"loss": loss, "grad_norm": grad_norm, "finite": finite}


def accumulate(step: Step, parts: int) -> Step:
    """The same update from a batch taken in `parts` parts, one after the other.

    Losses and gradients are sums, so the update equals the plain one to rounding, also where a
    mask leaves the parts uneven. With batch norm each part is normalised by its own statistics
    (Hoffer et al. 2017, "ghost" batches); each starts from the same running statistics and the
    results are averaged, so their momentum counts once a step, not once a part.

    Raises:
      UserError: on tracing, if the batch does not divide.
    """

    def gradient(state: State, batch: Batch) -> Gradient:
        size = len(next(iter(batch.values())))
        if size % parts:
            raise UserError(f"config.training.accumulate: {parts} does not divide batch {size}")

        def part(x: jax.Array) -> jax.Array:
            # Part i takes every parts-th example: with the batch spread over devices, each one's
            # share of a part is already there, where contiguous parts would be gathered.
            return x.reshape(size // parts, parts, *x.shape[1:]).swapaxes(0, 1)

        def one(i: jax.Array, batch: Batch) -> Gradient:
            return step.gradient(_reseed(state, i), batch)

        def add(total: Gradient, i_batch: Any) -> tuple[Gradient, None]:
            return jax.tree.map(_add, total, one(*i_batch)), None

        numbered = (jnp.arange(parts), {name: part(x) for name, x in batch.items()})
        shape = jax.eval_shape(one, *jax.tree.map(lambda x: x[0], numbered))
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        total, _ = jax.lax.scan(add, blank, numbered)
        return total._replace(variables=jax.tree.map(lambda x: _share(x, parts), total.variables))

    return replace(step, gradient=gradient)


def indexed(step: Callable, fetch: Callable[[Any, jax.Array], Batch]) -> Callable:
    """A step whose batch is named by what `fetch(state, rows)` makes of its rows."""
    return lambda state, rows: step(state, fetch(state, rows))


def repeat(step: Callable) -> Callable:
    """Many steps in one compiled call: `(state, batches, n=None) -> (state, summaries)`.

    `batches` has a leading axis of k batches, of which the first `n` are taken; `n` may be traced,
    so calls of any length share one compilation. It ends early behind a step that is not finite.
    Summaries have the same leading axis; those of steps not taken are zero (and not finite).
    """

    def run(state: State, batches: Any, n: Any = None) -> tuple[State, Summary]:
        k = len(jax.tree.leaves(batches)[0])
        one = jax.eval_shape(step, state, jax.tree.map(lambda x: x[0], batches))[1]
        blank = jax.tree.map(lambda s: jnp.zeros((k, *s.shape), s.dtype), one)

        def more(carry: Any) -> jax.Array:
            i, going, _, _ = carry
            return going & (i < (k if n is None else n))

        def body(carry: Any) -> Any:
            i, _, state, summaries = carry
            state, summary = step(state, jax.tree.map(lambda x: x[i], batches))
            summaries = jax.tree.map(lambda all_, s: all_.at[i].set(s), summaries, summary)
            return i + 1, summary["finite"], state, summaries

        start = (jnp.zeros((), jnp.int32), jnp.ones((), bool), state, blank)
        _, _, state, summaries = jax.lax.while_loop(more, body, start)
        return state, summaries

    return run


def least_squares(
    model: Model, task: Task, precision: Precision | None = None
) -> Callable[[State, Batch], tuple[State, Summary]]:
    """A step to the minimum of the squared error, of a model that is linear in its parameters.

    One Gauss-Newton step, which for such a model is exact from any start: with the Jacobian J of
    the outputs and the residuals r, it solves min ‖r + Jδ‖² + λ‖w + δ‖² by a singular value
    decomposition of [J; √λ I], never forming JᵀJ, whose condition is the square (Bishop, PRML
    2006, eqs. 1.2, 1.4 and 3.15; λ is the task's `l2`).

    Raises:
      UserError: the task has no squared error to minimise.
    """
    precision = precision or Precision()
    regression = task if isinstance(task, Regression) else None
    if regression is None or regression.loss_name != "squares":
        raise UserError("config.optimizer: least_squares needs a regression task on squares")

    def step(state: State, batch: Batch) -> tuple[State, Summary]:
        flat, restore = ravel_pytree(state.params)

        def residuals(w: jax.Array) -> jax.Array:
            outputs, _ = forward(model, task, precision, restore(w), state, batch, None)
            return (outputs - batch[regression.target]).reshape(-1)

        scale = 1.0 if regression.reduction == "sum" else 1 / len(batch[regression.target])
        jacobian, ridge = jax.jacfwd(residuals)(flat), jnp.sqrt(jnp.asarray(regression.l2 / scale))
        rows = jnp.concatenate([jacobian, ridge * jnp.eye(len(flat), dtype=flat.dtype)])
        right = -jnp.concatenate([residuals(flat), ridge * flat])
        flat = flat + jnp.linalg.lstsq(rows, right)[0]
        error = residuals(flat)
        loss = 0.5 * scale * error @ error + regression.penalty(restore(flat))
        slope = scale * jax.jacfwd(residuals)(flat).T @ error + regression.l2 * flat
        new = replace(state, step=state.step + 1, params=restore(flat))
        return new, summarise(loss, jnp.linalg.norm(slope))

    return step


def _averaged(old: Any, params: Any, decay: float | None) -> Any:
    if decay is None:
        return None
    return jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, old, params)


def _reseed(state: State, part: jax.Array) -> State:
    # The parts of a batch draw different dropout masks.
    return replace(state, seed=state.seed + part.astype(state.seed.dtype) * jnp.uint32(0x9E3779B9))


def _add(total: jax.Array, part: jax.Array) -> jax.Array:
    # Integers among a model's variables are counters: the last one stands.
    return total + part if jnp.issubdtype(part.dtype, jnp.inexact) else part


def _share(total: jax.Array, parts: int) -> jax.Array:
    return total / parts if jnp.issubdtype(total.dtype, jnp.inexact) else total
