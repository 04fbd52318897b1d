"""Language modelling: the next token, given those before and what they are conditioned on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.table import Table
from jaxdl.data.text import abc
from jaxdl.errors import UserError, check_choices
from jaxdl.metrics import Mean
from jaxdl.tasks.base import GeneratesText
from jaxdl.tasks.scores import SCORES

Logits = Float[Array, "batch time vocabulary"]


@dataclass(frozen=True)
class LanguageModeling(GeneratesText):
    """Cross-entropy of each token of a sequence, given the tokens before it, in nats.

    With `conditions` it is translation, captioning and the like. Every token but the first and the
    padding, token 0, counts once: the loss is a mean over tokens, not over sequences.

    Args:
      tokens: column of the sequences, integers (examples, time).
      conditions: columns that the model takes before the tokens, such as 'source' or 'image'.
      label_smoothing: ε in [0, 1), as in `Classification`; the reported loss is without it.
      scores: scores of the sequences generated for the conditions of every example, against all
        texts with the same conditions: 'bleu', 'exact_match'.
      beam: width of the beam search that generates them; 1 is greedy.
      notation: 'abc' if the sequences are tunes: `jaxdl sample` then checks the length of bars.
    """

    tokens: str = "tokens"
    conditions: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    scores: tuple[str, ...] = ()
    beam: int = 1
    notation: Literal["text", "abc"] = "text"

    @property
    def continues(self) -> str | None:  # type: ignore[override]
        """The tokens, unless there are conditions: only a text goes on from batch to batch."""
        return None if self.conditions else self.tokens

    @property
    def headline(self) -> tuple[str, ...]:  # type: ignore[override]
        """Perplexity, and the scores."""
        return ("perplexity", *self.scores)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        check_choices(self)
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.beam < 1:
            raise UserError(f"beam must be at least 1, got {self.beam}")
        for name in self.scores:
            if name not in SCORES:
                raise UserError(f"scores: unknown {name!r}; choose from {', '.join(SCORES)}")
        if self.scores and not self.conditions:
            raise UserError("scores: compare texts that share conditions; set conditions too")

    def loss(self, outputs: Logits, batch: Mapping[str, Any]) -> Array:
        """Cross-entropy summed over the tokens of each example, (batch,)."""
        return self._cross_entropy(outputs, batch, self.label_smoothing)

    def weight(self, batch: Mapping[str, Any]) -> Array:
        """How many tokens of each example are predicted, (batch,)."""
        return jnp.sum(self._targets(batch) != 0, axis=1).astype(jnp.float32)

    def metrics(self, outputs: Logits, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Loss and accuracy of each example, weighted by its tokens."""
        targets, tokens = self._targets(batch), self.weight(batch)
        right = (self.predict(outputs, batch) == targets) & (targets != 0)
        count = jnp.maximum(tokens, 1)
        return {
            "loss": Mean(self._cross_entropy(outputs, batch, 0.0) / count, tokens),
            "accuracy": Mean(jnp.sum(right, axis=1) / count, tokens),
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

    def score(self, generated: Sequence[str], table: Table) -> dict[str, float]:
        """The scores of what a model generated for each example of a split."""
        references = self.references(table)
        return {name: SCORES[name](generated, references) for name in self.scores}

    def heading(self, number: int) -> str:
        """The head of an ABC tune."""
        return abc.heading(number + 1) if self.notation == "abc" else ""

    def remark(self, texts: Sequence[str]) -> str:
        """Of tunes, how many of their bars add up."""
        if self.notation != "abc":
            return ""
        right, total = abc.share_of_full_bars("\n".join(texts))
        return f"% {right} of {total} bars add up ({right / max(1, total):.1%})\n"

    def references(self, table: Table) -> list[tuple[str, ...]]:
        """Each example's text, and those of the others with the same conditions.

        A photo with five captions, say, is five examples, and any of the captions is right.
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

    def check(self, table: Table) -> None:
        """Refuse missing columns, and tokens that are not padded sequences of at least two."""
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
                f"{table.where}: example {short[0]} has fewer than two tokens, so nothing to "
                f"predict ({len(short)} such); remove it, or add start and end tokens with "
                "ends=true"
            )

    def _targets(self, batch: Mapping[str, Any]) -> Array:
        return jnp.asarray(batch[self.tokens])[:, 1:].astype(jnp.int32)

    def _cross_entropy(
        self, outputs: Logits, batch: Mapping[str, Any], smoothing: float | Array
    ) -> Array:
        targets = self._targets(batch)
        # log Σ exp - the target's logit, so that the log-probabilities are never written out.
        total = jax.nn.logsumexp(outputs, axis=-1)
        chosen = jnp.take_along_axis(outputs, targets[..., None], axis=-1)[..., 0]
        wrong = total - (1 - smoothing) * chosen
        if smoothing:
            wrong = wrong - smoothing * jnp.mean(outputs, axis=-1)
        return jnp.sum(jnp.where(targets != 0, wrong, 0), axis=1)
