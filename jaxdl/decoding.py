"""Generating sequences: greedily, by sampling, or by beam search.

    draw = make_sampler(temperature=0.8, top_p=0.95)
    carry = model.initialize_carry(params, model_state, batch_size)
    tokens, carry = generate(
        model, params, model_state, carry, prompt, key, 0, 100, draw=draw, rules=rules
    )

All functions are pure. The loop over tokens runs inside the compiled program, so that a token costs
one step of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.models.functional import Model

Sampler = Callable[[PRNGKeyArray, Array], Array]


class TokenRules(NamedTuple):
    """How sequences of a vocabulary start and end, and which tokens are not generated.

    Attributes:
      start: the token that every sequence starts with, or None.
      end: the token that ends a sequence, followed by padding; None if sequences do not end.
      never: tokens that are never generated, such as padding.
    """

    start: int | None = None
    end: int | None = None
    never: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, vocabulary: Any) -> TokenRules:
        """The rules of a `jaxdl.data.text.vocabulary.Vocabulary`."""
        return cls(vocabulary.start, vocabulary.end, vocabulary.never)

    def allowed(self, logits: Float[Array, "*batch vocabulary"]) -> Array:
        """The logits, with minus infinity for the tokens that are never generated."""
        return logits.at[..., jnp.asarray(self.never, int)].set(-jnp.inf)

    def ended(self, tokens: Int[Array, "*batch"]) -> Array:
        """Whether sequences with these last tokens have ended."""
        if self.end is None:
            return jnp.zeros(tokens.shape, bool)
        return (tokens == self.end) | (tokens == 0)


def make_sampler(
    temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Sampler:
    """A function (key, logits (batch, vocabulary)) -> tokens (batch,).

    Args:
      temperature: divides the logits; 0 is greedy, the likeliest token.
      top_k: draw among the k likeliest tokens.
      top_p: draw among the fewest tokens whose probabilities sum to p or more (Holtzman et al.
        2020, section 3.1).

    Raises:
      UserError: an argument is out of range.
    """
    _require_temperature(temperature)
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
            before = jnp.cumsum(p, axis=-1) - p  # the sum over likelier tokens
            least = jnp.min(jnp.where(before < top_p, down, jnp.inf), axis=-1, keepdims=True)
            logits = jnp.where(logits < least, -jnp.inf, logits)
        return jax.random.categorical(key, logits, axis=-1)

    return draw


def make_key_sampler(temperature: float = 1.0) -> Sampler:
    """A function (key, logits (batch, keys)) -> frames (batch, keys), each key 1 or 0 by itself.

    Args:
      temperature: divides the logits; 0 takes the keys that are likelier than not.

    Raises:
      UserError: it is negative or not finite.
    """
    _require_temperature(temperature)

    def draw(key: PRNGKeyArray, logits: Float[Array, "batch keys"]) -> Array:
        if temperature == 0:
            return logits > 0
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits / temperature))

    return draw


def _require_temperature(temperature: float) -> None:
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature: expected a number from 0 (greedy), got {temperature}")


def generate(
    model: Model,
    params: Any,
    model_state: Any,
    carry: Any,
    tokens: Integer[Array, "batch prompt *keys"],
    key: PRNGKeyArray,
    position: Any,
    length: int,
    *,
    draw: Sampler,
    rules: TokenRules,
) -> tuple[Int[Array, "batch {length} *keys"], Any]:
    """Read tokens, then generate up to `length` more.

    Several calls, each reading the last token of the one before, give the same as one long call:
    the random draws depend on the key and the position only.

    Args:
      model: has `initialize_carry` and `decode`.
      params: of the model.
      model_state: of the model.
      carry: from `model.initialize_carry`, or from the previous call.
      tokens: to read first, or frames of keys; a sequence that ends with them gets padding only.
      key: of the random draws.
      position: how many tokens were generated by previous calls.
      length: how many to generate, static.
      draw: from `make_sampler`.
      rules: of the vocabulary.

    Returns:
      The new tokens, padded after the end of each sequence, and the carry before the last of them.
    """
    decode = model.decode
    assert decode is not None
    logits, carry = decode(params, model_state, carry, tokens, None, False)

    def choose(i: Any, logits: Array, last: Array) -> Array:
        new = draw(jax.random.fold_in(key, position + i), rules.allowed(logits[:, -1]))
        return jnp.where(rules.ended(last), 0, new.astype(jnp.int32))

    first = choose(0, logits, tokens[:, -1])
    generated = jnp.zeros((len(tokens), length, *tokens.shape[2:]), jnp.int32).at[:, 0].set(first)

    def more(loop: Any) -> Array:
        i, last, _, _ = loop
        return (i < length) & ~jnp.all(rules.ended(last))

    def body(loop: Any) -> Any:
        i, last, generated, carry = loop
        logits, carry = decode(params, model_state, carry, last[:, None], None, False)
        new = choose(i, logits, last)
        return i + 1, new, generated.at[:, i].set(new), carry

    *_, generated, carry = jax.lax.while_loop(more, body, (jnp.int32(1), first, generated, carry))
    return generated, carry


def beam_search(
    model: Model,
    params: Any,
    model_state: Any,
    carry: Any,
    tokens: Integer[Array, "batch prompt"],
    length: int,
    *,
    width: int,
    rules: TokenRules,
    penalty: float = 0.6,
) -> Int[Array, "batch {length}"]:
    """The likeliest continuations of up to `length` tokens, by beam search.

    Args:
      model: has `initialize_carry` and `decode`.
      params: of the model.
      model_state: of the model.
      carry: from `model.initialize_carry`.
      tokens: to read first.
      length: the most tokens to generate, static.
      width: number of beams of each example.
      rules: of the vocabulary.
      penalty: α of Wu et al. 2016, eq. 14: log-probabilities are divided by
        ((5 + length) / 6)^α, since longer sequences are less likely; 0 leaves them.

    Returns:
      The best of the beams of each example, padded after its end.
    """
    decode = model.decode
    assert decode is not None
    size = len(tokens)
    logits, carry = decode(params, model_state, carry, tokens, None, False)
    log_p = jax.nn.log_softmax(rules.allowed(logits[:, -1]), axis=-1)
    vocabulary = log_p.shape[-1]
    only_padding = jnp.where(jnp.arange(vocabulary) == 0, 0.0, -jnp.inf).astype(log_p.dtype)
    # Rows are (example, beam). All beams start alike, so at first only one of them counts.
    carry = jax.tree.map(lambda x: jnp.repeat(x, width, axis=0), carry)
    sums = jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf).astype(log_p.dtype)
    sums = jnp.broadcast_to(sums, (size, width))
    log_p = jnp.repeat(log_p[:, None], width, axis=1)
    ended = jnp.repeat(rules.ended(tokens[:, -1])[:, None], width, axis=1)

    def choose(i: Any, sums: Array, log_p: Array, ended: Array, generated: Array) -> Any:
        steps = jnp.where(ended[..., None], only_padding, log_p)
        candidates = (sums[..., None] + steps).reshape(size, width * vocabulary)
        sums, best = jax.lax.top_k(candidates, width)
        beam, token = jnp.divmod(best, vocabulary)
        generated = jnp.take_along_axis(generated, beam[..., None], axis=1).at[:, :, i].set(token)
        rows = (jnp.arange(size)[:, None] * width + beam).reshape(-1)
        return sums, token, generated, rows

    def more(loop: Any) -> Array:
        i, _, last, _, _ = loop
        return (i < length) & ~jnp.all(rules.ended(last))

    def body(loop: Any) -> Any:
        i, sums, last, generated, carry = loop
        logits, carry = decode(params, model_state, carry, last.reshape(-1, 1), None, False)
        log_p = jax.nn.log_softmax(rules.allowed(logits[:, -1]), axis=-1)
        log_p = log_p.reshape(size, width, vocabulary)
        sums, token, generated, rows = choose(i, sums, log_p, rules.ended(last), generated)
        return i + 1, sums, token, generated, jax.tree.map(lambda x: x[rows], carry)

    generated = jnp.zeros((size, width, length), jnp.int32)
    sums, last, generated, rows = choose(0, sums, log_p, ended, generated)
    carry = jax.tree.map(lambda x: x[rows], carry)
    start = (jnp.int32(1), sums, last, generated, carry)
    _, sums, _, generated, _ = jax.lax.while_loop(more, body, start)
    lengths = jnp.sum(generated != 0, axis=-1)
    best = jnp.argmax(sums / ((5 + lengths) / 6) ** penalty, axis=1)
    return jnp.take_along_axis(generated, best[:, None, None], axis=1)[:, 0]
