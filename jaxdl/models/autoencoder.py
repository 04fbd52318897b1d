"""Autoencoders."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
from jax import Array
from jaxtyping import Num

from jaxdl.errors import UserError
from jaxdl.models.layers import Module
from jaxdl.models.mlp import ACTIVATIONS, Activation


class Autoencoder(Module):
    """Dense layers down to a code, and the same in reverse (Hinton and Salakhutdinov 2006).

    Attributes:
      code: numbers of the code, which is linear.
      hidden: sizes of the layers before the code.
      activation: 'relu', 'tanh' or 'sigmoid', after each of them.
      output: 'sigmoid' for values from 0 to 1, or 'linear'.
    """

    code: int = 30
    hidden: tuple[int, ...] = (1000, 500, 250)
    activation: Activation = "relu"
    output: Literal["sigmoid", "linear"] = "sigmoid"

    @nn.compact
    def __call__(self, x: Num[Array, "batch *shape"]) -> dict[str, Array]:
        """(batch, ...) -> `code` (batch, code), and `reconstruction`, shaped as the input.

        Raises:
          UserError: a size is less than 1.
        """
        if min(sizes := (*self.hidden, self.code)) < 1:
            raise UserError(f"config.model: hidden and code must be at least 1, got {sizes}")
        size = math.prod(x.shape[1:])
        code = self._layers(x.reshape(len(x), size), sizes, "encoder")
        y = self._layers(code, (*self.hidden[::-1], size), "decoder")
        y = nn.sigmoid(y) if self.output == "sigmoid" else y
        return {"code": code, "reconstruction": y.reshape(x.shape)}

    def _layers(self, x: Array, sizes: tuple[int, ...], name: str) -> Array:
        activation: Callable[[Array], Array] = ACTIVATIONS[self.activation]
        for i, size in enumerate(sizes):
            x = nn.Dense(size, name=f"{name}_{i}")(activation(x) if i else x)
        return x
