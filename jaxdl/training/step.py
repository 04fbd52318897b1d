"""The train step, `(state, batch) -> (state, summary)`, and the functions of such functions.

    step = make_step(model, task, optimizer)      one update from one batch
    accumulate(step, n)                           the same update, the batch in n parts
    continued(step, period)                       batches that continue one another
    bucketed(step, columns, lengths)              token columns cut to what a batch needs
    resized(step, sizes, ends)                    smaller images in the early steps
    indexed(step, fetch)                          batches named by rows of a data set
    repeat(step)                                  many steps in one compiled call
    population(step)                              many runs at once

All are pure, and compose. None compiles: `jaxdl.training.devices.compiled` does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxdl.data.table import BEGINS
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
      weight: the summed weight (of padding, by the batch's mask, none).
      variables: what the model made of its variables.
      carry: what it made of its carry.
    """

    grads: Any
    loss: jax.Array
    weight: jax.Array
    variables: Any
    carry: Any = None


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
      average: keep a moving average of the parameters.
      carry: the batch size, where batches are to continue one another.

    Raises:
      UserError: a carry is asked of a model that has none.
    """
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
        average=jax.tree.map(lambda w: jnp.array(w, _wide(w.dtype)), params) if average else None,
        carry=None if carry is None else begin(model, params, variables, carry, precision),
    )


def begin(
    model: Model, params: Any, variables: Any, size: int, precision: Precision | None = None
) -> Any:
    """The carry of `size` sequences that have not begun.

    Raises:
      UserError: the model has none.
    """
    if model.begin is None:
        raise UserError(
            "config.training.carry: this model has no state to carry from batch to batch; "
            "it needs methods begin and write"
        )
    return model.begin((precision or Precision()).to_compute(params), variables, size)


def make_step(
    model: Model,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    precision: Precision | None = None,
    average: float | None = None,
    trained: Callable[[Any], Any] | None = None,
) -> Step:
    """The plain step: loss, gradient, optimiser.

    Args:
      model: pure functions, from `jaxdl.models.functional`.
      task: what is learnt.
      optimizer: any optax transformation.
      precision: types of parameters, arithmetic and outputs; by default float32 throughout.
      average: decay of the moving average of the parameters, in (0, 1), or None.
      trained: (params) -> a pytree of booleans like them, such as `jaxdl.optim.trained` gives. The
        others have no gradient: none is computed, clipped or reported. By default all are trained.

    Returns:
      A step whose summary holds `loss`, `grad_norm` and `finite` (whether both are).
    """
    precision = precision or Precision()

    def freeze(params: Any) -> Any:
        if trained is None:
            return params
        stop = lambda w, moves: w if moves else jax.lax.stop_gradient(w)  # noqa: E731
        return jax.tree.map(stop, params, trained(params))

    def gradient(state: State, batch: Batch) -> Gradient:
        key, mask = state.key("dropout"), batch.get("mask")

        def summed(params: Any) -> tuple[jax.Array, Any]:
            params = freeze(params)
            outputs, variables, carry = forward(model, task, precision, params, state, batch, key)
            return jnp.sum(_unmasked(task.loss(outputs, batch), mask)), (variables, carry)

        (loss, (variables, carry)), grads = jax.value_and_grad(summed, has_aux=True)(state.params)
        weight = jnp.sum(_unmasked(task.weight(batch), mask), dtype=loss.dtype)
        return Gradient(grads, loss, weight, variables, carry)

    def update(state: State, found: Gradient) -> tuple[State, Summary]:
        scale = 1 / found.weight if task.reduction == "mean" else jnp.ones_like(found.weight)

        def penalise(params: Any) -> jax.Array:
            return jnp.asarray(task.penalty(freeze(params)), scale.dtype)

        penalty, slope = jax.value_and_grad(penalise)(state.params)
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
            carry=found.carry,
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
) -> tuple[Any, Any, Any]:
    """Outputs of the model for a batch, its new variables and carry; trains where a key is given.

    Where the state has a carry, the batch continues the one before, but for the rows that its
    column `begins` (batch,) names: these start afresh.
    """
    params, inputs = precision.to_compute(params), precision.to_compute(task.inputs(batch))
    train, variables, carry = key is not None, state.variables, state.carry
    if carry is None:
        outputs, variables = model.apply(params, variables, inputs, key, train)
    else:
        assert model.begin is not None and model.write is not None
        if BEGINS in batch:
            begins = batch[BEGINS]
            fresh = model.begin(params, variables, len(begins))
            carry = jax.tree.map(functools.partial(_choose, begins), fresh, carry)
        outputs, carry = model.write(params, variables, carry, *inputs, key, train)
    return precision.to_outputs(outputs), variables, carry


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

        def whole(x: jax.Array) -> jax.Array:
            return x.swapaxes(0, 1).reshape(size, *x.shape[2:])

        def one(i: jax.Array, batch: Batch, carry: Any) -> tuple[Gradient, Any]:
            found = step.gradient(replace(_reseed(state, i), carry=carry), batch)
            return found._replace(carry=None), found.carry

        def add(total: Gradient, numbered: Any) -> tuple[Gradient, Any]:
            found, carry = one(*numbered)
            return jax.tree.map(_add, total, found), carry

        numbered = (jnp.arange(parts), *jax.tree.map(part, (dict(batch), state.carry)))
        shape, _ = jax.eval_shape(one, *jax.tree.map(lambda x: x[0], numbered))
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, _wide(s.dtype)), shape)
        total, carry = jax.lax.scan(add, blank, numbered)
        variables = jax.tree.map(lambda x: _share(x, parts), total.variables)
        total = total._replace(variables=variables)
        total = jax.tree.map(lambda x, s: x.astype(s.dtype), total, shape)
        return total._replace(carry=jax.tree.map(whole, carry))

    return replace(step, gradient=gradient)


def continued(step: Callable, period: int) -> Callable:
    """A step that starts with a fresh carry at every multiple of `period` steps.

    Within a period batches continue one another, row by row: truncated back-propagation through
    time (Williams and Peng 1990). A row that `batch['begins']` names starts afresh too.
    """

    def run(state: State, batch: Batch) -> tuple[State, Summary]:
        begins = batch.get(BEGINS, jnp.zeros(len(next(iter(batch.values()))), bool))
        return step(state, {**batch, BEGINS: begins | (state.step % period == 0)})

    return run


def bucketed(
    function: Callable[[State, Batch], Any], columns: tuple[str, ...], lengths: tuple[int, ...]
) -> Callable[[State, Batch], Any]:
    """The same function, of token columns cut to the shortest of `lengths` that holds the batch.

    Padding, token 0, stands at the end of a sequence only, and must change nothing of the
    function's result but the time it takes. One program holds a branch for each length.

    Args:
      function: of a state and a batch.
      columns: the token columns (batch, time), all cut to one length.
      lengths: ascending; the last is at least as long as the columns.
    """

    @functools.wraps(function)
    def run(state: State, batch: Batch) -> Any:
        def cut(length: int) -> Callable[[State, Batch], Any]:
            return lambda state, batch: function(
                state, {k: x[:, :length] if k in columns else x for k, x in batch.items()}
            )

        longest = jnp.max(jnp.stack([jnp.max(jnp.sum(batch[c] != 0, axis=1)) for c in columns]))
        place = jnp.searchsorted(jnp.asarray(lengths), longest)
        return jax.lax.switch(place, [cut(length) for length in lengths], state, dict(batch))

    return run


def resized(step: Callable, sizes: tuple[int, ...], ends: tuple[int, ...]) -> Callable:
    """The step, of smaller images until step `ends[-1]`: progressive resizing.

    Small images are quick, and enough to begin with (Howard 2018, DAWNBench; Tan and Le 2021,
    "EfficientNetV2", section 4). One program holds a branch for each size.

    Args:
      step: of floating-point images, columns of four axes.
      sizes: side of the images, up to each of
      ends: ascending step numbers; from the last one on, images are left as they are.
    """

    def run(state: State, batch: Batch) -> Any:
        def shrunk(size: int) -> Callable[[State, Batch], Any]:
            def small(x: jax.Array) -> jax.Array:
                return jax.image.resize(x, (len(x), size, size, x.shape[-1]), "linear")

            return lambda state, batch: step(
                state, {k: small(x) if x.ndim == 4 else x for k, x in batch.items()}
            )

        branches = [*(shrunk(size) for size in sizes), step]
        place = jnp.searchsorted(jnp.asarray(ends), state.step, side="right")
        return jax.lax.switch(place, branches, state, dict(batch))

    return run


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


def population(step: Callable[..., tuple[State, Summary]]) -> Callable[..., tuple[State, Summary]]:
    """The step of many runs at once: every array has a leading axis of members.

    Summaries too, but `finite`, which tells whether any member's is: `repeat` then goes on while
    there is one to go on with, and members that have diverged touch no other.
    """

    def run(states: State, *given: Any) -> tuple[State, Summary]:
        states, summaries = jax.vmap(step)(states, *given)
        return states, {**summaries, "finite": jnp.any(summaries["finite"])}

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
      UserError: the task has no squared error to minimise, or weighs its examples.
    """
    precision = precision or Precision()
    regression = task if isinstance(task, Regression) else None
    if regression is None or regression.loss_name != "squares":
        raise UserError("config.optimizer: least_squares needs a regression task on squares")
    if regression.zero_weight != 1:
        raise UserError(
            "config.task.zero_weight: least_squares counts all examples alike; set it to 1"
        )

    def step(state: State, batch: Batch) -> tuple[State, Summary]:
        flat, restore = ravel_pytree(state.params)

        def residuals(w: jax.Array) -> jax.Array:
            outputs, *_ = forward(model, task, precision, restore(w), state, batch, None)
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


def _choose(rows: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """x in these rows, y in the others; of the type of y."""
    return jnp.where(rows.reshape(-1, *(1,) * (y.ndim - 1)), x, y).astype(y.dtype)


def _unmasked(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    return values if mask is None else jnp.where(mask, values, 0)


def _averaged(old: Any, params: Any, decay: float | None) -> Any:
    if decay is None:
        return None
    # So written, the average of what does not move stays as it is, to the bit.
    return jax.tree.map(lambda a, w: a + (1 - decay) * (w.astype(a.dtype) - a), old, params)


def _wide(dtype: Any) -> Any:
    # In bfloat16 a sum stands still once what is added is less than a 256th of it.
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.inexact) else dtype


def _reseed(state: State, part: jax.Array) -> State:
    # The parts of a batch draw different dropout masks.
    return replace(state, seed=state.seed + part.astype(state.seed.dtype) * jnp.uint32(0x9E3779B9))


def _add(total: jax.Array, part: jax.Array) -> jax.Array:
    # Integers among a model's variables are counters: the last one stands.
    return total + part if jnp.issubdtype(part.dtype, jnp.inexact) else part


def _share(total: jax.Array, parts: int) -> jax.Array:
    return total / parts if jnp.issubdtype(total.dtype, jnp.inexact) else total
