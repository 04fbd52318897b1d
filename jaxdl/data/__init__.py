"""Data: sources, transforms, batches.

A source is a function with typed keyword parameters that returns a split by role: a
`dict[str, Table]` with `'train'` and, where there are such, `'validation'` and `'test'`. To add
one, write a function in a file here and name it in `SOURCES`, or leave it in your own code and
name it in the config as `'package.module:function'`. Its parameters are what a config may set.

Columns have the same names everywhere: `image` (uint8, (examples, height, width, channels)),
`label` (int32, (examples,)), `features` (float32, (examples, features)), `x` and `target` (float,
(examples,)), `text` (str, (examples,)), of which `tokenize` makes `tokens` (integers, (examples,
time), 0 where padded), and those of images with boxes, which `jaxdl.data.boxes` names. A name that
a source of your own adds is as good; `mask` alone is taken.

A column is an array in memory, or `Lazy`: made on demand, such as the `Photos` of a data set that
does not fit, which are decoded and cropped in threads as batches need them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxdl.data import tokens
from jaxdl.data.addition import addition
from jaxdl.data.boxes import coco, drawn_boxes, tfds_boxes, voc, yolo
from jaxdl.data.builtin import bayes_accuracy, blobs, digits, polynomial
from jaxdl.data.captions import captions
from jaxdl.data.checks import duplicates, validate
from jaxdl.data.clips import Clips, clip
from jaxdl.data.crops import Crop
from jaxdl.data.files import arrays, csv, standardization
from jaxdl.data.folders import images
from jaxdl.data.from_tfds import tfds
from jaxdl.data.photos import Photos
from jaxdl.data.shapes import shapes
from jaxdl.data.table import Lazy, Table
from jaxdl.data.text import text
from jaxdl.data.tokens import Tokens, tokenize
from jaxdl.data.tunes import tunes
from jaxdl.data.twins import TWINS, twin_of
from jaxdl.data.vocabulary import PAD, Characters, Subwords, Vocabulary, Words
from jaxdl.errors import UserError

SOURCES: dict[str, Callable[..., dict[str, Table]]] = {
    "addition": addition,
    "arrays": arrays,
    "blobs": blobs,
    "captions": captions,
    "coco": coco,
    "csv": csv,
    "digits": digits,
    "drawn_boxes": drawn_boxes,
    "images": images,
    "polynomial": polynomial,
    "shapes": shapes,
    "text": text,
    "tfds": tfds,
    "tfds_boxes": tfds_boxes,
    "tunes": tunes,
    "voc": voc,
    "yolo": yolo,
}


def load(
    source: str | Callable[..., dict[str, Table]],
    /,
    *,
    twin: bool = False,
    tokenize: Mapping[str, Tokens | Mapping[str, Any]] | None = None,
    clips: Clips | Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Table]:
    """Read a data set, or the small twin that stands in for it offline, and validate it.

    Args:
      source: a name in `SOURCES`, or a function such as stand there.
      twin: the twin in place of the data; same columns, dtypes, shapes and labels.
      tokenize: token columns to make of text columns: name -> settings, as `Tokens` takes them.
      clips: of images in the order of time, the clips that end with each; as `Clips` takes it.
      **settings: the source's own parameters.

    Raises:
      UserError: the source is unknown, has no twin, or what it reads is not sound, or is text
        that `tokenize` does not name.
    """
    if isinstance(source, str):
        if source not in SOURCES:
            raise UserError(f"data source {source!r}: unknown; there are {', '.join(SOURCES)}")
        source = SOURCES[source]
    splits = twin_of(source, settings) if twin else source(**settings)
    if not isinstance(splits, dict) or not all(isinstance(t, Table) for t in splits.values()):
        raise UserError(
            f"data source {source.__name__!r}: returns {type(splits).__name__}; it must return a "
            "dict of Tables, {'train': Table({'image': …, 'label': …}), …}"
        )
    if tokenize:
        columns = {k: v if isinstance(v, Tokens) else Tokens(**v) for k, v in tokenize.items()}
        splits = tokens.tokenize(splits, columns)
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
    "Lazy",
    "Photos",
    "Subwords",
    "Table",
    "Tokens",
    "Vocabulary",
    "Words",
    "addition",
    "arrays",
    "bayes_accuracy",
    "blobs",
    "captions",
    "clip",
    "coco",
    "csv",
    "digits",
    "drawn_boxes",
    "duplicates",
    "images",
    "load",
    "polynomial",
    "shapes",
    "standardization",
    "text",
    "tfds",
    "tfds_boxes",
    "tokenize",
    "tunes",
    "twin_of",
    "validate",
    "voc",
    "yolo",
]
