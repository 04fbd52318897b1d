"""Data: from a name in the config to checked splits, their batches, and the order of the batches.

A split is a `Table` of columns, (examples, …) each: arrays in memory, or `Lazy` ones that are made
when they are needed. This room knows nothing of models, tasks and training; sources/ reads files,
synthetic/ makes data, images/ and text/ know the formats, and `twins` replaces data offline.
To add a data set, write a source (see `jaxdl.data.sources`); the README of this folder lists all.

Columns have the same names everywhere: `image` (uint8, (examples, height, width, channels)),
`label` (int32, (examples,)), `features` (float32, (examples, features)), `x` and `target` (float,
(examples,)), `text` (str, (examples,)), from which `tokenize` makes `tokens` (integers, (examples,
time), padded with 0), and the columns of images with boxes, in `jaxdl.data.images.annotations`.
Your own source may use any other name except `mask`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxdl.data import tokens
from jaxdl.data.clips import Clips, clip
from jaxdl.data.folds import Folds
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.lazy import LazyImages
from jaxdl.data.places import brought_here
from jaxdl.data.sources import SOURCES
from jaxdl.data.table import Lazy, Table
from jaxdl.data.text.vocabulary import PAD, Characters, Subwords, Vocabulary, Words
from jaxdl.data.tokens import Tokens, tokenize
from jaxdl.data.twins import TWINS, twin_of
from jaxdl.data.validation import duplicates, validate, without_texts
from jaxdl.errors import UserError


def load(
    source: str | Callable[..., dict[str, Table]],
    /,
    *,
    twin: bool = False,
    tokenize: Mapping[str, Tokens | Mapping[str, Any]] | None = None,
    clips: Clips | Mapping[str, Any] | None = None,
    vocabularies: Mapping[str, Vocabulary] | None = None,
    **settings: Any,
) -> dict[str, Table]:
    """Read a data set, or the small twin that replaces it offline, and validate it.

    Args:
      source: a name in `SOURCES`, or a function like those.
      twin: make the twin instead: the same columns, dtypes, shapes and labels.
      tokenize: token columns to make from text columns: name -> `Tokens`, or its arguments.
      clips: `Clips`, or its arguments, to make each image a clip that ends with it.
      vocabularies: token column -> the vocabulary of a run; by default that of the train split.
      **settings: the source's own parameters.

    Returns:
      The splits by role: 'train' and, if the source has them, 'validation' and 'test'.

    Raises:
      UserError: the source is unknown or has no twin, an address such as gs://… cannot be read, the
        data is not valid, or all of it is text that `tokenize` does not name.
    """
    if isinstance(source, str):
        if source not in SOURCES:
            raise UserError(
                f"data source {source!r}: unknown; the sources are {', '.join(SOURCES)}"
            )
        source = SOURCES[source]
    if source in SOURCES.values() and not twin:
        settings = brought_here(source.__name__, settings)
    splits = twin_of(source, settings) if twin else source(**settings)
    if not isinstance(splits, dict) or not all(isinstance(t, Table) for t in splits.values()):
        raise UserError(
            f"data source {source.__name__!r}: returns {type(splits).__name__}; it must return a "
            "dict of Tables, {'train': Table({'image': …, 'label': …}), …}"
        )
    if tokenize:
        columns = {k: v if isinstance(v, Tokens) else Tokens(**v) for k, v in tokenize.items()}
        splits = tokens.tokenize(splits, columns, vocabularies)
    splits = without_texts(splits)
    validate(splits)
    if clips is None:
        return splits
    return clip(splits, clips if isinstance(clips, Clips) else Clips(**clips))


__all__ = [
    "PAD",
    "SOURCES",
    "TWINS",
    "Characters",
    "Clips",
    "Crop",
    "Folds",
    "Lazy",
    "LazyImages",
    "Subwords",
    "Table",
    "Tokens",
    "Vocabulary",
    "Words",
    "clip",
    "duplicates",
    "load",
    "tokenize",
    "twin_of",
    "validate",
]
