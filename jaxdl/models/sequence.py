"""Recurrent networks from a sequence to one output."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdl.errors import UserError
from jaxdl.models.language import embedded
from jaxdl.models.layers import Dense, Module
from jaxdl.models.recurrent import Recurrent


class SequenceClassifier(Module, kw_only=True):
    """Recurrent layers over a sequence, then a dense layer: many to one.

    Of tokens, padding (0, at the end) touches neither state nor result.

    Attributes:
      outputs: number of classes.
      hidden: size of the state of a layer, in one direction.
      layers: number of recurrent layers.
      cell: 'lstm', 'gru' or 'rnn'.
      bidirectional: whether the sequence is read in both directions.
      vocabulary: number of tokens, if the sequence is of tokens. By default that of the data.
      embedding: size of the vectors that tokens become first; None takes them as one-hot.
      dropout: probability, in training, that a number is dropped on its way into a layer, the
        sequence itself excepted.
      memory: the most steps between what belongs together, if known; see `Recurrent`.
      pooling: what the dense layer sees of the last recurrent layer: its last state, or the mean
        or the maximum of its outputs.
      implementation: of the recurrence, 'scan' or 'cudnn'; see `Recurrent`.
    """

    outputs: int
    hidden: int = 128
    layers: int = 1
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    bidirectional: bool = False
    vocabulary: int | None = None
    embedding: int | None = None
    dropout: float = 0.0
    memory: int | None = None
    pooling: Literal["last", "mean", "max"] = "last"
    implementation: Literal["scan", "cudnn"] = "scan"

    @nn.compact
    def __call__(
        self, x: Num[Array, "batch time *features"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """Tokens (batch, time), or (batch, time, ...) numbers -> (batch, outputs), logits."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        mask = None
        if jnp.issubdtype(x.dtype, jnp.integer):
            if self.vocabulary is None or x.ndim != 2:
                raise UserError(
                    f"config.model: reads tokens (batch, time) with a vocabulary, or sequences of "
                    f"floats, but got {x.dtype}{list(x.shape)}; scale it, or set vocabulary"
                )
            mask = x != 0
            if self.embedding:
                x = drop(embedded(nn.Embed(self.vocabulary, self.embedding), x))
        else:
            x = x.reshape(*x.shape[:2], -1)
        y, states = Recurrent(
            self.hidden,
            layers=self.layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            memory=self.memory,
            vocabulary=self.vocabulary if jnp.issubdtype(x.dtype, jnp.integer) else None,
            implementation=self.implementation,
        )(x, mask=mask, train=train)
        ends = states[-2:] if self.bidirectional else states[-1:]
        real = jnp.ones(y.shape[:2], bool) if mask is None else mask
        if self.pooling == "last":
            y = jnp.concatenate([state[0] for state in ends], axis=-1)
        elif self.pooling == "mean":
            total = jnp.sum(jnp.where(real[..., None], y, 0), axis=1)
            y = total / jnp.maximum(1, jnp.sum(real, axis=1, keepdims=True))
        else:
            y = jnp.max(jnp.where(real[..., None], y, -jnp.inf), axis=1)
        return Dense(self.outputs)(drop(y))
