"""Autoencoders, plain and variational."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Num

from jaxdl.errors import UserError
from jaxdl.models.layers import Dense, Module, draw_for_batch
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
        sizes, size = _sizes(self.hidden, self.code), math.prod(x.shape[1:])
        encode = _perceptron(sizes, self.activation, "encoder")
        decode = _perceptron((*self.hidden[::-1], size), self.activation, "decoder")
        code = encode(x.reshape(len(x), size))
        y = nn.sigmoid(decode(code)) if self.output == "sigmoid" else decode(code)
        return {"code": code, "reconstruction": y.reshape(x.shape)}


class VAE(Module):
    """A variational autoencoder (Kingma and Welling 2014) of numbers from 0 to 1.

    The encoder tells a normal distribution of codes for an example, the decoder a Bernoulli
    distribution of each of its numbers for a code; of all examples together codes are to be
    standard normal. Layers are as in their appendix C.

    Attributes:
      code: numbers of the code.
      hidden: sizes of the layers before the code, and in reverse after it.
      activation: 'relu', 'tanh' or 'sigmoid', after each of them.
    """

    code: int = 20
    hidden: tuple[int, ...] = (500,)
    activation: Activation = "tanh"

    @nn.compact
    def __call__(self, x: Num[Array, "batch *shape"], *, train: bool = False) -> dict[str, Array]:
        """(batch, ...) -> what the encoder and the decoder tell.

        In training codes are drawn afresh. In evaluation row i of every batch takes the same draw.

        Returns:
          `code` and `log_variance`, (batch, code), of the distribution of codes. Shaped as the
          input: `logits` for a code drawn from it, `reconstruction` of its mean, and `sample`, of a
          code drawn from the standard normal.

        Raises:
          UserError: a size is less than 1.
        """
        (*hidden, code), size = _sizes(self.hidden, self.code), math.prod(x.shape[1:])
        encode = _perceptron((*hidden, 2 * code), self.activation, "encoder")
        decode = _perceptron((*hidden[::-1], size), self.activation, "decoder")
        mean, log_variance = jnp.split(encode(x.reshape(len(x), size)), 2, axis=-1)
        key = self.make_rng("dropout") if train else jax.random.key(0)
        noise = draw_for_batch(lambda shape: jax.random.normal(key, shape, mean.dtype), mean.shape)
        logits = decode(mean + jnp.exp(log_variance / 2) * noise)
        shaped = {
            "logits": logits,
            "reconstruction": nn.sigmoid(decode(mean)),
            "sample": nn.sigmoid(decode(noise)),
        }
        shaped = {name: y.reshape(x.shape) for name, y in shaped.items()}
        return {"code": mean, "log_variance": log_variance, **shaped}


def _sizes(hidden: tuple[int, ...], code: int) -> tuple[int, ...]:
    if min(sizes := (*hidden, code)) < 1:
        raise UserError(f"config.model: hidden and code must be at least 1, got {sizes}")
    return sizes


def _perceptron(
    sizes: tuple[int, ...], activation: Activation, name: str
) -> Callable[[Array], Array]:
    """Dense layers of the module that calls this, with a nonlinearity between them."""
    layers = [Dense(size, name=f"{name}_{i}") for i, size in enumerate(sizes)]

    def apply(x: Array) -> Array:
        for i, layer in enumerate(layers):
            x = layer(ACTIVATIONS[activation](x) if i else x)
        return x

    return apply
