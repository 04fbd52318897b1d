"""Writing sequences: greedily, by sampling, by beam search. Pure functions of a model that writes.

    draw, learnt = make_draw(temperature=0.8, top_p=0.95), (params, variables)
    carry = model.begin(*learnt, size)
    tokens, carry = extend(model, *learnt, carry, prompt, key, 0, 100, draw=draw, rules=rules)

The loop over tokens is part of the compiled program, so a token costs a step of the model and no
more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.models.functional import Model

Draw = Callable[[PRNGKeyArray, Array], Array]


class Rules(NamedTuple):
    """What a vocabulary asks of a writer.

    Attributes:
      start: the token that every sequence starts with, or None.
      end: the token that ends a sequence, or None where it is endless. Padding follows it.
      never: tokens that are never written, such as padding.
    """

    start: int | None = None
    end: int | None = None
    never: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, vocabulary: Any) -> Rules:
        """The rules of a `jaxdl.data.vocabulary.Vocabulary`."""
        special = (vocabulary.start, vocabulary.unknown)
        return cls(
            vocabulary.start,
            vocabulary.end,
            (0, *(token for token in special if token is not None)),
        )

    def allowed(self, logits: Float[Array, "*batch vocabulary"]) -> Array:
        """The logits, with minus infinity for what is never written."""
        return logits.at[..., jnp.asarray(self.never)].set(-jnp.inf)

    def ended(self, tokens: Int[Array, "*batch"]) -> Array:
        """Whether a sequence with this last token has ended."""
        if self.end is None:
            return jnp.zeros(tokens.shape, bool)
        return (tokens == self.end) | (tokens == 0)


def make_draw(
    temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Draw:
    """A function (key, logits (batch, vocabulary)) -> tokens (batch,).

    Args:
      temperature: divides the logits; 0 is greedy, the likeliest token.
      top_k: draw among so many likeliest tokens.
      top_p: draw among the fewest tokens that have this probability together (Holtzman et al.
        2020, section 3.1).

    Raises:
      UserError: a number outside its range.
    """
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature: expected a number from 0 (greedy), got {temperature}")
    if top_k is not None and top_k < 1:
        raise UserError(f"top-k: expected at least 1 token, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"top-p: expected a probability above 0 and at most 1, got {top_p}")

    def draw(key: PRNGKeyArray, logits: Float[Array, "batch vocabulary"]) -> Array:
        if temperature == 0:
            return jnp.argmax(logits, axis=-1)
        logits = logits / temperature
        if top_k is not None:
            least = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][:, -1:]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        if top_p is not None:
            down = jnp.sort(logits, axis=-1, descending=True)
            p = jax.nn.softmax(down, axis=-1)
            before = jnp.cumsum(p, axis=-1) - p  # what the likelier ones have together
            least = jnp.min(jnp.where(before < top_p, down, jnp.inf), axis=-1, keepdims=True)
            logits = jnp.where(logits < least, -jnp.inf, logits)
        return jax.random.categorical(key, logits, axis=-1)

    return draw


def extend(
    model: Model,
    params: Any,
    variables: Any,
    carry: Any,
    tokens: Integer[Array, "batch given"],
    key: PRNGKeyArray,
    position: Any,
    length: int,
    *,
    draw: Draw,
    rules: Rules,
) -> tuple[Int[Array, "batch {length}"], Any]:
    """Read tokens, then write up to `length` more.

    Writing on from the last token gives the same as writing longer in one go: what is drawn
    depends on the key and the position only.

    Args:
      model: has `begin` and `write`.
      params: its parameters.
      variables: its variables.
      carry: what it remembers from before these tokens.
      tokens: what to read; nothing is written for a sequence that ended with them.
      key: of the draws.
      position: how many tokens were written before.
      length: how many to write, static.
      draw: from `make_draw`.
      rules: of the vocabulary.

    Returns:
      The tokens, padded behind the end of a sequence, and the carry before the last of them.
    """
    write = model.write
    assert write is not None
    logits, carry = write(params, variables, carry, tokens, None, False)

    def choose(i: Any, logits: Array, last: Array) -> Array:
        drawn = draw(jax.random.fold_in(key, position + i), rules.allowed(logits[:, -1]))
        return jnp.where(rules.ended(last), 0, drawn.astype(jnp.int32))

    first = choose(0, logits, tokens[:, -1])
    written = jnp.zeros((len(tokens), length), jnp.int32).at[:, 0].set(first)

    def more(loop: Any) -> Array:
        i, last, _, _ = loop
        return (i < length) & ~jnp.all(rules.ended(last))

    def body(loop: Any) -> Any:
        i, last, written, carry = loop
        logits, carry = write(params, variables, carry, last[:, None], None, False)
        new = choose(i, logits, last)
        return i + 1, new, written.at[:, i].set(new), carry

    *_, written, carry = jax.lax.while_loop(more, body, (jnp.int32(1), first, written, carry))
    return written, carry


def beam_search(
    model: Model,
    params: Any,
    variables: Any,
    carry: Any,
    tokens: Integer[Array, "batch given"],
    length: int,
    *,
    width: int,
    rules: Rules,
    penalty: float = 0.6,
) -> Int[Array, "batch {length}"]:
    """The likeliest sequences of up to `length` tokens behind the given ones, by beam search.

    Args:
      model: has `begin` and `write`.
      params: its parameters.
      variables: its variables.
      carry: what it remembers from before the tokens.
      tokens: what to read first.
      length: how many tokens to write at most, static.
      width: how many sequences are kept at each step.
      rules: of the vocabulary.
      penalty: α of Wu et al. 2016, eq. 14: log-probabilities are divided by
        ((5 + length) / 6)^α, since longer sequences are less likely; 0 leaves them.

    Returns:
      The best of the `width` sequences, padded behind its end.
    """
    write = model.write
    assert write is not None
    size = len(tokens)
    logits, carry = write(params, variables, carry, tokens, None, False)
    log_p = jax.nn.log_softmax(rules.allowed(logits[:, -1]), axis=-1)
    vocabulary = log_p.shape[-1]
    only_padding = jnp.where(jnp.arange(vocabulary) == 0, 0.0, -jnp.inf).astype(log_p.dtype)
    # The beams of an example stand side by side. At first all are alike, so one alone counts.
    carry = jax.tree.map(lambda x: jnp.repeat(x, width, axis=0), carry)
    sums = jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf).astype(log_p.dtype)
    sums = jnp.broadcast_to(sums, (size, width))
    log_p = jnp.repeat(log_p[:, None], width, axis=1)
    ended = jnp.repeat(rules.ended(tokens[:, -1])[:, None], width, axis=1)

    def choose(i: Any, sums: Array, log_p: Array, ended: Array, written: Array) -> Any:
        steps = jnp.where(ended[..., None], only_padding, log_p)
        everything = (sums[..., None] + steps).reshape(size, width * vocabulary)
        sums, best = jax.lax.top_k(everything, width)
        beam, token = jnp.divmod(best, vocabulary)
        written = jnp.take_along_axis(written, beam[..., None], axis=1).at[:, :, i].set(token)
        rows = (jnp.arange(size)[:, None] * width + beam).reshape(-1)
        return sums, token, written, rows

    def more(loop: Any) -> Array:
        i, _, last, _, _ = loop
        return (i < length) & ~jnp.all(rules.ended(last))

    def body(loop: Any) -> Any:
        i, sums, last, written, carry = loop
        logits, carry = write(params, variables, carry, last.reshape(-1, 1), None, False)
        log_p = jax.nn.log_softmax(rules.allowed(logits[:, -1]), axis=-1)
        log_p = log_p.reshape(size, width, vocabulary)
        sums, token, written, rows = choose(i, sums, log_p, rules.ended(last), written)
        return i + 1, sums, token, written, jax.tree.map(lambda x: x[rows], carry)

    written = jnp.zeros((size, width, length), jnp.int32)
    sums, last, written, rows = choose(0, sums, log_p, ended, written)
    carry = jax.tree.map(lambda x: x[rows], carry)
    start = (jnp.int32(1), sums, last, written, carry)
    _, sums, _, written, _ = jax.lax.while_loop(more, body, start)
    lengths = jnp.sum(written != 0, axis=-1)
    best = jnp.argmax(sums / ((5 + lengths) / 6) ** penalty, axis=1)
    return jnp.take_along_axis(written, best[:, None, None], axis=1)[:, 0]
