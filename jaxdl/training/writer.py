"""Writing with what a run has learnt: from its directory alone, its data is not needed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data import abc, pixels
from jaxdl.data.vocabulary import Vocabulary
from jaxdl.errors import UserError
from jaxdl.generation import Draw, Rules, beam_search, extend
from jaxdl.runs import Run
from jaxdl.tasks import LanguageModeling
from jaxdl.training.devices import jit
from jaxdl.training.learnt import Learnt
from jaxdl.training.state import fold

_CHUNK = 16  # tokens a compiled call: what a reader sees at a time


class Writer:
    """What a run has learnt to write.

    Args:
      run: of a language model, encoder-decoder or captioner, with a checkpoint.

    Raises:
      UserError: the run's model does not write, or it has no sound checkpoint.
    """

    def __init__(self, run: Run) -> None:
        learnt = Learnt(run)
        if not isinstance(learnt.task, LanguageModeling) or learnt.model.write is None:
            raise UserError(f"--workdir {run.folder}: its model does not write sequences")
        self.task, self.model, self.vocabularies = learnt.task, learnt.model, learnt.vocabularies
        self._columns, self._transform = learnt.columns, learnt.transform
        state = learnt.state
        self.learnt = learnt.precision.to_compute(state.evaluated), state.variables
        self.step = int(state.step)

    @property
    def vocabulary(self) -> Vocabulary:
        """Of what is written."""
        return self.vocabularies[self.task.tokens]

    def stream(
        self, prompt: str, length: int, draw: Draw, seed: int = 0, conditions: tuple[Any, ...] = ()
    ) -> Iterator[str]:
        """The text, piece by piece as it is written, prompt left out.

        Args:
          prompt: what it begins with; may be empty where sequences have a start.
          length: most tokens to write; a sequence with an end may be shorter.
          draw: from `jaxdl.generation.make_draw`.
          seed: of the draws.
          conditions: arrays (1, ...), what the model answers to.

        Raises:
          UserError: a character of the prompt that was never seen in training, or no prompt where
            one is needed.
        """
        return self._pieces(self._tokens(prompt), length, draw, seed, conditions)

    def _pieces(
        self, tokens: jax.Array, length: int, draw: Draw, seed: int, conditions: tuple[Any, ...]
    ) -> Iterator[str]:
        rules, key = Rules.of(self.vocabulary), fold(seed, "sample")
        program = jit(
            functools.partial(extend, self.model, draw=draw, rules=rules), static_argnums=(6,)
        )
        carry, ids = self._begin(conditions), np.asarray(tokens)[0].tolist()
        said = self.vocabulary.decode(ids)
        for position in range(0, length, _CHUNK):
            tokens, carry = program(*self.learnt, carry, tokens, key, position, _CHUNK)
            ids += np.asarray(tokens)[0, : length - position].tolist()
            last = position + _CHUNK >= length or bool(rules.ended(tokens[0, -1]))
            text = self.vocabulary.decode(ids)
            if not last:  # half a character, of which the next token may be the rest
                text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            yield text[len(said) :]
            if last:
                return
            said, tokens = text, tokens[:, -1:]

    def best(self, prompt: str, length: int, width: int, conditions: tuple[Any, ...] = ()) -> str:
        """The likeliest text that beam search finds, prompt left out.

        Raises:
          UserError: sequences have no end, so that there is no likeliest.
        """
        rules = Rules.of(self.vocabulary)
        if rules.start is None:
            raise UserError("--beam: this model's sequences have no start and end; leave it out")
        search = functools.partial(beam_search, self.model, width=width, rules=rules)
        program = jit(search, static_argnums=(4,))
        given = self._tokens(prompt)
        tokens = program(*self.learnt, self._begin(conditions), given, length)
        said = self.vocabulary.decode(np.asarray(given)[0])
        return self.vocabulary.decode(np.concatenate([given[0], tokens[0]]))[len(said) :]

    def condition(self, text: str | None) -> tuple[Any, ...]:
        """What the model answers to, (1, ...), from what a user gives: a text, an image's path.

        Raises:
          UserError: the model answers to nothing, or to something else.
        """
        wanted = self.task.conditions
        if not wanted and text is None:
            return ()
        if len(wanted) != 1 or text is None:
            names = " and ".join(wanted) or "nothing, so give --prompt alone"
            raise UserError(f"--input: this model answers to {names}")
        (name,) = self.task.conditions
        column = self._columns[name]
        if name in self.vocabularies:
            vocabulary = self.vocabularies[name]
            ids = [vocabulary.start, *_encoded(vocabulary, text, "--input"), vocabulary.end]
            value = np.array([[i for i in ids if i is not None]], np.int32)
        elif len(column["shape"]) == 3 and column["dtype"] == "uint8":
            value = pixels.room(1, tuple(column["shape"]), "--input")
            pixels.decode([Path(text)], value, lambda _: f"--input {text}", resize=True)
        else:
            raise UserError(f"--input: this model answers to {name!r}, no text and no image")
        batch = self._transform({name: jnp.asarray(value)}, fold(0, "transform"))
        return self.task.given(batch)

    def heading(self, number: int) -> str:
        """What stands above a text, so that whoever reads the notation can."""
        return abc.heading(number + 1) if self.task.notation == "abc" else ""

    def remark(self, texts: Sequence[str]) -> str:
        """What is to be said of texts: of tunes, how many of their bars add up."""
        if self.task.notation != "abc":
            return ""
        right, total = abc.share_of_full_bars("\n".join(texts))
        return f"% {right} of {total} bars add up ({right / max(1, total):.1%})\n"

    def _tokens(self, prompt: str) -> jax.Array:
        """The prompt behind the token that starts a sequence, (1, tokens)."""
        start, ids = self.vocabulary.start, _encoded(self.vocabulary, prompt, "--prompt")
        tokens = ids if start is None else [start, *ids]
        if not tokens:
            raise UserError("--prompt: give some text to go on from; this model knows no start")
        return jnp.asarray([tokens], jnp.int32)

    def _begin(self, conditions: tuple[Any, ...]) -> Any:
        assert self.model.begin is not None
        return self.model.begin(*self.learnt, 1, conditions)


def _encoded(vocabulary: Vocabulary, text: str, option: str) -> list[int]:
    try:
        return vocabulary.encode(text).tolist()
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
