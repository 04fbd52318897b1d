"""Recurrent networks over frames of keys."""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdl.models.layers import Dense, Module
from jaxdl.models.recurrent import Recurrent


class PianoRollModel(Module):
    """Recurrent layers from frames to the logits of each key in the next one.

    Given the frames before, the keys of a frame are independent of each other (the RNN of
    Boulanger-Lewandowski et al. 2012, section 3, and the LSTM of Bai et al. 2018).

    Attributes:
      keys: of a frame.
      hidden: size of the state of a layer.
      layers: number of recurrent layers.
      cell: 'lstm', 'gru' or 'rnn'.
      dropout: probability, in training, that an output of a recurrent layer is dropped.
      input_dropout: likewise, that a key of the frames that it reads is.
      implementation: of the recurrence, 'scan' or 'cudnn'; see `Recurrent`.
    """

    keys: int = 88
    hidden: int = 200
    layers: int = 1
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    dropout: float = 0.0
    input_dropout: float = 0.0
    implementation: Literal["scan", "cudnn"] = "scan"

    def setup(self) -> None:
        """Make the layers."""
        self.recurrent = Recurrent(
            self.hidden,
            layers=self.layers,
            cell=self.cell,
            dropout=self.dropout,
            implementation=self.implementation,
        )
        self.output = Dense(self.keys)
        self.drop_input, self.drop = nn.Dropout(self.input_dropout), nn.Dropout(self.dropout)

    def __call__(
        self, frames: Num[Array, "batch time {self.keys}"], *, train: bool = False
    ) -> Float[Array, "batch time {self.keys}"]:
        """Logits of the keys in the frame that follows each, from a fresh start."""
        return self.decode(self.initialize_carry(len(frames)), frames, train=train)[0]

    def initialize_carry(self, size: int) -> Any:
        """States of zeros, in float32, or in the parameters' type if that is wider."""
        return self.recurrent.initialize_carry(size, self._dtype(jnp.float32))

    def decode(self, carry: Any, frames: Array, *, train: bool = False) -> tuple[Array, Any]:
        """Logits of the keys in the frame that follows each, and the carry after the last."""
        x = self.drop_input(frames.astype(self._dtype()), deterministic=not train)
        y, carry = self.recurrent(x, carry, train=train)
        return self.output(self.drop(y, deterministic=not train)), carry

    def _dtype(self, *least: Any) -> Any:
        """The type of the parameters; float32 while there are none."""
        kinds = [w.dtype for w in jax.tree.leaves(self.variables)]
        return jnp.result_type(*(kinds or [jnp.float32]), *least)
