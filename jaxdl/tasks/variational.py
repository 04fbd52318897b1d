"""Variational inference: how likely a model makes what it is shown, at least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxdl.errors import UserError
from jaxdl.tasks.reconstruction import Reconstruction

_TELLS = ("code", "log_variance", "logits")


@dataclass(frozen=True)
class Variational(Reconstruction):
    """The evidence lower bound (Kingma and Welling 2014, equation 10), its sign changed, in nats.

    The cross-entropy of each number of an example, which is the probability of a 1, plus the
    divergence of its codes from the standard normal. Cross-entropy is linear in the example, so the
    loss is that of ones and zeros drawn with these probabilities, but for what the encoder sees.

    Outputs are those of the model `vae`. A number below 0 or above 1 is no probability, and makes
    the loss of its example NaN, at which training stops.

    Args:
      input: column of what is modelled, of any shape, from 0 to 1.
    """

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> Array:
        """Minus the lower bound, (batch,).

        Raises:
          UserError: the input is of whole numbers, or of another shape than what the model gives,
            or the model tells no distribution of codes.
        """
        cross_entropy, divergence = self._parts(outputs, batch)
        return cross_entropy + divergence

    def metrics(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The loss, and its parts: `cross_entropy` and `divergence`."""
        cross_entropy, divergence = self._parts(outputs, batch)
        return {
            "loss": cross_entropy + divergence,
            "cross_entropy": cross_entropy,
            "divergence": divergence,
        }

    def _parts(self, outputs: Any, batch: Mapping[str, Any]) -> tuple[Array, Array]:
        super().loss(outputs, batch)  # refuses what cannot be
        if missing := [name for name in _TELLS if name not in outputs]:
            raise UserError(
                f"config.model: gives no {missing[0]!r}, which the task needs; use 'vae'"
            )
        x, numbers = batch[self.input], tuple(range(1, batch[self.input].ndim))
        cross_entropy = optax.sigmoid_binary_cross_entropy(outputs["logits"], x).sum(numbers)
        cross_entropy += jnp.where(((x < 0) | (x > 1)).any(numbers), jnp.nan, 0.0)
        mean, log_variance = outputs["code"], outputs["log_variance"]
        # Kingma and Welling 2014, appendix B.
        divergence = (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1) / 2
        return cross_entropy, divergence
