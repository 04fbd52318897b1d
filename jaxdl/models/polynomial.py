"""Polynomials: a fixed basis and a linear model of it (Bishop, PRML 2006, eq. 1.1)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.errors import UserError


class Polynomial(nn.Module):
    """y(x, w) = w₀ + w₁x + … + w_M x^M.

    Attributes:
      order: M, at least 0. The parameter `w` has M + 1 coefficients, constant first, and starts
        at zero.
    """

    order: int

    @nn.compact
    def __call__(self, x: Float[Array, " batch"]) -> Float[Array, " batch"]:
        """(batch,) -> (batch,)."""
        if self.order < 0:
            raise UserError(f"config.model.order: expected at least 0, got {self.order}")
        w = self.param("w", nn.initializers.zeros_init(), (self.order + 1,))
        return (x[:, None] ** jnp.arange(self.order + 1)) @ w
