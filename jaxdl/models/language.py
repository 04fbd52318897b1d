"""Recurrent networks that generate text: language models, encoder-decoders, captioners.

Each is a `Decoder` with something to start from. `initialize_carry(size, *conditions)` gives the
carry of sequences that have not begun, and `decode(carry, tokens)` continues from there; see
`jaxdl.models.functional.Model`.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from jaxdl.errors import UserError
from jaxdl.models.layers import Conv, Dense, Module
from jaxdl.models.recurrent import Recurrent

Tokens = Integer[Array, "batch time"]


def embedded(embed: nn.Embed, tokens: Tokens) -> Float[Array, "batch time features"]:
    """Vectors of tokens, of unit variance at the start (Vaswani et al. 2017, section 3.4)."""
    return embed(tokens) * embed.features**0.5


class Decoder(Module, kw_only=True):
    """Recurrent layers from tokens to logits of the next token.

    Attributes:
      vocabulary: number of tokens, padding (0) included. By default what the data has.
      hidden: size of the state of a layer.
      layers: number of recurrent layers.
      cell: 'lstm', 'gru' or 'rnn'.
      embedding: size of the vectors that tokens become first; None takes them as one-hot.
      dropout: probability, in training, that a number is dropped on its way into a layer: from the
        embedding, between recurrent layers and before the output (Zaremba et al. 2014).
      tied: the output weights are the embedding's (Press and Wolf 2017).
      implementation: of the recurrence, 'scan' or 'cudnn'; see `Recurrent`.
    """

    vocabulary: int
    hidden: int = 128
    layers: int = 1
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    embedding: int | None = None
    dropout: float = 0.0
    tied: bool = False
    implementation: Literal["scan", "cudnn"] = "scan"

    def setup(self) -> None:
        """Make the layers that all have."""
        if self.embedding is not None and self.embedding < 1:
            raise UserError(f"config.model.embedding: must be at least 1, got {self.embedding}")
        self.recurrent = Recurrent(
            self.hidden,
            layers=self.layers,
            cell=self.cell,
            dropout=self.dropout,
            vocabulary=None if self.embedding else self.vocabulary,
            implementation=self.implementation,
        )
        if self.embedding:
            self.embed = nn.Embed(self.vocabulary, self.embedding)
        if self.tied:
            if self.embedding is None:
                raise UserError(
                    "config.model.tied: shares the embedding with the output; set embedding"
                )
            self.to_embedding = Dense(self.embedding)
            self.bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))
        else:
            self.output = Dense(self.vocabulary)
        self.drop = nn.Dropout(self.dropout)

    def read(self, states: Any, tokens: Tokens, train: bool) -> tuple[Array, Any]:
        """Outputs of the recurrent layers, (batch, time, hidden), and their states."""
        x: Any = tokens
        if self.embedding:
            x = self.drop(embedded(self.embed, tokens), deterministic=not train)
        return self.recurrent(x, states, train=train)

    def logits(self, x: Float[Array, "batch time features"], train: bool) -> Array:
        """Logits of the next token, (batch, time, vocabulary)."""
        x = self.drop(x, deterministic=not train)
        if not self.tied:
            return self.output(x)
        return self.embed.attend(self.to_embedding(x)) + self.bias.astype(x.dtype)


class LanguageModel(Decoder, kw_only=True):
    """A recurrent language model (Mikolov et al. 2010; Karpathy's char-rnn)."""

    def __call__(
        self, tokens: Tokens, *, train: bool = False
    ) -> Float[Array, "batch time {self.vocabulary}"]:
        """(batch, time) -> logits of the token that follows each, from a fresh start."""
        return self.decode(self.initialize_carry(len(tokens)), tokens, train=train)[0]

    def initialize_carry(self, size: int) -> Any:
        """States of zeros, in float32, or in the parameters' type if that is wider."""
        kinds = [w.dtype for w in jax.tree.leaves(self.variables)]
        return self.recurrent.initialize_carry(size, jnp.result_type(jnp.float32, *kinds))

    def decode(self, carry: Any, tokens: Tokens, *, train: bool = False) -> tuple[Array, Any]:
        """Logits of the token that follows each, and the carry after the last.

        A sequence that ends in padding has ended, so the next one starts afresh.
        """
        y, states = self.read(carry, tokens, train)
        going = (tokens[:, -1] != 0)[:, None]
        return self.logits(y, train), jax.tree.map(lambda s: jnp.where(going, s, 0), states)


class Attentive(Decoder, kw_only=True):
    """A decoder that looks at a memory: vectors with a place each, such as encoded words.

    Global attention with the 'general' score, without input feeding (Luong et al. 2015, section
    3.1), so that the recurrence of all time steps runs first, and all of the attention after it.

    Attributes:
      attention: without it, the memory's summary is all that the decoder starts from.
    """

    attention: bool = True

    def setup(self) -> None:
        """Make the layers between memory and decoder."""
        super().setup()
        # LSTMs have two states a layer, others one.
        self.first = Dense(self.layers * self.hidden * (2 if self.cell == "lstm" else 1))
        if self.attention:
            self.query = Dense(self.hidden, use_bias=False)
            self.key = Dense(self.hidden, use_bias=False)
            self.combine = Dense(self.hidden)

    def remember(
        self,
        states: Any,
        memory: Float[Array, "batch places features"],
        mask: Bool[Array, "batch places"],
    ) -> dict[str, Any]:
        """The carry of sequences about to be written, from the states that they start from."""
        if not self.attention:
            return {"states": states}
        return {"states": states, "memory": memory, "keys": self.key(memory), "mask": mask}

    def summarised(self, summary: Float[Array, "batch features"]) -> Any:
        """States to start from, learned from a summary (Bahdanau et al. 2015, appendix A.2.2)."""
        first = jnp.tanh(self.first(summary)).reshape(len(summary), -1, self.hidden)
        states = [first[:, i] for i in range(first.shape[1])]
        count = len(states) // self.layers
        return tuple(tuple(states[i : i + count]) for i in range(0, len(states), count))

    def decode(
        self, carry: dict[str, Any], tokens: Tokens, *, train: bool = False
    ) -> tuple[Array, dict[str, Any]]:
        """Logits of the token that follows each, and the carry after the last."""
        y, states = self.read(carry["states"], tokens, train)
        if self.attention:
            scores = jnp.einsum("bth,bsh->bts", self.query(y), carry["keys"])
            scores = jnp.where(carry["mask"][:, None], scores / self.hidden**0.5, -1e9)
            context = jnp.einsum("bts,bsf->btf", jax.nn.softmax(scores, axis=-1), carry["memory"])
            y = jnp.tanh(self.combine(jnp.concatenate([y, context], axis=-1)))
        return self.logits(y, train), {**carry, "states": states}


class EncoderDecoder(Attentive, kw_only=True):
    """Sequence to sequence: one recurrent network reads, another writes.

    Sutskever et al. 2014, with attention (Bahdanau et al. 2015; the score is Luong's). The decoder
    starts from the encoder's last states if there are as many of them, and otherwise from a learned
    summary.

    Attributes:
      source_vocabulary: number of tokens of what is read. By default what the data has.
      bidirectional: whether it is read in both directions.
      encoder_layers: recurrent layers of the encoder.
    """

    source_vocabulary: int
    bidirectional: bool = True
    encoder_layers: int = 1

    def setup(self) -> None:
        """Make the encoder, and the decoder after it."""
        super().setup()
        self.encoder = Recurrent(
            self.hidden,
            layers=self.encoder_layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            vocabulary=None if self.embedding else self.source_vocabulary,
            implementation=self.implementation,
        )
        if self.embedding:
            self.embed_source = nn.Embed(self.source_vocabulary, self.embedding)

    def __call__(
        self, source: Integer[Array, "batch length"], tokens: Tokens, *, train: bool = False
    ) -> Float[Array, "batch time {self.vocabulary}"]:
        """Sources and the tokens written so far -> logits of the token that follows each."""
        return self.decode(self._encode(source, train), tokens, train=train)[0]

    def initialize_carry(self, size: int, source: Integer[Array, "batch length"]) -> dict[str, Any]:
        """The carry of sequences that answer to `source`."""
        return self._encode(source, False)

    def _encode(self, source: Array, train: bool) -> dict[str, Any]:
        x: Any = source
        if self.embedding:
            x = self.drop(embedded(self.embed_source, source), deterministic=not train)
        mask = source != 0
        memory, states = self.encoder(x, mask=mask, train=train)
        if self.bidirectional or self.encoder_layers != self.layers:
            ends = states[-2:] if self.bidirectional else states[-1:]
            states = self.summarised(jnp.concatenate([state[0] for state in ends], axis=-1))
        return self.remember(states, self.drop(memory, deterministic=not train), mask)


class Captioner(Attentive, kw_only=True):
    """From an image to a sentence: convolutions, and a decoder that looks at their grid.

    As "Show, attend and tell" (Xu et al. 2015, section 3.1), with a small encoder that is trained
    from scratch.

    Attributes:
      widths: outputs of each convolution, 3x3, the image halved by each.
    """

    widths: tuple[int, ...] = (32, 64, 128)

    def setup(self) -> None:
        """Make the convolutions, and the decoder after them."""
        super().setup()
        self.convolutions = [Conv(width, (3, 3), 2) for width in self.widths]

    def __call__(
        self,
        image: Float[Array, "batch height width channels"],
        tokens: Tokens,
        *,
        train: bool = False,
    ) -> Float[Array, "batch time {self.vocabulary}"]:
        """Images and the tokens written so far -> logits of the token that follows each."""
        return self.decode(self._look(image, train), tokens, train=train)[0]

    def initialize_carry(
        self, size: int, image: Float[Array, "batch height width channels"]
    ) -> Any:
        """The carry of sequences about the images."""
        return self._look(image, False)

    def _look(self, image: Array, train: bool) -> dict[str, Any]:
        x = image
        for convolution in self.convolutions:
            x = nn.relu(convolution(x))
        memory = x.reshape(len(x), -1, x.shape[-1])
        summary = self.drop(memory.reshape(len(x), -1), deterministic=not train)
        return self.remember(self.summarised(summary), memory, jnp.ones(memory.shape[:2], bool))
