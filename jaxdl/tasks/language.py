"""Language modelling: the next token, given those before and what they are conditioned on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import Mean
from jaxdl.tasks.scores import SCORES

Logits = Float[Array, "batch time vocabulary"]


@dataclass(frozen=True)
class LanguageModeling:
    """Cross-entropy of each token of a sequence, given the tokens before it, in nats.

    With `conditions` it is translation, captioning or any other writing about something. Padding,
    token 0, counts for nothing; every other token but the first counts once, so the loss is the
    mean over tokens, not over sequences.

    Args:
      tokens: column of the sequences, integers (examples, time).
      conditions: columns that the model takes before the tokens, such as 'source' or 'image'.
      label_smoothing: ε in [0, 1), as in `Classification`; the reported loss is without it.
      scores: what is measured of sequences that the model writes for the conditions of every
        example, against all texts with the same conditions: 'bleu', 'exact_match'.
      beam: width of the beam search that writes them; 1 is greedy.
      notation: 'abc' where the sequences are tunes, whose bars `jaxdl sample` then adds up.
    """

    tokens: str = "tokens"
    conditions: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    scores: tuple[str, ...] = ()
    beam: int = 1
    notation: Literal["text", "abc"] = "text"

    reduction: ClassVar[Literal["mean"]] = "mean"

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.beam < 1:
            raise UserError(f"beam must be at least 1, got {self.beam}")
        for name in self.scores:
            if name not in SCORES:
                raise UserError(f"scores: unknown {name!r}; there are {', '.join(SCORES)}")
        if self.scores and not self.conditions:
            raise UserError("scores compare with what the conditions ask for; set conditions")

    def inputs(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The conditions, and every token but the last."""
        return (*self.given(batch), batch[self.tokens][:, :-1])

    def given(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The conditions alone."""
        return tuple(batch[name] for name in self.conditions)

    def loss(self, outputs: Logits, batch: Mapping[str, Any]) -> Array:
        """Cross-entropy summed over the tokens of each example, (batch,)."""
        return self._cross_entropy(outputs, batch, self.label_smoothing)

    def weight(self, batch: Mapping[str, Any]) -> Array:
        """How many tokens of each example are predicted, (batch,)."""
        return jnp.sum(self._targets(batch) != 0, axis=1).astype(jnp.float32)

    def penalty(self, params: Any) -> float:
        """None: weight decay belongs to the optimiser."""
        return 0.0

    def metrics(self, outputs: Logits, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Loss and accuracy of each example, weighted by its tokens."""
        targets, tokens = self._targets(batch), self.weight(batch)
        right = (self.predict(outputs, batch) == targets) & (targets != 0)
        each = jnp.maximum(tokens, 1)
        return {
            "loss": Mean(self._cross_entropy(outputs, batch, 0.0) / each, tokens),
            "accuracy": Mean(jnp.sum(right, axis=1) / each, tokens),
        }

    def report(self, means: Mapping[str, np.ndarray], table: Table) -> dict[str, Any]:
        """Loss (nats a token), perplexity, bits a character of the text, accuracy."""
        loss = float(means["loss"])
        shown = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
        vocabulary = table.vocabularies.get(self.tokens)
        if vocabulary is not None:
            targets = table.columns[self.tokens][:, 1:]
            text = sum(len(vocabulary.decode(row)) for row in targets)
            bits = loss * int(np.count_nonzero(targets)) / math.log(2)
            shown["bits_per_character"] = bits / max(1, text)
        return {**shown, "accuracy": float(means["accuracy"])}

    def score(self, written: Sequence[str], table: Table) -> dict[str, float]:
        """The scores of what a model wrote for each example of a split."""
        references = self.references(table)
        return {name: SCORES[name](written, references) for name in self.scores}

    def references(self, table: Table) -> list[tuple[str, ...]]:
        """Each example's text, and those of the others with the same conditions.

        A photo with five captions, say, stands in a split five times: any of them is right.
        """
        rows = zip(*(table.columns[name] for name in self.conditions), strict=True)
        keys = [tuple(condition.tobytes() for condition in row) for row in rows]
        texts: dict[tuple[bytes, ...], list[str]] = {}
        for key, text in zip(keys, table.texts[self.tokens], strict=True):
            texts.setdefault(key, []).append(text)
        return [tuple(texts[key]) for key in keys]

    def predict(self, outputs: Logits, batch: Mapping[str, Any]) -> Array:
        """The likeliest next token at each place, (batch, time)."""
        return jnp.argmax(outputs, axis=-1)

    def output_shapes(self, batch: Mapping[str, Any]) -> list[tuple[int, ...]]:
        """Any number of logits a token: the vocabulary decides."""
        return []

    def check(self, table: Table) -> None:
        """Refuse missing columns, and tokens that are no padded sequences of at least two."""
        remedy = "Name columns in config.data.tokenize, config.task.tokens and conditions"
        table.require((*self.conditions, self.tokens), remedy)
        tokens = table.columns[self.tokens]
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise UserError(
                f"{table.where}: column {self.tokens!r} must hold token ids, (examples, time), "
                f"got shape {tokens.shape} of {tokens.dtype}; make it with config.data.tokenize"
            )
        short = np.flatnonzero(np.count_nonzero(tokens, axis=1) < 2)
        if len(short):
            raise UserError(
                f"{table.where}: example {short[0]} has fewer than two tokens, so none to predict "
                f"({len(short)} such); remove it, or frame sequences with ends=true"
            )

    def _targets(self, batch: Mapping[str, Any]) -> Array:
        return jnp.asarray(batch[self.tokens])[:, 1:].astype(jnp.int32)

    def _cross_entropy(self, outputs: Logits, batch: Mapping[str, Any], smoothing: float) -> Array:
        targets = self._targets(batch)
        # log Σ exp - the target's logit, so that the log-probabilities are never written out.
        total = jax.nn.logsumexp(outputs, axis=-1)
        chosen = jnp.take_along_axis(outputs, targets[..., None], axis=-1)[..., 0]
        wrong = total - (1 - smoothing) * chosen
        if smoothing:
            wrong = wrong - smoothing * jnp.mean(outputs, axis=-1)
        return jnp.sum(jnp.where(targets != 0, wrong, 0), axis=1)
