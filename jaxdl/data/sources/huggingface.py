"""Hugging Face `datasets`: of the hub, saved by it, or its Parquet, Arrow and image folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Fit, Frame, Size
from jaxdl.data.images.lazy import LazyImages
from jaxdl.data.sources.huggingface_reader import BLOCK, EncodedExamples, loaded, quietly, roles
from jaxdl.data.splits import partition, require_unused
from jaxdl.data.table import Column, Table
from jaxdl.errors import UserError, brief, first_line, suggestion


def huggingface(
    path: str,
    name: str | None = None,
    revision: str | None = None,
    splits: Mapping[str, str] | None = None,
    columns: tuple[str, ...] | None = None,
    rename: Mapping[str, str] | None = None,
    size: int | Size | None = None,
    channels: int = 3,
    test_fraction: float = 0.0,
    validation_fraction: float = 0.0,
    seed: int = 0,
    crop: Crop | None = None,
    fit: Fit = "crop",
) -> dict[str, Table]:
    """A data set that `datasets` of Hugging Face reads; needs the extra `huggingface`.

    Each feature of fixed shape becomes a column of the same name: images uint8, class labels and
    other whole numbers int32, floats float32, texts str. With `crop` images stay where they are and
    are decoded when they are needed.

    Args:
      path: a folder of `save_to_disk`, a .parquet or .arrow file, a folder of such files or of
        images as `datasets` has them, or else a name on the hub, such as 'ylecun/mnist'.
      name: name of the configuration, if a data set on the hub has several.
      revision: revision of the data set on the hub: a commit, a tag or a branch.
      splits: role -> split, such as {'train': 'train', 'test': 'validation'}. By default those with
        the usual names: train or training, val, valid, validation, validate or dev, test or
        testing; if there is only one split, all of it is for training.
      columns: the features to read, by their names there; by default all.
      rename: feature -> column, such as {'img': 'image', 'fine_label': 'label'}.
      size: side of a square in pixels, or (height, width), that images are scaled to. If they
        differ in size, `size` or `crop` is needed.
      channels: channels of images: 1 for grey, 3 for RGB, 4 for RGBA.
      test_fraction: share of the rows of the train split for the test split, rounded; 0 for none.
      validation_fraction: likewise for the validation split.
      seed: seed of the random split.
      crop: the part of each image that is seen, random in training; see `Crop`.
      fit: how an image is fitted to `size`: 'crop' covers it and takes the middle, 'squeeze'
        changes the ratio of the sides, 'pad' shows all of the image and makes the rest black.

    Raises:
      UserError: `datasets` is not installed; there is no such data set, or no network; a split or
        a feature is unknown, cannot be a column, or lacks a value; or an image is damaged.
    """
    where = f"huggingface {path!r}"
    frame = _frame(size, crop, fit, channels, where)
    parts = roles(loaded(path, name, revision, where), splits, where)
    fractions = {"test": test_fraction, "validation": validation_fraction}
    require_unused(fractions, parts, where)
    if any(fractions.values()):
        count = len(parts["train"])
        rows = partition(count, test_fraction, validation_fraction, seed, where)
        parts |= {role: parts["train"].select(part) for role, part in rows.items()}
    features = _features(parts["train"].features, columns, rename or {}, where)
    if not (frame is None and crop is None) and all(f.dtype is not None for f in features):
        raise UserError(f"{where}: it has no images for size or crop; leave them out")
    classes = next((f.classes for f in features if f.column == "label"), ())
    return {
        role: Table(
            {
                f.column: _column(part, f, frame, crop, channels, f"{where} {role}")
                for f in features
            },
            f"{where} {role}",
            classes,
        )
        for role, part in parts.items()
    }


def _frame(
    size: int | Size | None, crop: Crop | None, fit: Fit, channels: int, where: str
) -> Frame | None:
    if None not in (size, crop):
        raise UserError(
            f"{where}: give either size, to keep the images in memory, or crop, to decode them "
            "when they are needed; not both"
        )
    if channels not in (1, 3, 4):
        raise UserError(f"{where}: channels={channels}; choose 1 (grey), 3 (RGB) or 4 (RGBA)")
    if size is None and fit != "crop":
        raise UserError(f"{where}: fit={fit!r} is for size; set size, or leave fit out")
    return None if size is None else Frame.of(size, fit, where)


@dataclass(frozen=True)
class _Feature:
    """A feature that becomes a column.

    Attributes:
      name: the feature's.
      column: the column's.
      dtype: of the column; object for text, None for images.
      shape: of one example; () for images.
      classes: the names of the labels, if it holds labels.
    """

    name: str
    column: str
    dtype: np.dtype | None
    shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, column: str, feature: Any) -> _Feature:
        """From its description; raises ValueError, with the reason, if it cannot be a column."""
        import datasets

        if isinstance(feature, datasets.Image):
            return cls(name, column, None)
        if isinstance(feature, datasets.ClassLabel):
            return cls(name, column, np.dtype(np.int32), (), tuple(feature.names or ()))
        shape: tuple[int, ...] = ()
        while (length := getattr(feature, "length", None)) is not None and length >= 0:
            shape, feature = (*shape, length), feature.feature
        if hasattr(feature, "shape") and hasattr(feature, "dtype"):  # Array2D and so on
            if None in feature.shape:
                raise ValueError("varies in length")
            return cls(name, column, _dtype(feature.dtype, True), (*shape, *feature.shape))
        if not isinstance(feature, datasets.Value):
            many = hasattr(feature, "feature")
            raise ValueError("varies in length" if many else f"is of {type(feature).__name__}")
        return cls(name, column, _dtype(feature.dtype, bool(shape)), shape)


def _dtype(name: str, several: bool) -> np.dtype:
    """The dtype of a column of numbers, bools or texts."""
    if name in ("string", "large_string"):
        if several:
            raise ValueError("is several texts")
        return np.dtype(object)
    if name == "bool":
        return np.dtype(bool)
    if re.fullmatch(r"u?int(8|16|32|64)", name):
        return np.dtype(name if name in ("uint8", "int8") else np.int32)
    if re.fullmatch(r"float(16|32|64)", name):
        return np.dtype(np.float32)
    raise ValueError(f"is of {name}")


def _features(
    there: Mapping[str, Any],
    columns: tuple[str, ...] | None,
    rename: Mapping[str, str],
    where: str,
) -> list[_Feature]:
    """The features that are asked for, or all."""
    chosen = list(there if columns is None else columns)
    for name in [*chosen, *rename]:
        if name not in there:
            raise UserError(f"{where}: no feature {name!r}; {suggestion(name, there)}")
        if name not in chosen:
            raise UserError(f"{where}: rename has {name!r}, which columns leaves out; add it there")
    made = [rename.get(name, name) for name in chosen]
    if not made or len({*made}) < len(made):
        raise UserError(f"{where}: columns would be {brief(made)}; name each once")
    features, refused = [], {}
    for name, column in zip(chosen, made, strict=True):
        try:
            features.append(_Feature.of(name, column, there[name]))
        except ValueError as error:
            refused[name] = str(error)
    if refused:
        name, reason = next(iter(refused.items()))
        raise UserError(
            f"{where}: feature {name!r} {reason}, so it cannot be a column; leave it out: "
            f"columns={tuple(f.name for f in features)}"
        )
    return features


def _column(
    part: Any, feature: _Feature, frame: Frame | None, crop: Crop | None, channels: int, where: str
) -> Column:
    """A column of a split: with `crop` images stay encoded where they are, the rest is read."""
    if feature.dtype is not None:
        return _values(part.select_columns([feature.name]), feature, where)
    encoded = EncodedExamples.of(part, feature.name, where)
    if crop is not None:
        return LazyImages(encoded, crop, channels)
    if not len(encoded):
        raise UserError(f"{where}: has no examples; add some, or name another split")
    fit = None if frame is None else frame.fit
    try:
        shape = pixels.size(encoded.read(0), upright=False) if frame is None else frame.size
    except UserError:
        raise
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{encoded.name(0)}: {pixels.reason(encoded.read(0), error)}") from None
    images = pixels.room(len(encoded), (*shape, channels), where)
    for start in range(0, len(encoded), BLOCK):
        rows = range(start, min(start + BLOCK, len(encoded)))
        names = [encoded.name(i) for i in rows]
        with quietly(where):
            contents = [encoded.read(i) for i in rows]
        pixels.decode(contents, images[start : rows.stop], names.__getitem__, fit)
    return images


def _values(part: Any, feature: _Feature, where: str) -> np.ndarray:
    assert feature.dtype is not None
    blocks = [np.empty((0, *feature.shape), feature.dtype)]
    for start in range(0, len(part), BLOCK):
        with quietly(where):
            values = part[start : start + BLOCK][feature.name]
        if missing := [i for i, value in enumerate(values) if value is None]:
            row = start + missing[0]
            raise UserError(f"{where} example {row}: no {feature.name!r}; leave the feature out")
        if feature.dtype == object:
            blocks.append(np.array([*values, None], object)[:-1])
            continue
        try:
            block = np.array(values).reshape(-1, *feature.shape)
            if block.dtype == object:
                raise ValueError("a value is missing")
            if feature.dtype == np.int32 and not _fits(block):
                raise ValueError("a number does not fit int32")
            blocks.append(block.astype(feature.dtype))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{where}: feature {feature.name!r}, from example {start}: {first_line(error)}; "
                "leave the feature out"
            ) from None
    return np.concatenate(blocks)


def _fits(numbers: np.ndarray) -> bool:
    """Whether whole numbers are in the range of int32."""
    limits = np.iinfo(np.int32)
    return bool(np.all((numbers >= limits.min) & (numbers <= limits.max)))
