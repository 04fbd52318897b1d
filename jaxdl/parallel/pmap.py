"""`jax.pmap` instead of the mesh: the same numbers, with the communication written out.

JAX still supports `pmap` but develops `jit` on a mesh; this is for code that already uses `pmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.types import Batch

if TYPE_CHECKING:  # this room is below training: a step is anything with `gradient` and `update`
    from jaxdl.training.state import State
    from jaxdl.training.step import Step, Summary

_AXIS = "data"


def pmapped(
    step: Step, devices: Sequence[jax.Device] | None = None
) -> Callable[[State, Batch], tuple[State, Summary]]:
    """The step with the state replicated and the batch split over devices.

    Losses and gradients are sums over examples, so their sum over devices is that of the whole
    batch. Batch norm sees each device's share alone (Goyal et al. 2017, section 2.3), and its
    running statistics are averaged; dropout uses the same key on each device. On a mesh, both see
    the whole batch. A carry stays on its device.

    Args:
      step: from `jaxdl.training.step.make_step`.
      devices: by default all of this process.

    Returns:
      (state, batch) -> (state, summary), where state and batch have a leading axis of devices, as
      `replicate` and `shares` add it. The state is donated.
    """

    def one(state: State, batch: Batch) -> tuple[State, Summary]:
        gradient = step.gradient(state, batch)
        sums = gradient._asdict()
        kept = {"carry": sums.pop("carry"), "model_state": sums.pop("model_state")}
        kept["model_state"] = jax.tree.map(_mean, kept["model_state"])
        return step.update(state, type(gradient)(**jax.lax.psum(sums, _AXIS), **kept))

    mapped = jax.pmap(one, _AXIS, devices=devices, donate_argnums=0)

    def run(state: State, batch: Batch) -> tuple[State, Summary]:
        state, summary = mapped(state, batch)
        return state, jax.tree.map(lambda x: x[0], summary)

    return run


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """The tree with a leading axis of devices, the same on each."""
    number = len(devices or jax.local_devices())
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (number, *jnp.shape(x))), tree)


def shares(batch: Batch, devices: Sequence[jax.Device] | None = None) -> dict[str, Any]:
    """The batch with a leading axis of devices: (devices, examples / devices, …).

    Raises:
      UserError: the examples do not divide evenly.
    """
    number = len(devices or jax.local_devices())
    for name, column in batch.items():
        if len(column) % number:
            raise UserError(f"{name}: {len(column)} examples do not divide over {number} devices")
    return {name: x.reshape(number, -1, *x.shape[1:]) for name, x in batch.items()}


def _mean(x: jax.Array) -> jax.Array:
    """The mean over devices; integers, such as counts, are the same on all."""
    return jax.lax.pmean(x, _AXIS) if jnp.issubdtype(x.dtype, jnp.inexact) else x
