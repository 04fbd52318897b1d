"""Music: which keys sound in the next frame, given the frames before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.piano_roll import KeyNames, to_midi
from jaxdl.data.table import BEGINS, Table
from jaxdl.decoding import Sampler, make_key_sampler
from jaxdl.errors import UserError
from jaxdl.metrics import Mean
from jaxdl.tasks.base import GeneratesText

Logits = Float[Array, "batch time keys"]


@dataclass(frozen=True)
class Music(GeneratesText):
    """Negative log-likelihood of each frame, given the frames before it, in nats.

    The sum over the keys of a frame, each of which sounds or not; then the mean over frames, not
    over pieces. Padding does not count. Data is as the source `piano_rolls` has it.

    It reports two means: `loss` of all frames, of which the first of a piece follows silence, and
    `nll` of all but the first of each piece, which is given (as in Bai et al. 2018).

    Args:
      seconds: how long a frame lasts in the MIDI files that `jaxdl sample` writes.
    """

    seconds: float = 0.5
    tokens = "keys"
    continues = "keys"
    headline = ("nll",)

    def __post_init__(self) -> None:
        """Refuse a tempo that no MIDI file can hold."""
        if not 1e-3 <= self.seconds <= 10:
            raise UserError(f"seconds must be in [0.001, 10], got {self.seconds}")

    def loss(self, outputs: Logits, batch: Mapping[str, Any]) -> Array:
        """The sum over the frames of each row, (batch,)."""
        return jnp.sum(self._frames(outputs, batch), axis=1)

    def weight(self, batch: Mapping[str, Any]) -> Array:
        """How many frames of each row are predicted, (batch,)."""
        return batch["length"].astype(jnp.float32)

    def metrics(self, outputs: Logits, batch: Mapping[str, Any]) -> dict[str, Any]:
        """`loss` and `nll` of each row, weighted by its frames."""
        frames, length = self._frames(outputs, batch), self.weight(batch)
        given = batch[BEGINS].astype(frames.dtype)  # frames of the row that are given
        total, rest = jnp.sum(frames, axis=1), length - given
        without = total - given * frames[:, 0]
        return {
            "loss": Mean(total / jnp.maximum(length, 1), length),
            "nll": Mean(without / jnp.maximum(rest, 1), rest),
        }

    def predict(self, outputs: Logits, batch: Mapping[str, Any]) -> Array:
        """The probability of each key in each frame, (batch, time, keys)."""
        return jax.nn.sigmoid(outputs)

    def check(self, table: Table) -> None:
        """Refuse other data than that of `piano_rolls`."""
        table.require(("keys", "length", BEGINS), "The task 'music' needs the source 'piano_rolls'")

    def output_shapes(self, batch: Mapping[str, Any]) -> list[tuple[int, ...]]:
        """A logit for each key of each frame."""
        size, time, keys = batch["keys"].shape
        return [(size, time - 1, keys)]

    def codec(self, vocabularies: Mapping[str, Any]) -> KeyNames:
        """Names of keys."""
        return KeyNames()

    def sampler(self, temperature: float, top_k: int | None, top_p: float | None) -> Sampler:
        """Draws each key by itself."""
        if (top_k, top_p) != (None, None):
            raise UserError(
                "top-k and top-p: are for tokens, but the keys of a frame are drawn one by "
                "one; leave them out"
            )
        return make_key_sampler(temperature)

    def contents(self, texts: Sequence[str], suffix: str) -> bytes:
        """A MIDI file for .mid or .midi: the pieces, with two frames of silence between them."""
        if suffix.lower() not in (".mid", ".midi"):
            return super().contents(texts, suffix)
        frames = KeyNames().encode("\n-\n-\n".join(texts))
        return to_midi(frames, self.seconds)

    def _frames(self, outputs: Logits, batch: Mapping[str, Any]) -> Float[Array, "batch time"]:
        """The negative log-likelihood of each frame; 0 for padding."""
        outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
        sign = 2 * batch["keys"][:, 1:].astype(outputs.dtype) - 1
        frames = jnp.sum(jax.nn.softplus(-sign * outputs), axis=-1)
        return jnp.where(np.arange(frames.shape[1]) < batch["length"][:, None], frames, 0)
