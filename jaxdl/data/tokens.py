"""Token columns: texts as integers, padded with 0 at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32

from jaxdl.data.table import BEGINS, Table
from jaxdl.data.text.vocabulary import PAD, Characters, Subwords, Vocabulary, Words
from jaxdl.data.validation import holds_text, require_examples
from jaxdl.errors import UserError

_Ids = list[Int32[np.ndarray, " _"]]  # the token ids of each text


@dataclass(frozen=True)
class Tokens:
    """How a token column is made; `config.data.tokenize.<column>` sets these.

    Args:
      text: the text column that it is made from.
      by: what a token is: a character, a word or punctuation mark, or a piece of a word.
      window: split each text into windows of so many tokens to predict: a row is `window` + 1
        tokens, of which all but the last are inputs and all but the first are targets. Each window
        starts with the last token of the one before it, so every token with a predecessor is a
        target once. None for one row for each text.
      length: the most tokens that a text may have, start and end included; longer ones are refused.
      cut: truncate longer texts to `length` instead.
      ends: add a token that starts each text and one that ends it.
      lower: convert texts to lower case.
      min_count: a word that occurs less often in the train texts is unknown; above 1 a character,
        too. With 1, a character that the train texts lack is refused.
      size: with words, the number of most frequent ones that are known; with subwords, the size of
        the vocabulary, including all special ids.

    Raises:
      UserError: settings are out of range, or contradict each other.
    """

    text: str
    by: Literal["characters", "words", "subwords"] = "characters"
    window: int | None = None
    length: int | None = None
    cut: bool = False
    ends: bool = False
    lower: bool = False
    min_count: int = 1
    size: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that would be ignored or are impossible."""
        if self.by not in ("characters", "words", "subwords"):
            raise UserError(f"by={self.by!r}; choose characters, words or subwords")
        for name in ("window", "length", "min_count", "size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value}; it must be at least 1")
        if self.window is not None and (self.length is not None or self.cut):
            raise UserError("window splits texts of any length; leave length and cut out")
        if self.cut and self.length is None:
            raise UserError("cut=True without length; set the length to cut to")
        if self.by == "characters" and self.size is not None:
            raise UserError(f"size={self.size} is for words and subwords; leave it out")
        if self.by == "subwords" and self.min_count != 1:
            raise UserError(f"min_count={self.min_count}: subwords write any text; leave it out")
        if self.by == "subwords" and self.size is None:
            raise UserError("by='subwords' needs a size, such as 8000")

    def vocabulary(self, texts: tuple[str, ...]) -> Vocabulary:
        """The vocabulary of these texts."""
        if self.by == "characters":
            return Characters.of(
                texts, min_count=self.min_count, framed=self.ends, lower=self.lower
            )
        if self.by == "words":
            return Words.of(
                texts,
                min_count=self.min_count,
                size=self.size,
                framed=self.ends,
                lower=self.lower,
            )
        assert self.size is not None
        return Subwords.of(texts, size=self.size, framed=self.ends, lower=self.lower)


def tokenize(
    splits: Mapping[str, Table],
    settings: Mapping[str, Tokens],
    vocabularies: Mapping[str, Vocabulary] | None = None,
) -> dict[str, Table]:
    """Replace text columns by token columns.

    Args:
      splits: tables with text columns.
      settings: name of a token column -> how it is made.
      vocabularies: those of a run; by default they are built from the train split alone.

    Returns:
      The splits with token columns in place of the text columns that they are made from. Their
      dtype is the smallest of uint8, uint16 and int32 that holds the vocabulary; their shape is
      (examples, length of the longest text), the same in every split, or (windows, `window` + 1).
      With windows there is also a column `begins` (windows,) bool, which marks the first window of
      each text. `Table.vocabularies` has the vocabularies, `Table.texts` the texts of the examples.

    Raises:
      UserError: a text column is missing, a text is empty or too long, or has a character that the
        train split does not have; the message names the split and the example.
    """
    require_examples(splits)
    used = {each.text for each in settings.values()}
    others = {role: [k for k in t.columns if k not in used] for role, t in splits.items()}
    for name, each in settings.items():
        remaining = [*(k for k in settings if k != name), *others["train"]]
        if name in others["train"]:
            raise UserError(f"tokenize.{name}: the data already has this column; choose a new name")
        if each.window is not None and remaining:
            raise UserError(
                f"tokenize.{name}: window makes several rows of a text, but column "
                f"{remaining[0]!r} has one; leave one of them out"
            )
    known = vocabularies or {}
    tokens = {name: _tokens(splits, name, each, known.get(name)) for name, each in settings.items()}
    columns = {
        role: {k: v for _, rows in tokens.values() for k, v in rows[role].items()}
        for role in splits
    }
    whole = [name for name, each in settings.items() if each.window is None]
    return {
        role: replace(
            table,
            columns={k: table.columns[k] for k in others[role]} | columns[role],
            vocabularies={**table.vocabularies, **{k: v for k, (v, _) in tokens.items()}},
            texts={**table.texts, **{k: _texts(table, settings[k].text, k) for k in whole}},
        )
        for role, table in splits.items()
    }


def _tokens(
    splits: Mapping[str, Table], name: str, settings: Tokens, vocabulary: Vocabulary | None
) -> tuple[Vocabulary, dict[str, dict[str, np.ndarray]]]:
    """The vocabulary, and the columns to add to each split."""
    texts = {role: _texts(table, settings.text, name) for role, table in splits.items()}
    try:
        vocabulary = vocabulary or settings.vocabulary(texts["train"])
    except UserError as error:
        raise UserError(f"tokenize.{name}: {error}") from None
    where = {role: f"{t.where}: column {settings.text!r}" for role, t in splits.items()}
    ids = {role: _encode(texts[role], vocabulary, where[role], name) for role in splits}
    dtype = _smallest(len(vocabulary))
    if settings.window is not None:
        windows = {role: _windows(ids[role], settings.window, where[role]) for role in splits}
        return vocabulary, {
            role: {name: rows.astype(dtype), BEGINS: begins}
            for role, (rows, begins) in windows.items()
        }
    if settings.cut:
        ids = {role: [row[: settings.length] for row in ids[role]] for role in splits}
    elif settings.length is not None:
        _require_length(ids, settings.length, where, name)
    width = max(len(row) for each in ids.values() for row in each)
    return vocabulary, {role: {name: _padded(ids[role], width).astype(dtype)} for role in splits}


def _texts(table: Table, column: str, name: str) -> tuple[str, ...]:
    table.require((column,), f"Set config.data.tokenize.{name}.text to a text column")
    if not holds_text(table.columns[column]):
        raise UserError(
            f"{table.where}: column {column!r} of tokenize.{name}.text is not text, but "
            f"{table.columns[column].dtype}; name a text column"
        )
    return tuple(table.columns[column].tolist())


def _encode(texts: tuple[str, ...], vocabulary: Vocabulary, where: str, name: str) -> _Ids:
    frame = [np.array([i], np.int32) for i in (vocabulary.start, vocabulary.end) if i is not None]
    ids = []
    for example, text in enumerate(texts):
        try:
            row = vocabulary.encode(text)
        except UserError as error:
            settings = f"settings of config.data.tokenize.{name}"
            raise UserError(f"{where}, example {example}: {error} ({settings})") from None
        if len(row) == 0:
            raise UserError(f"{where}, example {example} has no tokens; remove the example")
        ids.append(np.concatenate([frame[0], row, frame[1]]) if frame else row)
    return ids


def _windows(
    ids: _Ids, window: int, where: str
) -> tuple[Int32[np.ndarray, "windows tokens"], Bool[np.ndarray, " windows"]]:
    """The windows of all texts, and whether each is the first of its text."""
    rows = []
    for example, row in enumerate(ids):
        if len(row) < 2:
            raise UserError(
                f"{where}, example {example} has a single token, so there is nothing to predict; "
                "remove the example or set ends=True"
            )
        room = -(len(row) - 1) % window
        padded = np.pad(row, (0, room), constant_values=PAD)
        rows.append(np.lib.stride_tricks.sliding_window_view(padded, window + 1)[::window])
    return np.concatenate(rows), np.concatenate([np.arange(len(text)) == 0 for text in rows])


def with_begins(table: Table, name: str) -> Table:
    """The table with a column `begins` (examples,) bool: the rows at which a text begins.

    Windows have it from `tokenize`, and a source may provide it. Other token columns are taken for
    one text, in which a row that ends in padding ends a part.

    Args:
      table: a split.
      name: of its token column, (examples, time).

    Raises:
      UserError: each row is a whole text, or the source's `begins` is not one bool for each row.
    """
    if name in table.texts:
        raise UserError(
            f"{table.where}: each row of column {name!r} is a whole text, and continues none; "
            f"set config.data.tokenize.{name}.window, or config.training.carry to false"
        )
    if BEGINS not in table.columns:
        ends = np.asarray(table.columns[name])[:-1, -1] == PAD
        return replace(table, columns={**table.columns, BEGINS: np.append(True, ends)})
    begins = table.columns[BEGINS]
    if begins.dtype != bool or begins.ndim != 1:
        raise UserError(
            f"{table.where}: column {BEGINS!r} must be bool (examples,), whether a text begins "
            f"at each row, but is {begins.dtype} {begins.shape}; convert or rename it"
        )
    return table


def _require_length(
    ids: Mapping[str, _Ids], most: int, where: Mapping[str, str], name: str
) -> None:
    long = [
        (len(row), f"{where[role]}, example {example}")
        for role in ids
        for example, row in enumerate(ids[role])
        if len(row) > most
    ]
    if long:
        (first, at), (longest, at_longest) = long[0], max(long, key=lambda each: each[0])
        raise UserError(
            f"{at} has {first} tokens, more than tokenize.{name}.length={most} ({len(long)} texts "
            f"are longer; {at_longest} the most, {longest}); set length={longest}, or cut=True"
        )


def _padded(ids: _Ids, width: int) -> Int32[np.ndarray, "examples tokens"]:
    rows = np.full((len(ids), width), PAD, np.int32)
    for example, row in enumerate(ids):
        rows[example, : len(row)] = row
    return rows


def _smallest(size: int) -> type[np.integer]:
    return np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.int32
