"""Reconstruction: the input itself is what an autoencoder is to put out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl.errors import UserError
from jaxdl.tasks.base import Task


@dataclass(frozen=True)
class Reconstruction(Task):
    """The squared error of each example, summed over its numbers.

    Outputs are a dict: `reconstruction`, shaped as the input, and whatever else the model tells,
    such as its `code`.

    Args:
      input: column of what is reconstructed, of any shape.
    """

    input: str = "image"

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> Array:
        """The sum of the squared differences, (batch,).

        Raises:
          UserError: the input is of whole numbers, or of another shape than what the model gives.
        """
        x = batch[self.input]
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise UserError(
                f"config.task.input: {self.input!r} is {x.dtype}, but only floats can be "
                "reconstructed; add dict(name='scale') to config.data.transforms"
            )
        if not isinstance(outputs, Mapping) or "reconstruction" not in outputs:
            raise UserError(
                "config.model: gives no 'reconstruction', which the task needs; use 'autoencoder'"
            )
        y = outputs["reconstruction"]
        if y.shape != x.shape:
            raise UserError(
                f"config.model: the reconstruction has shape {list(y.shape)}, but {self.input!r} "
                f"has {list(x.shape)}; make them equal"
            )
        return jnp.sum(jnp.square(y - x), axis=tuple(range(1, x.ndim)))
