"""Muon for the kernels of convolutions, which it keeps at a fixed norm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxdl.errors import UserError


def kernel_muon(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.6,
    nesterov: bool = True,
    ns_steps: int = 3,
) -> optax.GradientTransformation:
    """Muon, with each kernel rescaled to norm √outputs before its step.

    Jordan 2024, airbench94_muon. An update is the momentum made orthogonal, of a kernel (…, inputs,
    outputs) as the matrix of all inputs by outputs. `optax.contrib.muon` is for matrices, and
    leaves their norm to weight decay.

    Args:
      learning_rate: a number or a schedule; relative to the norm, since that is fixed.
      momentum: decay of the sum of gradients.
      nesterov: take the gradient after the momentum, not before.
      ns_steps: Newton-Schulz iterations towards an orthogonal matrix.

    Raises:
      UserError: at `init`, a parameter with fewer than two axes.
    """

    def as_matrices(params: Any) -> Any:
        return jax.tree.map(
            lambda w: optax.contrib.MuonDimensionNumbers(tuple(range(w.ndim - 1)), w.ndim - 1),
            params,
        )

    orthogonal = optax.chain(
        optax.contrib.scale_by_muon(
            beta=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            weight_dimension_numbers=as_matrices,
        ),
        optax.scale_by_learning_rate(learning_rate),
    )

    def init(params: Any) -> Any:
        if any(w.ndim < 2 for w in jax.tree.leaves(params)):
            raise UserError(
                "kernel_muon: is for kernels, with two axes or more; give biases and scales "
                "another optimiser with groups"
            )
        return orthogonal.init(params)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        steps, state = orthogonal.update(grads, state, params)

        def rescaled(w: Any, step: jax.Array) -> jax.Array:
            norm = jnp.sqrt(w.shape[-1]) / jnp.linalg.norm(w)
            return ((norm - 1) * w + step).astype(step.dtype)

        return jax.tree.map(rescaled, params, steps), state

    return optax.GradientTransformation(init, update)
