"""`jax.pmap` instead of the mesh: the same numbers, with the devices' part written out.

JAX keeps `pmap` alive but develops `jit` on a mesh; this is for code that is built on it already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.training.state import State
from jaxdl.training.step import Batch, Gradient, Step, Summary

_AXIS = "data"


def pmapped(
    step: Step, devices: Sequence[jax.Device] | None = None
) -> Callable[[State, Batch], tuple[State, Summary]]:
    """The step, of a state that every device holds and a batch of which each has its share.

    Losses and gradients are sums over examples, so their sum over devices is that of the whole
    batch. Batch norm sees each device's share alone (Goyal et al. 2017, section 2.3), and its
    running statistics are averaged; dropout draws the same on each. On a mesh both see the batch
    whole. A carry stays with the device that made it.

    Args:
      step: from `jaxdl.training.step.make_step`.
      devices: which to use; by default all of this process.

    Returns:
      (state, batch) -> (state, summary), where all but the summary have a leading axis of devices:
      `replicate` and `shares` make it.
    """

    def one(state: State, batch: Batch) -> tuple[State, Summary]:
        found = step.gradient(state, batch)
        grads, loss, weight = jax.lax.psum((found.grads, found.loss, found.weight), _AXIS)
        variables = jax.tree.map(_mean, found.variables)
        return step.update(state, Gradient(grads, loss, weight, variables, found.carry))

    mapped = jax.pmap(one, _AXIS, devices=devices, donate_argnums=0)

    def run(state: State, batch: Batch) -> tuple[State, Summary]:
        state, summary = mapped(state, batch)
        return state, jax.tree.map(lambda x: x[0], summary)

    return run


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """The tree with a leading axis of devices, the whole on each."""
    number = len(devices or jax.local_devices())
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (number, *jnp.shape(x))), tree)


def shares(batch: Batch, devices: Sequence[jax.Device] | None = None) -> dict[str, Any]:
    """The batch with a leading axis of devices, an equal share for each.

    Raises:
      UserError: it does not divide.
    """
    number = len(devices or jax.local_devices())
    for name, column in batch.items():
        if len(column) % number:
            raise UserError(f"{name}: a batch of {len(column)} does not divide over {number}")
    return {name: x.reshape(number, -1, *x.shape[1:]) for name, x in batch.items()}


def _mean(x: jax.Array) -> jax.Array:
    """The mean over devices; counts are the same on all."""
    return jax.lax.pmean(x, _AXIS) if jnp.issubdtype(x.dtype, jnp.inexact) else x
