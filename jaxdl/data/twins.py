"""Twins: small data sets that replace large ones offline.

A twin has the columns, dtypes, shapes and classes of its original and can be learned, so that every
config can be tried from end to end without a download. Its scores mean nothing. Texts are the
English help topics of Python, whose wording differs a little between versions.

To add one, write a function that returns the splits and name it in `TWINS` or `BOXES` if its
original is a data set of TFDS, or in `STAND_INS` if it is a source.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxdl.data.images.crops import Crop
from jaxdl.data.images.jpeg import encode
from jaxdl.data.images.lazy import EncodedInMemory, LazyImages
from jaxdl.data.sources.captions import captions
from jaxdl.data.sources.coco import coco
from jaxdl.data.sources.csv_boxes import csv_boxes
from jaxdl.data.sources.huggingface import huggingface
from jaxdl.data.sources.image_folders import images
from jaxdl.data.sources.piano_rolls import piano_rolls, twin_piano_rolls
from jaxdl.data.sources.texts import split, text
from jaxdl.data.sources.tfds import tfds
from jaxdl.data.sources.tfds_boxes import tfds_boxes
from jaxdl.data.sources.tunes import tunes, twin_tunes
from jaxdl.data.sources.voc import voc
from jaxdl.data.sources.yolo import yolo
from jaxdl.data.synthetic.addition import addition
from jaxdl.data.synthetic.builtin import blobs, digits, polynomial
from jaxdl.data.synthetic.drawn_boxes import drawn_boxes, drawn_cells
from jaxdl.data.synthetic.drawn_objects import drawn_objects
from jaxdl.data.synthetic.episodes import episodes
from jaxdl.data.synthetic.road import road
from jaxdl.data.synthetic.shapes import shapes, twin_captions
from jaxdl.data.synthetic.standing import standing
from jaxdl.data.table import Table
from jaxdl.errors import UserError

# Sources that need no twin, since they are small and offline.
_OWN_TWINS = (blobs, digits, drawn_boxes, drawn_objects, episodes, polynomial, shapes)

_PIXELS = 20_000_000  # of drawn images, which takes a second

_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# A clause of 3 to 15 plain words and the mark it ends in.
_CLAUSE = re.compile(r"\b[A-Za-z][a-z]*(?:\s[a-z]+){2,14}[.,;:]")
# The help topics that clauses of each class are from: on values, and on how a program runs.
_SUBJECTS = {
    "neg": ("types", "typesseq", "strings", "string-methods", "formatstrings"),
    "pos": ("compound", "execmodel", "import", "debugger"),
}


def mnist() -> dict[str, Table]:
    """MNIST's twin: scikit-learn's 8×8 digits, drawn 20×20 in the middle of 28×28.

    MNIST's own digits are fitted to 20×20 as well (LeCun et al. 1998, section III.A).

    Returns:
      1197 train, 300 validation and 300 test examples; `image` (N, 28, 28, 1) uint8, 0 to 255, and
      `label` (N,) int32.
    """
    return {
        role: Table(
            {"image": _framed(table.columns["image"]), "label": table.columns["label"]},
            f"twin of mnist, {role} split",
            table.classes,
        )
        for role, table in digits().items()
    }


def cifar10() -> dict[str, Table]:
    """CIFAR-10's twin: the digits of MNIST's twin in different colours, on 32×32.

    Returns:
      1197 train, 300 validation and 300 test examples; `image` (N, 32, 32, 3) uint8 and `label`
      (N,) int32, under CIFAR-10's names.
    """
    return {
        role: Table(
            {"image": _tinted(table.columns["image"]), "label": table.columns["label"]},
            f"twin of cifar10, {role} split",
            _CIFAR,
        )
        for role, table in mnist().items()
    }


def tiny_shakespeare() -> dict[str, Table]:
    """The twin of tiny_shakespeare: 200,000 characters of Python's help, split 90/5/5.

    Returns:
      `text` (1,), one document a split.
    """
    document = "\n\n".join(_topics().values())[:200_000]
    return _readable(split([document], 0.05, 0.05, "twin of tiny_shakespeare"))


def sentiment() -> dict[str, Table]:
    """The twin of rt-polarity: clauses of Python's help, on values or on running programs.

    Returns:
      About 1340 examples; `text` (N,) and `label` (N,) int32. Logistic regression on
      word counts is right in 78 % of the test split.
    """
    subject = {
        clause: label
        for label, topics in enumerate(_SUBJECTS.values())
        for topic in topics
        for clause in _clauses(_topics()[topic])
    }
    columns = {"text": _column(subject), "label": np.array([*subject.values()], np.int32)}
    return _split_in_turn(columns, "twin of sentiment", tuple(_SUBJECTS))


def translation() -> dict[str, Table]:
    """The twin of Multi30k: clauses of Python's help, and the same with each word read backwards.

    Returns:
      About 2400 pairs; `de` (N,), "eht eulav fo x.", and `en` (N,), "the value of x.".
    """
    english = dict.fromkeys(clause for topic in _topics().values() for clause in _clauses(topic))
    german = [re.sub(r"\w+", lambda word: word[0][::-1], clause) for clause in english]
    return _split_in_turn({"de": _column(german), "en": _column(english)}, "twin of translation")


def photographs(crop: Crop, classes: int) -> dict[str, Table]:
    """The twin of photographs that are decoded when they are needed: drawn shapes, as JPEGs.

    A small or a large circle, square or triangle in one of four colours, four times: 48 pixels
    high, and 48, 44, 40 or 36 wide.

    Args:
      crop: as for the original.
      classes: the number that the original has, among which the 24 kinds are divided in
        alphabetical order: of two classes, one is the large shapes.

    Returns:
      About 1100 train, 300 validation and 300 test examples; `image` (N, size, size, 3) uint8, and
      `label` (N,) int32.
    """
    drawn = {
        role: {name: column[_alone(table)] for name, column in table.columns.items()}
        for role, table in shapes(900, 240, 240, size=48).items()
    }
    kinds = sorted({*drawn["train"]["caption"]})
    number = {kind: i * classes // len(kinds) for i, kind in enumerate(kinds)}
    tables, names = {}, tuple(map(str, range(classes)))
    for role, columns in drawn.items():
        where = f"twin of photographs, {role} split"
        cuts = [slice(side, 48 - side) for side in (0, 2, 4, 6)]
        encoded = EncodedInMemory(
            [encode(x[:, cut]) for x in columns["image"] for cut in cuts], where
        )
        label = np.array([number[kind] for kind in columns["caption"] for _ in cuts], np.int32)
        tables[role] = Table({"image": LazyImages(encoded, crop), "label": label}, where, names)
    return tables


def _alone(table: Table) -> np.ndarray:
    """The rows with one shape."""
    return np.array([" a " not in caption for caption in table.columns["caption"]])


# The data sets whose twin is `photographs`, by their TFDS names, and their number of classes.
PHOTOGRAPHS = {"imagenet2012": 1000, "imagenet_samples": 1000, "imagenette": 10}


# By the TFDS name of the original. A twin always has three splits, since a config may take the
# validation split from the train split.
TWINS: dict[str, Callable[[], dict[str, Table]]] = {
    "cifar10": cifar10,
    "driving": road,
    "mnist": mnist,
    "pedestrians": standing,
    "sentiment": sentiment,
    "tiny_shakespeare": tiny_shakespeare,
    "translation": translation,
}


# Twins of data with boxes, by the TFDS name; they take the size of the canvas.
BOXES: dict[str, Callable[[tuple[int, int]], dict[str, Table]]] = {"bccd": drawn_cells}


def documents(validation_fraction: float, test_fraction: float) -> dict[str, Table]:
    """The twin of a user's own text: Python's help, one document for each topic."""
    topics = [*_topics().values()]
    return _readable(split(topics, validation_fraction, test_fraction, "twin of text"))


def sums(
    digits: int, smaller_digits: int | None, validation_examples: int, seed: int
) -> dict[str, Table]:
    """The twin of `addition`: a few hundred sums instead of a few hundred thousand."""
    few = 100 if digits > 1 else 10
    return addition(digits, 5 * few, few, min(few, validation_examples), smaller_digits, seed)


def drawn_files(size: tuple[int, int]) -> dict[str, Table]:
    """The twin of a user's own images with boxes: `drawn_boxes`, fewer the larger they are."""
    few = max(16, min(200, _PIXELS // math.prod(size)))
    return drawn_boxes(few, few // 4, few // 4, size)


def drawn_lists(size: tuple[int, int], validation: object, test: object) -> dict[str, Table]:
    """`drawn_files`, without the splits that are None."""
    return _asked(drawn_files(size), validation, test)


def prepared(
    dataset: str,
    crop: Crop | None,
    columns: tuple[str, ...] | None,
    validation: str | None,
    test: str | None,
) -> dict[str, Table]:
    """The twin of a data set of TFDS, in `TWINS` or, with `crop`, in `PHOTOGRAPHS`."""
    if crop is None:
        splits = TWINS[_known(dataset, TWINS)]()
    else:
        splits = photographs(crop, PHOTOGRAPHS[_known(dataset, PHOTOGRAPHS, " with crop")])
    asked = _asked(splits, validation, test)
    return {role: _only(table, columns) for role, table in asked.items()}


def prepared_boxes(
    dataset: str, size: tuple[int, int], validation: str | None, test: str | None
) -> dict[str, Table]:
    """The twin of a data set of TFDS with boxes, in `BOXES`."""
    return _asked(BOXES[_known(dataset, BOXES, " with boxes")](size), validation, test)


def _asked(splits: dict[str, Table], validation: object, test: object) -> dict[str, Table]:
    """The splits without those that a config has None for."""
    given = {"train": True, "validation": validation is not None, "test": test is not None}
    return {role: table for role, table in splits.items() if given[role]}


def _known(dataset: str, twins: Mapping[str, Any], how: str = "") -> str:
    """The name of a data set of TFDS, without its configuration and version."""
    name = re.split("[/:]", dataset)[0]
    if name not in twins:
        raise UserError(f"no twin of {dataset!r}{how}; there are twins of {', '.join(twins)}")
    return name


def from_hub(path: str, crop: Crop | None, channels: int, size: Any) -> dict[str, Table]:
    """The twin of images that `huggingface` would read: with `crop`, or of a known data set."""
    if crop is not None and channels == 3:
        return photographs(crop, classes=2)  # the real number is in the data
    splits = TWINS.get(path.rsplit("/")[-1], dict)()
    shapes = {tuple(t.columns["image"].shape[1:]) for t in splits.values() if "image" in t.columns}
    if crop is not None or size is not None or {s[-1] for s in shapes} != {channels}:
        raise UserError(
            f"no twin of huggingface {path!r} with these settings; there are twins "
            "with crop and 3 channels, of 'ylecun/mnist' with 1 and of 'uoft-cs/cifar10' with 3"
        )
    return splits


def own_photographs(crop: Crop | None) -> dict[str, Table]:
    """The twin of a user's own images in folders by class, with `crop`."""
    if crop is None:
        raise _none(images)
    return photographs(crop, classes=2)  # the real number is in the folder


# By source. A twin receives the settings that it has parameters for.
STAND_INS: dict[Callable[..., dict[str, Table]], Callable[..., dict[str, Table]]] = {
    addition: sums,
    captions: twin_captions,
    coco: drawn_lists,
    csv_boxes: drawn_files,
    huggingface: from_hub,
    images: own_photographs,
    piano_rolls: twin_piano_rolls,
    text: documents,
    tfds: prepared,
    tfds_boxes: prepared_boxes,
    tunes: twin_tunes,
    voc: drawn_lists,
    yolo: drawn_files,
}


def twin_of(
    source: Callable[..., dict[str, Table]], settings: Mapping[str, Any]
) -> dict[str, Table]:
    """The twin of the data that `source(**settings)` would read.

    Args:
      source: a data source.
      settings: its arguments.

    Returns:
      The same splits, with the same columns.

    Raises:
      UserError: the data has no twin.
    """
    if source in _OWN_TWINS:
        return source(**settings)
    if source not in STAND_INS:
        raise _none(source)
    call = inspect.signature(source).bind(**settings)
    call.apply_defaults()
    names = inspect.signature(STAND_INS[source]).parameters
    return STAND_INS[source](**{name: call.arguments[name] for name in names})


def _none(source: Callable[..., Any]) -> UserError:
    return UserError(
        f"data source {source.__name__!r} reads your own data, which has no twin; leave out "
        "--config.data.twin"
    )


def _only(table: Table, names: tuple[str, ...] | None) -> Table:
    if names is None:
        return table
    for name in names:
        if name not in table.columns:
            raise UserError(f"{table.where}: no column {name!r}; it has {', '.join(table.columns)}")
    return Table({name: table.columns[name] for name in names}, table.where, table.classes)


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return {name: topics[name].strip() for name in sorted(topics)}


def _clauses(prose: str) -> list[str]:
    return [" ".join(clause.split()) for clause in _CLAUSE.findall(prose)]


def _column(texts: Iterable[str]) -> np.ndarray:
    return np.array([*texts], object)


def _split_in_turn(
    columns: Mapping[str, np.ndarray], where: str, classes: tuple[str, ...] = ()
) -> dict[str, Table]:
    """Of every twenty examples, the first is for the test split and the second for validation."""
    place = np.arange(len(next(iter(columns.values())))) % 20
    parts = {"train": place > 1, "validation": place == 1, "test": place == 0}
    return {
        role: Table({k: v[rows] for k, v in columns.items()}, f"{where}, {role} split", classes)
        for role, rows in parts.items()
    }


def _readable(splits: dict[str, Table]) -> dict[str, Table]:
    """The splits without the rare characters that the train split lacks."""
    known = set().union(*splits["train"].columns["text"])
    return {
        role: Table({"text": _column(documents)}, table.where)
        for role, table in splits.items()
        for documents in [["".join(filter(known.__contains__, t)) for t in table.columns["text"]]]
    }


def _framed(small: UInt8[np.ndarray, "n 8 8 1"]) -> UInt8[np.ndarray, "n 28 28 1"]:
    """8×8 with values 0 to 16 -> 20×20 with values 0 to 255, in a black frame of 4."""
    enlarge = _interpolation(8, 20)
    large = enlarge @ small[..., 0].astype(np.float64) @ enlarge.T * (255 / 16)
    return np.pad(np.rint(large).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))[..., None]


def _tinted(grey: UInt8[np.ndarray, "n 28 28 1"]) -> UInt8[np.ndarray, "n 32 32 3"]:
    """In a black frame of 2, with a third, two thirds or all of its red, green and blue."""
    light = (np.arange(len(grey))[:, None] // 3 ** np.arange(3) % 3 + 1) / 3
    colored = np.rint(grey * light[:, None, None, :]).astype(np.uint8)
    return np.pad(colored, ((0, 0), (2, 2), (2, 2), (0, 0)))


def _interpolation(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """The matrix that interpolates linearly between `old` evenly spaced pixels."""
    place = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(old)))
