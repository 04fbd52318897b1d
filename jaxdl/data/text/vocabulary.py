"""Vocabularies: from text to the integers that a model reads and writes, and back.

Id 0 is padding in every vocabulary. In a framed one, 1 starts and 2 ends a sequence; then come the
symbols, the unknown word first if there is one.
"""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Int32
from numpy.typing import ArrayLike

from jaxdl import json_files
from jaxdl.errors import UserError, reason

PAD = 0

_UNKNOWN = "<unk>"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What an apostrophe or hyphen ties to the word before it; a word, with the point or comma inside a
# number; the end of a line; any other mark by itself.
_WORD = re.compile(r"(?<=\w)['’\-]\w+|\w+(?:(?<=\d)[.,]\d+)*|\n|[^\w\s]")
_QUOTES = frozenset('"“”„')  # alternately opening and closing, in any language
_OPENING = frozenset("([{«‘‚¿¡$#/\n")  # no space after these
_CLOSING = frozenset(",.;:!?)]}»'’%…/\n")  # no space before these
_SPACE = "▁"  # what sentencepiece writes for a space


@dataclass(frozen=True, kw_only=True)
class Vocabulary(ABC):
    """The numbered symbols of a kind of text; equal if they have the same numbers.

    Attributes:
      framed: sequences start and end with special tokens, which have ids.
      lower: texts are converted to lower case.
    """

    framed: bool = False
    lower: bool = False

    @property
    def start(self) -> int | None:
        """Id of the token that starts a sequence; None if not framed."""
        return 1 if self.framed else None

    @property
    def end(self) -> int | None:
        """Id of the token that ends a sequence; None if not framed."""
        return 2 if self.framed else None

    @property
    def unknown(self) -> int | None:
        """Id of all words that are not in the vocabulary; None if it has no such id."""
        return None

    @property
    def never(self) -> tuple[int, ...]:
        """Ids that are never generated: padding, the start and the unknown word."""
        return (PAD, *(id for id in (self.start, self.unknown) if id is not None))

    @abstractmethod
    def __len__(self) -> int:
        """The number of ids, including padding and frame."""

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """The ids of a text, without a frame.

        Raises:
          UserError: a character is not in the vocabulary.
        """
        return np.asarray(self._ids(text.lower() if self.lower else text), np.int32)

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids (tokens,), up to the first that ends a sequence, without padding."""
        known = np.asarray(ids, np.int64)
        if known.size and not 0 <= known.min() <= known.max() < len(self):
            raise UserError(
                f"token ids from {known.min()} to {known.max()}, but the vocabulary has 0 to "
                f"{len(self) - 1}; use that of the run"
            )
        if self.framed and (known == self.end).any():
            known = known[: (known == self.end).argmax()]
        return self._text(known[known >= self._first])

    def to_json(self) -> dict[str, Any]:
        """JSON values of which `from_json` makes the same vocabulary."""
        kind = next(name for name, kind in _KINDS.items() if type(self) is kind)
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"kind": kind, **fields}

    @property
    def _first(self) -> int:
        """The id after padding and frame."""
        return 3 if self.framed else 1

    @abstractmethod
    def _ids(self, text: str) -> Sequence[int] | np.ndarray: ...

    @abstractmethod
    def _text(self, ids: Int[np.ndarray, " tokens"]) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Characters(Vocabulary):
    """Unicode code points, in ascending order.

    Attributes:
      symbols: the characters; with U+FFFD, which stands for characters that are unknown (Unicode
        15, section 23.8), there are no others to refuse.
    """

    symbols: str

    @classmethod
    def of(
        cls,
        texts: Iterable[str],
        *,
        min_count: int = 1,
        framed: bool = False,
        lower: bool = False,
    ) -> Characters:
        """The characters that occur at least `min_count` times; if above 1, others are unknown."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.lower() if lower else text)
        often = {character for character in counts if counts[character] >= min_count}
        if not often:
            raise UserError(
                f"no character occurs {min_count} times in the train texts; lower min_count"
            )
        symbols = sorted(often | {_REPLACEMENT} if min_count > 1 else often)
        return cls(symbols="".join(symbols), framed=framed, lower=lower)

    @property
    def unknown(self) -> int | None:
        """Id of a character that is not in the vocabulary, if there is one."""
        at = self.symbols.find(_REPLACEMENT)
        return None if at < 0 else self._first + at

    def __len__(self) -> int:
        return self._first + len(self.symbols)

    @cached_property
    def _id_of(self) -> Int32[np.ndarray, " codes"]:
        """Code point -> id; 0 for unknown ones, and a last 0 for all beyond the largest."""
        codes = _codes(self.symbols)
        ids = np.zeros(codes.max(initial=0) + 2, np.int32)
        ids[codes] = np.arange(len(codes)) + self._first
        return ids

    def _ids(self, text: str) -> Int32[np.ndarray, " characters"]:
        codes = _codes(text)
        ids = self._id_of[np.minimum(codes, len(self._id_of) - 1)]
        if self.unknown is not None:
            return np.where(ids == 0, np.int32(self.unknown), ids)
        unseen = np.flatnonzero(ids == 0)
        if len(unseen):
            at, more = unseen[0], len(unseen) - 1
            raise UserError(
                f"character {text[at]!r} (U+{ord(text[at]):04X}) at position {at} is not one "
                f"of the {len(self.symbols)} seen in training (nor are {more} more in this text); "
                "replace it, or train with min_count=2, which makes rare ones unknown, or with "
                "by='subwords', which encodes any"
            )
        return ids

    def _text(self, ids: Int[np.ndarray, " tokens"]) -> str:
        return "".join([self.symbols[i - self._first] for i in ids])


@dataclass(frozen=True, kw_only=True)
class Words(Vocabulary):
    """Words, numbers and punctuation marks, the most frequent first; any other is unknown.

    Attributes:
      symbols: the words.
    """

    symbols: tuple[str, ...]

    @classmethod
    def of(
        cls,
        texts: Iterable[str],
        *,
        min_count: int = 1,
        size: int | None = None,
        framed: bool = False,
        lower: bool = False,
    ) -> Words:
        """The `size` most frequent words that occur at least `min_count` times in these texts."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_WORD.findall(text.lower() if lower else text))
        often = [word for word in counts if counts[word] >= min_count]
        if not often:
            raise UserError(f"no word occurs {min_count} times in the train texts; lower min_count")
        ranked = sorted(often, key=lambda word: (-counts[word], word))
        return cls(symbols=tuple(ranked[:size]), framed=framed, lower=lower)

    @property
    def unknown(self) -> int:
        """Id of a word that is not in the vocabulary."""
        return self._first

    def __len__(self) -> int:
        return self.unknown + 1 + len(self.symbols)

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.symbols, self.unknown + 1)}

    def _ids(self, text: str) -> list[int]:
        return [self._id_of.get(word, self.unknown) for word in _WORD.findall(text)]

    def _text(self, ids: Int[np.ndarray, " tokens"]) -> str:
        words = (_UNKNOWN, *self.symbols)
        return _written([words[i - self._first] for i in ids])


@dataclass(frozen=True, kw_only=True)
class Subwords(Vocabulary):
    """Pieces of words by byte-pair encoding (Sennrich et al. 2016); rare characters as bytes.

    Any text can be encoded, and is decoded exactly, including blanks and line ends.

    Attributes:
      model: of sentencepiece (Kudo and Richardson 2018), in base64.
    """

    model: str

    @classmethod
    def of(
        cls, texts: Iterable[str], *, size: int, framed: bool = False, lower: bool = False
    ) -> Subwords:
        """`size` pieces trained on these texts, including the ids of the frame and of 256 bytes."""
        lines = (line for text in texts for line in text.split("\n") if line)
        model = _train((line.lower() for line in lines) if lower else lines, size, framed)
        return cls(model=base64.b64encode(model).decode(), framed=framed, lower=lower)

    def __len__(self) -> int:
        return self._processor.vocab_size()

    @cached_property
    def _processor(self) -> Any:
        from sentencepiece import SentencePieceProcessor  # here: few runs need it

        return SentencePieceProcessor(model_proto=base64.b64decode(self.model))

    def _ids(self, text: str) -> list[int]:
        # sentencepiece would read its own sign for a space as a space, so it is encoded in bytes.
        sign = [f"<0x{byte:02X}>" for byte in _SPACE.encode()]
        first, *others = map(self._processor.encode, _encodable(text).split(_SPACE))
        for part in others:
            first += self._processor.piece_to_id(sign) + part
        return first

    def _text(self, ids: Int[np.ndarray, " tokens"]) -> str:
        return self._processor.decode(ids.tolist())


_KINDS: dict[str, type[Vocabulary]] = {
    "characters": Characters,
    "words": Words,
    "subwords": Subwords,
}


def from_json(data: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of which `to_json` returned these values.

    Raises:
      UserError: the values do not describe a vocabulary.
    """
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        kind = _KINDS[fields.pop("kind")]
        if why := json_files.fault(fields, kind):
            raise ValueError(why)
        vocabulary = kind(**fields)
        len(vocabulary)  # sentencepiece reads its model
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        why = reason(error, 200)
        raise UserError(f"vocabulary: not written by to_json ({why}); restore it") from None
    return vocabulary


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"character {text[error.start]!r} at position {error.start} is half of one, or a byte "
            "that is not UTF-8; replace it"
        ) from None
    return text


def _written(words: Iterable[str]) -> str:
    """Words and marks joined with spaces as in English and German."""
    text, glued, quoted = [], True, False
    for word in words:
        opens = word in _OPENING
        closes = word in _CLOSING or (len(word) > 1 and word[0] in "'’-")
        if word in _QUOTES:
            opens, closes, quoted = not quoted, quoted, not quoted
        text += [word] if glued or closes else [" ", word]
        glued = opens
    return "".join(text)


def _train(lines: Iterable[str], size: int, framed: bool) -> bytes:
    from io import BytesIO

    from sentencepiece import SentencePieceTrainer

    model = BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            byte_fallback=True,
            user_defined_symbols=["\n"],
            # Text is decoded exactly: nothing is normalized, added or removed.
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            pad_id=PAD,
            bos_id=1 if framed else -1,
            eos_id=2 if framed else -1,
            unk_id=3
            if framed
            else 1,  # the trainer requires it, though with bytes nothing is unknown
            num_threads=1,  # so that the same texts give the same pieces on every machine
            max_sentence_length=1 << 30,
            minloglevel=2,
        )
    except RuntimeError as error:
        most = re.search(r"<= (\d+)", str(error))
        least = re.search(r"\d+ vs (\d+)", str(error))
        remedy = (
            f"set size to at most {most[1]}"
            if most and "too high" in str(error)
            else f"set size to at least {least[1]}, for 256 bytes and the characters of the texts"
            if least
            else "give longer texts, and a size such as 8000"
        )
        raise UserError(
            f"the train texts do not give subwords with size={size}; {remedy}"
        ) from None
    return model.getvalue()
