"""Functions that take a train step and return a train step.

    accumulate(step, n)                       the same update, from a batch in n parts
    data_parallel(step, dtype, mesh)          the same update, from each device's share of the batch
    truncated_bptt(step, period)              batches that continue one another
    bucketed(step, columns, lengths)          token columns truncated to what a batch needs
    progressive_resize(step, sizes, ends)     smaller images in the early steps
    gather_batch(step, fetch)                 batches given as rows of a data set
    with_epochs(step, epochs)                 batches with the epoch of each example
    repeat(step)                              many steps in one compiled call
    population(step)                          many runs at once

All are pure, and compose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from jaxdl.data.table import BEGINS
from jaxdl.errors import UserError
from jaxdl.models.layers import data_axis
from jaxdl.training.state import State
from jaxdl.training.step import Gradient, Step, Summary, widened
from jaxdl.types import DATA_AXIS, EPOCH, Batch


def accumulate(step: Step, parts: int, group: int | None = None) -> Step:
    """The same update, from a batch that is split into parts, computed one after the other.

    Losses and gradients are sums, so the update equals the plain one up to rounding, even if a mask
    leaves the parts uneven. Batch norm normalises each part by its own statistics, or by those of
    its groups, which are the groups of the whole batch. Each part starts from the same running
    statistics and the results are averaged, so momentum counts once per step, not per part.

    Args:
      step: the plain step.
      parts: how many.
      group: examples that batch norm takes together, which stay together.

    Raises:
      UserError: on tracing, if the batch does not divide.
    """

    def gradient(state: State, batch: Batch) -> Gradient:
        size, together = len(next(iter(batch.values()))), group or 1
        if size % (parts * together):
            groups = f" in groups of {group} examples" if group else ""
            raise UserError(
                f"config.training.accumulate: {parts} parts do not divide a batch of {size}{groups}"
            )

        def part(x: jax.Array) -> jax.Array:
            # Part i takes every parts-th group: then each device already has its share of the
            # part, whereas contiguous parts would have to be gathered.
            x = x.reshape(-1, parts, together, *x.shape[1:]).swapaxes(0, 1)
            return x.reshape(parts, size // parts, *x.shape[3:])

        def whole(x: jax.Array) -> jax.Array:
            x = x.reshape(parts, -1, together, *x.shape[2:]).swapaxes(0, 1)
            return x.reshape(size, *x.shape[3:])

        def one(i: jax.Array, batch: Batch, carry: Any) -> tuple[Gradient, Any]:
            part_gradient = step.gradient(replace(_reseed(state, i), carry=carry), batch)
            return part_gradient._replace(carry=None), part_gradient.carry

        def add(total: Gradient, numbered: Any) -> tuple[Gradient, Any]:
            part_gradient, carry = one(*numbered)
            return jax.tree.map(_add, total, part_gradient), carry

        numbered = (jnp.arange(parts), *jax.tree.map(part, (dict(batch), state.carry)))
        shape, _ = jax.eval_shape(one, *jax.tree.map(lambda x: x[0], numbered))
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, widened(s.dtype)), shape)
        total, carry = jax.lax.scan(add, blank, numbered)
        model_state = jax.tree.map(lambda x: _share(x, parts), total.model_state)
        total = total._replace(model_state=model_state)
        total = jax.tree.map(lambda x, s: x.astype(s.dtype), total, shape)
        return total._replace(carry=jax.tree.map(whole, carry))

    return replace(step, gradient=gradient)


def data_parallel(step: Step, dtype: str, mesh: Mesh | None = None) -> Step:
    """The same update, from gradients that each device computes for its share of the batch.

    Losses and gradients are sums over examples, so their sum over devices is that of the whole
    batch. They travel together, once a step; `jit`, in contrast, sums each in the type that it was
    computed in. Layers that mix examples must sum over the axis themselves; `jaxdl.models.layers`
    does so for batch norm, and draws dropout as for the whole batch.

    Args:
      step: the plain step.
      dtype: the type in which gradients are summed.
      mesh: use `shard_map` along its axis `data`. Without a mesh the step runs inside of `jax.pmap`
        over an axis `data`, with the whole state and batch on every device; outside of one it is
        the plain step.
    """

    def one(state: State, carry: Any, batch: Batch) -> tuple[Gradient, Any]:
        gradient = step.gradient(replace(state, carry=carry), batch)
        sums = gradient._asdict()
        carry, model_state = sums.pop("carry"), sums.pop("model_state")
        narrow = {**sums, "grads": jax.tree.map(lambda g: g.astype(dtype), sums["grads"])}
        total = jax.tree.map(
            lambda x, like: x.astype(like.dtype), jax.lax.psum(narrow, DATA_AXIS), sums
        )
        return Gradient(**total, model_state=jax.tree.map(_mean_over_devices, model_state)), carry

    def by_shard_map(state: State, batch: Batch) -> Gradient:
        share, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
        mapped = jax.shard_map(
            one,
            mesh=mesh,
            in_specs=(whole, share, share),
            out_specs=(whole, share),
            check_vma=False,
        )
        gradient, carry = mapped(replace(state, carry=None), state.carry, dict(batch))
        return gradient._replace(carry=carry)

    def by_pmap(state: State, batch: Batch) -> Gradient:
        if data_axis() is None:
            return step.gradient(state, batch)
        number, index = jax.lax.axis_size(DATA_AXIS), jax.lax.axis_index(DATA_AXIS)

        def share(x: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(x, index * (len(x) // number), len(x) // number)

        shares = jax.tree.map(share, (state.carry, dict(batch)))
        gradient, carry = one(replace(state, carry=None), *shares)
        gather = functools.partial(jax.lax.all_gather, axis_name=DATA_AXIS, tiled=True)
        return gradient._replace(carry=jax.tree.map(gather, carry))

    return replace(step, gradient=by_pmap if mesh is None else by_shard_map)


def truncated_bptt(step: Callable, period: int) -> Callable:
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
    """The same function, with token columns truncated to the shortest length that holds the batch.

    Padding, token 0, may only stand at the end of a sequence, and must not affect the function's
    result. The compiled program has a branch for each length.

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


def progressive_resize(step: Callable, sizes: tuple[int, ...], ends: tuple[int, ...]) -> Callable:
    """The step with smaller images until step `ends[-1]`: progressive resizing.

    Small images are fast, and enough to begin with (Howard 2018, DAWNBench; Tan and Le 2021,
    "EfficientNetV2", section 4). The compiled program has a branch for each size.

    Args:
      step: takes batches with floating-point images, columns of four axes.
      sizes: the side of the images before each of `ends`.
      ends: ascending step numbers; from the last one on, images are left as they are.

    Raises:
      UserError: on tracing, if the images have boxes, which would not shrink with them.
    """

    def run(state: State, batch: Batch) -> Any:
        if {"boxes", "extent"} <= {*batch}:
            raise UserError(
                "config.training.sizes: would shrink images but not their boxes; leave it out"
            )

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


def gather_batch(step: Callable, fetch: Callable[[Any, jax.Array], Batch]) -> Callable:
    """A step that takes rows of a data set, from which `fetch(state, rows)` makes the batch."""
    return lambda state, rows: step(state, fetch(state, rows))


def with_epochs(step: Callable, epochs: Callable[[jax.Array], jax.Array]) -> Callable:
    """A step whose batch gets the column `epoch`, `epochs(state.step)`."""
    return lambda state, batch: step(state, {**batch, EPOCH: epochs(state.step)})


def repeat(step: Callable) -> Callable:
    """Many steps in one compiled call: `(state, batches, n=None) -> (state, summaries)`.

    `batches` has a leading axis of k batches, of which the first `n` are taken; `n` may be traced,
    so calls of any length share one compilation. It ends early after a step that is not finite.
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


def population(
    step: Callable[..., tuple[State, Summary]], one_by_one: bool = False
) -> Callable[..., tuple[State, Summary]]:
    """The step of many runs at once: every array has a leading axis of members.

    So have summaries, except for `finite`, which says whether any member is finite: `repeat` then
    goes on as long as one is. Members that have diverged do not affect the others.

    Args:
      step: of one run.
      one_by_one: step one member after the other, by `lax.map`, instead of all at once, by `vmap`.
        It is faster on a CPU, where XLA's batched matrix products and convolutions are slow.
    """

    def run(states: State, *batches: Any) -> tuple[State, Summary]:
        if one_by_one:
            states, summaries = jax.lax.map(lambda member: step(*member), (states, *batches))
        else:
            states, summaries = jax.vmap(step)(states, *batches)
        return states, {**summaries, "finite": jnp.any(summaries["finite"])}

    return run


def _reseed(state: State, part: jax.Array) -> State:
    # The parts of a batch draw different dropout masks.
    return replace(state, seed=state.seed + part.astype(state.seed.dtype) * jnp.uint32(0x9E3779B9))


def _mean_over_devices(x: jax.Array) -> jax.Array:
    # Integers in model_state are counters, the same on all devices.
    return jax.lax.pmean(x, DATA_AXIS) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _add(total: jax.Array, part: jax.Array) -> jax.Array:
    # Integers in model_state are counters: the last value counts.
    return total + part if jnp.issubdtype(part.dtype, jnp.inexact) else part


def _share(total: jax.Array, parts: int) -> jax.Array:
    return total / parts if jnp.issubdtype(total.dtype, jnp.inexact) else total
