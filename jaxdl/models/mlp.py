"""Linear models and multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Num

from jaxdl.errors import UserError
from jaxdl.models.layers import Dense, Module

Activation = Literal["relu", "tanh", "sigmoid"]
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
}


class MLP(Module):
    """Dense layers with a nonlinearity and dropout between them.

    Without hidden layers it is linear: softmax regression with `outputs` classes, logistic or
    linear regression with `outputs=None`.

    Attributes:
      outputs: size of the output, (batch, outputs); None gives one number an example, (batch,).
      hidden: sizes of the hidden layers.
      activation: 'relu', 'tanh' or 'sigmoid', after each hidden layer.
      dropout: probability that a hidden unit is dropped in training.
      kernel_std: σ of the normal, truncated at 2σ, that kernels start from (TensorFlow's
        `truncated_normal`); 0 starts them at zero; None takes LeCun's, 1/√inputs.
      hidden_bias: what the biases of hidden layers start from; the last one's start at 0.
    """

    outputs: int | None = None
    hidden: tuple[int, ...] = ()
    activation: Activation = "relu"
    dropout: float = 0.0
    kernel_std: float | None = None
    hidden_bias: float = 0.0

    @nn.compact
    def __call__(
        self, x: Num[Array, "batch ..."], *, train: bool = False
    ) -> Float[Array, "batch *outputs"]:
        """(batch, ...) -> (batch, outputs); inputs are flattened."""
        if not 0 <= self.dropout < 1:
            raise UserError(f"config.model.dropout: must be in [0, 1), got {self.dropout}")
        x = x.reshape(len(x), -1)
        for size in self.hidden:
            x = Dense(
                size,
                kernel_init=self._kernel(),
                bias_init=nn.initializers.constant(self.hidden_bias),
            )(x)
            x = ACTIVATIONS[self.activation](x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Dense(1 if self.outputs is None else self.outputs, kernel_init=self._kernel())(x)
        return x[:, 0] if self.outputs is None else x

    def _kernel(self) -> Callable[..., Array]:
        if self.kernel_std is None:
            return nn.initializers.lecun_normal()
        return nn.initializers.truncated_normal(self.kernel_std)
