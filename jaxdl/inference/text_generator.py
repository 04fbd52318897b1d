"""Text from a trained run, from its directory alone: its data is not needed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.images import pixels
from jaxdl.decoding import Sampler, TokenRules, beam_search, generate
from jaxdl.errors import UserError
from jaxdl.inference.restored import RestoredRun
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import GeneratesText
from jaxdl.training.state import fold

_CHUNK = 16  # tokens of a compiled call, and so of a piece of text


class TextGenerator:
    """Generates text with a trained run.

    Args:
      restored: of a language model, encoder-decoder or captioner, with a checkpoint.

    Raises:
      UserError: the run's model does not generate text, or it has no sound checkpoint.
    """

    def __init__(self, restored: RestoredRun) -> None:
        task, model = restored.task, restored.model
        if not isinstance(task, GeneratesText) or model.decode is None:
            folder = restored.directory.folder
            raise UserError(f"{folder}: its model does not generate text")
        self.task, self.model, self.vocabularies = task, model, restored.vocabularies
        self._columns, self._transform = restored.columns, restored.transforms.always
        self._fit = restored.fit
        state = restored.state
        self.weights = restored.precision.to_compute(state.eval_params), state.model_state
        self.step = int(state.step)

    @property
    def vocabulary(self) -> Any:
        """The vocabulary of the text, or another notation of the task's."""
        return self.task.codec(self.vocabularies)

    def write(
        self,
        prompt: str,
        length: int,
        conditions: tuple[Any, ...] = (),
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        beam: int | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """The text after the prompt, in pieces: drawn, as by `stream`, or by beam search.

        Args:
          prompt, length, seed, conditions: see `stream`.
          temperature, top_k, top_p: of the task's `sampler`. The temperature is by default 1, and 0
            with conditions: a translation should be as likely as can be, a free text should not.
          beam: width of a beam search instead, see `best`; it gives one piece.

        Raises:
          UserError: as `stream` and `best`, or a setting is out of range.
        """
        if beam is not None:
            return iter([self.best(prompt, length, beam, conditions)])
        if temperature is None:
            temperature = 0.0 if conditions else 1.0
        draw = self.task.sampler(temperature, top_k, top_p)
        return self.stream(prompt, length, draw, seed, conditions)

    def stream(
        self,
        prompt: str,
        length: int,
        draw: Sampler,
        seed: int = 0,
        conditions: tuple[Any, ...] = (),
    ) -> Iterator[str]:
        """The text after the prompt, in pieces, as it is generated.

        Args:
          prompt: the beginning of the text; may be empty if the vocabulary has a start token.
          length: the most tokens to generate; a text with an end token may be shorter.
          draw: from the task's `sampler`.
          seed: of the samples.
          conditions: arrays (1, ...) of the model's other inputs, from `condition`.

        Raises:
          UserError: the prompt has a character that is not in the vocabulary, or is missing.
        """
        return self._pieces(self._tokens(prompt), length, draw, seed, conditions)

    def _pieces(
        self, tokens: jax.Array, length: int, draw: Sampler, seed: int, conditions: tuple[Any, ...]
    ) -> Iterator[str]:
        rules, key = TokenRules.of(self.vocabulary), fold(seed, "sample")
        program = jit(
            functools.partial(generate, self.model, draw=draw, rules=rules), static_argnums=(6,)
        )
        carry, ids = self._begin(conditions), np.asarray(tokens)[0].tolist()
        text = self.vocabulary.decode(ids)
        for position in range(0, length, _CHUNK):
            tokens, carry = program(*self.weights, carry, tokens, key, position, _CHUNK)
            ids += np.asarray(tokens)[0, : length - position].tolist()
            last = position + _CHUNK >= length or bool(rules.ended(tokens[0, -1]).all())
            shown, text = len(text), self.vocabulary.decode(ids)
            if not last:  # part of a character, which the next token may complete
                text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            yield text[shown:]
            if last:
                return
            tokens = tokens[:, -1:]

    def best(self, prompt: str, length: int, width: int, conditions: tuple[Any, ...] = ()) -> str:
        """The likeliest text that beam search finds, without the prompt.

        Args:
          prompt: the beginning of the text.
          length: the most tokens to generate.
          width: of the beam.
          conditions: see `stream`.

        Raises:
          UserError: sequences have no end token, so that none is the likeliest.
        """
        rules = TokenRules.of(self.vocabulary)
        if rules.end is None:
            raise UserError("beam: sequences of this model have no end token; leave it out")
        search = functools.partial(beam_search, self.model, width=width, rules=rules)
        program = jit(search, static_argnums=(4,))
        start = self._tokens(prompt)
        tokens = program(*self.weights, self._begin(conditions), start, length)
        shown = len(self.vocabulary.decode(np.asarray(start)[0]))
        return self.vocabulary.decode(np.concatenate([start[0], tokens[0]]))[shown:]

    def condition(self, text: str | Path | None) -> tuple[Any, ...]:
        """The model's other input, arrays (1, ...), from a text or the path of an image.

        Raises:
          UserError: the model has no such input, or one of another kind.
        """
        names = self.task.conditions
        if not names and text is None:
            return ()
        if len(names) != 1 or text is None:
            inputs = " and ".join(names) or "nothing, so give --prompt alone"
            raise UserError(f"input: this model answers to {inputs}")
        if not isinstance(text, str | Path):
            raise UserError("input: give a text, or the path of an image")
        (name,) = names
        column = self._columns[name]
        if name in self.vocabularies:
            vocabulary = self.vocabularies[name]
            ids = [vocabulary.start, *_encoded(vocabulary, str(text), "input"), vocabulary.end]
            value = np.array([[i for i in ids if i is not None]], np.int32)
        elif len(column["shape"]) == 3 and column["dtype"] == "uint8":
            value = pixels.room(1, tuple(column["shape"]), "input")
            pixels.decode([Path(text)], value, lambda _: f"input {text}", self._fit)
        else:
            raise UserError(f"input: this model answers to {name!r}, neither a text nor an image")
        batch = self._transform({name: jnp.asarray(value)}, fold(0, "transform"))
        return self.task.condition_inputs(batch)

    def _tokens(self, prompt: str) -> jax.Array:
        """The prompt after the start token, if there is one: (1, tokens)."""
        start, ids = self.vocabulary.start, _encoded(self.vocabulary, prompt, "prompt")
        tokens = ids if start is None else [start, *ids]
        if not tokens:
            raise UserError("prompt: give some text to continue; this model has no start token")
        return jnp.asarray([tokens], jnp.int32)

    def _begin(self, conditions: tuple[Any, ...]) -> Any:
        assert self.model.initialize_carry is not None
        return self.model.initialize_carry(*self.weights, 1, conditions)


def _encoded(vocabulary: Any, text: str, option: str) -> list[Any]:
    try:
        return vocabulary.encode(text).tolist()
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
