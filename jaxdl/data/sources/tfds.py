"""TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.cache import cached, stamp
from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Fit, Frame, Size
from jaxdl.data.images.lazy import LazyImages
from jaxdl.data.sources import tfds_records
from jaxdl.data.table import Column, Table
from jaxdl.errors import UserError
from jaxdl.files import sha256_of

_MANY = 100_000  # from this many examples on, a warning says that reading them takes a while

_log = logging.getLogger("jaxdl")


def tfds(
    dataset: str,
    train: str = "train",
    test: str | None = "test",
    validation: str | None = None,
    columns: tuple[str, ...] | None = None,
    size: int | Size | None = None,
    data_dir: str | None = None,
    cache: bool = True,
    crop: Crop | None = None,
    fit: Fit = "crop",
) -> dict[str, Table]:
    """A data set that TFDS has prepared as array_record, read into memory.

    Each feature of fixed shape becomes a column of the same name: images are uint8, class labels
    int32, texts str. A feature of varying length, such as a sequence, is refused.

    With `crop` images stay on the disk and are decoded when they are needed. The other columns are
    read into memory, by default without texts and features of varying length.

    Args:
      dataset: name as TFDS has it, such as 'mnist', 'imagenette/160sq' or 'mnist:3.0.1'.
      train: which examples make the train split, such as 'train' or 'train[:90%]'.
      test: the examples of the test split; None for no test split.
      validation: the examples of the validation split; None for no validation split.
      columns: the features to read; by default all.
      size: side of a square in pixels, or (height, width), that images are scaled to. If they
        differ in size, `size` or `crop` is needed.
      data_dir: where the data is prepared; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.
      cache: keep the decoded images in the user's cache folder, so that the next run need not
        decode them (four seconds for MNIST). With `crop` the labels are kept, since reading them
        means reading the images between them.
      crop: the part of each image that is seen, random in training; see `Crop`.
      fit: how an image is fitted to `size`: 'crop' covers it and takes the middle, 'squeeze'
        changes the ratio of the sides, 'pad' shows all of the image and makes the rest black.

    Raises:
      UserError: the data set is unknown or not prepared; a split is unknown, empty, or overlaps
        another; a feature is unknown or varies in shape; or an example is damaged.
    """
    if size is not None and crop is not None:
        raise UserError(
            f"tfds {dataset!r}: give either size, to keep the images in memory, or crop, to "
            "decode them when they are needed; not both"
        )
    frame = None if size is None else Frame.of(size, fit, f"tfds {dataset!r}")
    if frame is None and fit != "crop":
        raise UserError(f"tfds {dataset!r}: fit={fit!r} is for size; set size, or leave fit out")
    builder = tfds_records.load_builder(dataset, data_dir)
    instructions = {"train": train, "validation": validation, "test": test}
    parts = {role: part for role, part in instructions.items() if part is not None}
    tfds_records.require_disjoint(builder, dataset, parts)
    features = _features(builder, dataset, columns, frame, crop)
    classes = {f.name: f.classes for f in features}.get("label", ())
    return {
        role: Table(
            _load(tfds_records.Split(builder, part), features, cache, crop),
            tfds_records.split_name(dataset, part),
            classes,
        )
        for role, part in parts.items()
    }


@dataclass(frozen=True)
class _Feature:
    """A feature that becomes a column.

    Attributes:
      name: the column's.
      shape: of one example.
      dtype: of the column; object for text.
      image: whether it is stored as an encoded image.
      fit: how images come to this shape; None if they must have it.
      classes: the names of the labels, if it holds labels.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    image: bool
    fit: Fit | None
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, feature: Any, tensor: Any, frame: Frame | None, crop: Crop | None
    ) -> _Feature:
        """From TFDS's description; raises ValueError, with the reason, if it cannot be a column."""
        import tensorflow_datasets

        if isinstance(tensor, dict):
            raise ValueError("is a structure of several")
        is_image = isinstance(feature, tensorflow_datasets.features.Image)
        if crop is not None:
            frame = Frame((crop.size, crop.size))
        shape = tuple(tensor.shape)
        if is_image and frame is not None:
            shape = (*frame.size, *tensor.shape[2:])
        dtype = np.dtype(tensor.np_dtype)
        if None in shape:
            raise ValueError(
                "varies in size (give size or crop)" if is_image else "varies in length"
            )
        if is_image and dtype != np.uint8:
            raise ValueError(f"is an image of {dtype}")
        is_label = isinstance(feature, tensorflow_datasets.features.ClassLabel)
        classes = tuple(feature.names) if is_label and feature.names else ()
        if is_label:
            dtype = np.dtype(np.int32)
        elif dtype.kind in "OSU":
            if shape:
                raise ValueError("is several texts")
            dtype = np.dtype(object)
        fit = frame.fit if is_image and frame is not None else None
        return cls(name, shape, dtype, is_image, fit, classes)


def _features(
    builder: Any,
    dataset: str,
    columns: tuple[str, ...] | None,
    frame: Frame | None,
    crop: Crop | None,
) -> list[_Feature]:
    """The features that are asked for, or all that can be columns."""
    for name in columns or ():
        tfds_records.require_feature(builder, dataset, name)
    info = builder.info.features
    tensors = info.get_tensor_info()
    features, refused = [], {}
    for name in sorted(info) if columns is None else columns:  # TFDS has them in any order
        try:
            features.append(_Feature.of(name, info[name], tensors[name], frame, crop))
        except ValueError as error:
            refused[name] = str(error)
    if crop is not None and not any(feature.image for feature in features):
        names = ", ".join(feature.name for feature in features)
        raise UserError(
            f"tfds {dataset!r}: crop needs an image, and the columns are {names}; leave crop out"
        )
    if crop is not None and columns is None:
        return [feature for feature in features if feature.dtype != object]
    if refused:
        name, reason = next(iter(refused.items()))
        raise UserError(
            f"tfds {dataset!r}: feature {name!r} {reason}, so it cannot be a column; leave it out: "
            f"columns={tuple(feature.name for feature in features)}"
        )
    return features


def _load(
    split: tfds_records.Split, features: list[_Feature], cache: bool, crop: Crop | None
) -> Mapping[str, Column]:
    """The columns of a split: with `crop` images stay encoded on the disk, the rest is read."""
    if crop is None:
        has_image = any(feature.image for feature in features)
        return _load_cached(split, features, sha256_of if cache and has_image else None)
    images = {
        f.name: LazyImages(tfds_records.EncodedRecords(split, f.name), crop, f.shape[-1])
        for f in features
        if f.image
    }
    others = [f for f in features if f.name not in images]
    if others and split.examples > _MANY:
        names = ", ".join(f.name for f in others)
        _log.warning("%s: reads %s of %s examples", split.where, names, f"{split.examples:,}")
    # The files may hold 150 GB, so their names, sizes and times have to identify them.
    read = _load_cached(split, others, stamp if cache else None) if others else {}
    columns: dict[str, Column] = {**images, **read}
    return {f.name: columns[f.name] for f in features}


def _load_cached(
    split: tfds_records.Split, features: list[_Feature], identify: Callable[[Path], str] | None
) -> Mapping[str, np.ndarray]:
    """Columns in memory, cached for as long as `identify` returns the same for each file."""
    if identify is None:
        return _read(split, features)
    with split.reading():
        contents = [identify(file) for file in split.files]
    texts = [f for f in features if f.dtype == object]  # which a file of arrays cannot hold
    others = [f for f in features if f.dtype != object]
    full_name = split.builder.info.full_name
    key = repr((full_name, split.part, contents, others, pixels.version()))
    columns = {**cached(key, lambda: _read(split, others))} if others else {}
    if texts:
        columns |= _read(split, texts)
    return {f.name: columns[f.name] for f in features}


def _read(split: tfds_records.Split, features: list[_Feature]) -> dict[str, np.ndarray]:
    """Every example of a split, column by column, in the order of its files."""
    columns: dict[str, np.ndarray] = {
        f.name: pixels.room(split.examples, f.shape, split.where)  # type: ignore[arg-type]
        for f in features
        if f.image
    }
    parts: dict[str, list[np.ndarray]] = {f.name: [] for f in features if not f.image}
    start = 0
    for examples in split.blocks():
        for f in features:
            values = [example[f.name] for example in examples]
            if any(value is None for value in values):  # the record is cut short, or lacks it
                raise split.missing(start + values.index(None), f.name)
            if f.image:
                names = [f"{split.where} example {start + i}" for i in range(len(values))]
                block = columns[f.name][start : start + len(values)]
                pixels.decode(values, block, names.__getitem__, f.fit)
            elif f.dtype == object:
                parts[f.name].append(_texts(values, start, f"{split.where}: {f.name!r}"))
            else:
                with split.reading():
                    parts[f.name].append(np.array(values, f.dtype).reshape(-1, *f.shape))
        start += len(examples)
    return columns | {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _texts(values: list[bytes], start: int, where: str) -> np.ndarray:
    texts = np.empty(len(values), object)
    for i, value in enumerate(values):
        try:
            texts[i] = value.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{where}, example {start + i}: byte {error.start} is not UTF-8; prepare the data "
                "set again, or leave the column out"
            ) from None
    return texts
