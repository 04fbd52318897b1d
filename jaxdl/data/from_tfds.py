"""TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl import json_files
from jaxdl.data import pixels
from jaxdl.data.cache import cached, fingerprint, stamp
from jaxdl.data.crops import Crop
from jaxdl.data.photos import Photos
from jaxdl.data.table import Table
from jaxdl.errors import UserError

_BLOCK = 2048  # examples in memory in their encoded form at a time
_FEATURES = "tensorflow_datasets.core.features."
_MANY = 100_000  # examples that take so long to go through that it should be said

_log = logging.getLogger("jaxdl")


def tfds(
    dataset: str,
    train: str = "train",
    test: str | None = "test",
    validation: str | None = None,
    columns: tuple[str, ...] | None = None,
    size: int | None = None,
    data_dir: str | None = None,
    cache: bool = True,
    crop: Crop | None = None,
) -> dict[str, Table]:
    """A data set that TFDS has prepared as array_record, read into memory.

    Each feature of fixed shape becomes a column of its own name: images are uint8, class labels
    int32, texts str. A feature of varying length, such as a sequence, is refused.

    With `crop` images stay on the disk, and are decoded as they are needed; the rest is read into
    memory, by default without texts and what varies in length.

    Args:
      dataset: name as TFDS has it, such as 'mnist', 'imagenette/160sq' or 'mnist:3.0.1'.
      train: which examples make the train split, such as 'train' or 'train[:90%]'.
      test: the same of the test split; None for no such split.
      validation: the same of the validation split.
      columns: the features to read; by default all.
      size: scale images to cover a square with sides of so many pixels, and keep its middle.
        Needed, or `crop`, where images differ in size.
      data_dir: where the data is prepared; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.
      cache: keep the decoded images in the user's cache folder, which makes the next run start
        faster by what decoding takes (four seconds for MNIST). With `crop`, what is kept are the
        labels, which stand between the images and take as long to read as these.
      crop: what is seen of each image, at random in training; see `Crop`.

    Raises:
      UserError: the data set is unknown or not prepared, a split unknown, empty, or in part the
        same as another one, a feature unknown or of varying shape, or an example damaged.
    """
    if size is not None and crop is not None:
        raise UserError(
            f"tfds {dataset!r}: give size, to hold the images in memory, or crop, to decode them "
            "as they are needed; not both"
        )
    builder = prepared(dataset, data_dir)
    instructions = {"train": train, "validation": validation, "test": test}
    wanted = {role: part for role, part in instructions.items() if part is not None}
    require_disjoint(builder, dataset, wanted)
    features = _features(builder, dataset, columns, size, crop)
    classes = {f.name: f.classes for f in features}.get("label", ())
    return {
        role: Table(_load(builder, part, features, cache, crop), named(dataset, part), classes)
        for role, part in wanted.items()
    }


@dataclass(frozen=True)
class _Feature:
    """A feature that becomes a column.

    Attributes:
      name: the column's.
      shape: of one example.
      dtype: of the column; object where it is text.
      image: whether it is stored as an encoded image.
      resize: whether images are brought to this shape, or have it.
      classes: the names of the labels, if it holds labels.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    image: bool
    resize: bool
    classes: tuple[str, ...]


def named(dataset: str, part: str) -> str:
    """What to call a split in a message."""
    return f"tfds {dataset!r} split {part!r}"


@contextmanager
def _offline() -> Iterator[None]:
    """Keep TFDS from its online index, and absl from warning of what the error says better."""
    from tensorflow_datasets.core import visibility

    logger = logging.getLogger("absl")
    disabled, logger.disabled = logger.disabled, True
    try:
        with visibility.set_availables_tmp([visibility.DatasetType.TFDS_PUBLIC]):
            yield
    finally:
        logger.disabled = disabled


@contextmanager
def _own_features() -> Iterator[None]:
    """Keep TFDS from importing what features.json names, other than its own kinds of features.

    Every name in it, however deep, comes to this one function, which imports the module it is in.
    """
    from tensorflow_datasets.core.features import FeatureConnector

    known = FeatureConnector.cls_from_name

    def cls_from_name(cls: Any, name: str) -> Any:
        if not name.startswith(_FEATURES) or name not in FeatureConnector._registered_features:
            raise UserError(
                f"features.json names {json_files.shown(name)}, which is none of TFDS's own "
                "features, and nothing else is imported; prepare the data set without it"
            )
        return known(name)

    FeatureConnector.cls_from_name = classmethod(cls_from_name)
    try:
        yield
    finally:
        FeatureConnector.cls_from_name = known


def _require_sound(dataset: str, root: str | None) -> None:
    """Refuse a data set whose description is damaged, before TFDS reads it.

    Raises:
      UserError: with the file.
    """
    from tensorflow_datasets.core.naming import parse_builder_name_kwargs

    name, settings = parse_builder_name_kwargs(dataset)
    folder = Path(root or "~/tensorflow_datasets").expanduser() / name.name
    if config := settings.get("config"):
        folder /= str(config)
    version = settings.get("version", "*")
    for pattern in (f"{version}/*.json", f"*/{version}/*.json", ".config/*.json"):
        for file in sorted(folder.glob(pattern)):
            json_files.read(file, remedy="prepare the data set again")


def prepared(dataset: str, data_dir: str | None) -> Any:
    """The data set's builder, once it is certain that there is data that can be read."""
    import tensorflow_datasets

    root = data_dir or os.environ.get("TFDS_DATA_DIR")
    root = str(Path(root).expanduser()) if root else None
    try:
        _require_sound(dataset, root)
        with _offline(), _own_features():
            builder = tensorflow_datasets.builder(dataset, data_dir=root)
            prepared = builder.is_prepared()
    except tensorflow_datasets.core.DatasetNotFoundError:
        raise UserError(_unknown(dataset, root)) from None
    except UserError as error:
        raise UserError(f"tfds {dataset!r}: {error}") from None
    except Exception as error:  # TFDS raises what its parsers and builders happen to
        raise UserError(f"tfds {dataset!r}: {_line(error)}; correct config.data.dataset") from error
    if not prepared:
        raise UserError(_not_prepared(builder, dataset))
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if "array_record" not in formats:
        raise UserError(
            f"tfds {dataset!r}: prepared as {', '.join(formats)} in {builder.data_path}, which "
            f"only TensorFlow reads; with another TFDS_DATA_DIR, run: {_command(dataset)}"
        )
    return builder


def _unknown(dataset: str, root: str | None) -> str:
    import tensorflow_datasets

    here = [path.name for path in Path(root).iterdir()] if root and Path(root).is_dir() else []
    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(dataset, sorted({*known, *here}), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see tensorflow.org/datasets/catalog"
    return (
        f"tfds {dataset!r}: unknown to TFDS, nor prepared in {root or '~/tensorflow_datasets'}; "
        f"{hint} (TFDS_DATA_DIR or data_dir says where prepared data is)"
    )


def _not_prepared(builder: Any, dataset: str) -> str:
    root, name = Path(builder.data_dir_root), builder.name
    others = sorted(p.parent.parent.name for p in root.glob(f"{name}/*/*/dataset_info.json"))
    hint = f"there is {', '.join(f'{name}/{o}' for o in others)}; for this one, " if others else ""
    return (
        f"tfds {dataset!r}: not prepared in {root}; {hint}run: "
        f"{_command(dataset, root)} (or try it on a twin: --config.data.twin=true)"
    )


def _command(dataset: str, root: Path | None = None) -> str:
    """Prepares a data set. TFDS's own `tfds build` would ask for Apache Beam besides."""
    place = f", data_dir={str(root)!r}" if root else ""
    return (
        "pip install 'jaxdl[prepare]' && "
        f'python -c "import tensorflow_datasets as tfds; tfds.builder({dataset!r}{place}, '
        "file_format='array_record').download_and_prepare()\""
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def require_disjoint(builder: Any, dataset: str, wanted: Mapping[str, str]) -> None:
    """Refuse split instructions, by role, that are unknown, empty, or have examples in common."""
    taken: list[tuple[str, int, int, str]] = []
    for role, part in wanted.items():
        for name, start, stop in _intervals(builder, dataset, part, role):
            for other_name, other_start, other_stop, other in taken:
                if name == other_name and max(start, other_start) < min(stop, other_stop):
                    raise UserError(
                        f"tfds {dataset!r}: {other} and {role}={part!r} share examples of "
                        f"{name!r}; make the splits disjoint, such as 'train[:90%]' and "
                        "'train[90%:]'"
                    )
            taken.append((name, start, stop, f"{role}={part!r}"))


def _intervals(builder: Any, dataset: str, part: str, role: str) -> list[tuple[str, int, int]]:
    """The ranges of examples that a split instruction stands for: (split, start, stop)."""
    from tensorflow_datasets.core import ReadInstruction

    splits = builder.info.splits
    counts = {name: split.num_examples for name, split in splits.items()}
    try:
        absolute = ReadInstruction.from_spec(part).to_absolute(splits)
    except Exception as error:  # TFDS raises what its parser happens to
        raise UserError(
            f"tfds {dataset!r}: {role}={part!r}: {_line(error)}; its splits are "
            f"{', '.join(f'{name} ({count})' for name, count in counts.items())}"
            + (f", so set config.data.{role}, None for no such split" if role != "train" else "")
        ) from error
    ranges = [(r.splitname, r.from_ or 0, counts[r.splitname] if r.to is None else r.to)
              for r in absolute]  # fmt: skip
    for name, start, stop in ranges:
        if stop <= start:
            raise UserError(
                f"tfds {dataset!r}: {role}={part!r} takes no example of {name!r}, which has "
                f"{counts[name]}; give a slice that does"
            )
    return ranges


def _features(
    builder: Any,
    dataset: str,
    columns: tuple[str, ...] | None,
    size: int | None,
    crop: Crop | None,
) -> list[_Feature]:
    described = dict(sorted(builder.info.features.items()))  # TFDS has them in any order
    for name in columns or ():
        if name not in described:
            near = difflib.get_close_matches(name, described, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"tfds {dataset!r}: no feature {name!r}; {hint}it has {', '.join(described)}"
            )
    if size is not None and size < 1:
        raise UserError(f"tfds {dataset!r}: size={size}; an image has at least 1 pixel a side")
    shapes = builder.info.features.get_tensor_info()
    features, refused = [], {}
    for name in described if columns is None else columns:
        try:
            features.append(_feature(name, described[name], shapes[name], size, crop))
        except ValueError as error:
            refused[name] = str(error)
    if crop is not None:
        _require_image(features, dataset)
    if crop is not None and columns is None:
        return [feature for feature in features if feature.dtype != object]
    if refused:
        name, reason = next(iter(refused.items()))
        raise UserError(
            f"tfds {dataset!r}: feature {name!r} {reason}, so it is no column; leave it out: "
            f"columns={tuple(feature.name for feature in features)}"
        )
    return features


def _require_image(features: list[_Feature], dataset: str) -> None:
    if not any(feature.image for feature in features):
        there = ", ".join(feature.name for feature in features)
        raise UserError(
            f"tfds {dataset!r}: crop is of images, the columns are {there}; leave it out"
        )


def _feature(
    name: str, described: Any, tensor: Any, size: int | None, crop: Crop | None
) -> _Feature:
    """Raises ValueError, with the reason, if the feature is no column."""
    import tensorflow_datasets

    if isinstance(tensor, dict):
        raise ValueError("is a structure of several")
    is_image = isinstance(described, tensorflow_datasets.features.Image)
    side = crop.size if crop is not None else size
    resize = is_image and side is not None
    shape = (side, side, *tensor.shape[2:]) if resize else tuple(tensor.shape)
    dtype = np.dtype(tensor.np_dtype)
    if None in shape:
        raise ValueError("varies in size (give size or crop)" if is_image else "varies in length")
    if is_image and dtype != np.uint8:
        raise ValueError(f"is an image of {dtype}")
    is_label = isinstance(described, tensorflow_datasets.features.ClassLabel)
    classes = tuple(described.names) if is_label and described.names else ()
    if is_label:
        dtype = np.dtype(np.int32)
    elif dtype.kind in "OSU":
        if shape:
            raise ValueError("is several texts")
        dtype = np.dtype(object)
    return _Feature(name, shape, dtype, is_image, resize, classes)


class Records:
    """The encoded images of a split, each read when it is asked for.

    Args:
      builder: of the data set.
      part: which examples.
      feature: the name of the images.
    """

    def __init__(self, builder: Any, part: str, feature: str) -> None:
        from tensorflow_datasets.core import decode
        from tensorflow_datasets.proto import tf_example_pb2

        self._builder, self._part, self._feature = builder, part, feature
        self._parsed = tf_example_pb2.Example.FromString
        raw = decode.DeserializeMethod.RAW_BYTES
        with _naming_damage(builder, part):
            self._records = builder.as_data_source(split=part, deserialize_method=raw)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, i: int) -> bytes:
        """The bytes of image i."""
        with _naming_damage(self._builder, self._part):
            # One at a time: reading several takes array_record threads of its own, and longer.
            example = self._parsed(self._records[i])
            found = example.features.feature[self._feature].bytes_list.value
        if not found:
            raise UserError(lacking(self._builder, self._part, i, self._feature))
        return found[0]

    def name(self, i: int) -> str:
        """Its number in the split."""
        return f"{named(self._builder.info.full_name, self._part)} example {i}"

    def fingerprint(self) -> bytes:
        """Of the names and sizes of the files, and of the part: the whole would take minutes."""
        files = [(file.name, file.stat().st_size) for file in _files(self._builder, self._part)]
        return sha256(repr((self._builder.info.full_name, self._part, files)).encode()).digest()


def _files(builder: Any, part: str) -> list[Path]:
    return [Path(f.filename) for f in builder.info.splits[part].file_instructions]


def lacking(builder: Any, part: str, i: int, feature: str) -> str:
    """That an example is without what the data set says it has."""
    return (
        f"{named(builder.info.full_name, part)}: example {i} has no {feature!r}; the files in "
        f"{builder.data_path} are damaged, so prepare the data set again"
    )


def _load(
    builder: Any, part: str, features: list[_Feature], cache: bool, crop: Crop | None
) -> Mapping[str, np.ndarray | Photos]:
    if crop is None:
        images = any(feature.image for feature in features)
        return _load_held(builder, part, features, cache and images, fingerprint)
    photos = {
        f.name: Photos(Records(builder, part, f.name), crop, f.shape[-1])
        for f in features
        if f.image
    }
    others = [f for f in features if f.name not in photos]
    count = builder.info.splits[part].num_examples
    if others and count > _MANY:
        names = ", ".join(f.name for f in others)
        _log.warning("%s: reads %s of %s examples", named(builder.name, part), names, f"{count:,}")
    # The files may hold 150 GB: that their names, sizes and times are the same must do.
    held = _load_held(builder, part, others, cache, stamp) if others else {}
    columns: dict[str, np.ndarray | Photos] = {**photos, **held}
    return {f.name: columns[f.name] for f in features}


def _load_held(
    builder: Any,
    part: str,
    features: list[_Feature],
    cache: bool,
    identify: Callable[[Path], str],
) -> Mapping[str, np.ndarray]:
    """Columns in memory, cached for as long as `identify` says the same of each file."""
    if not cache:
        return _read(builder, part, features)
    with _naming_damage(builder, part):
        contents = [identify(file) for file in _files(builder, part)]
    texts = [f for f in features if f.dtype == object]  # no file of arrays takes them
    others = [f for f in features if f.dtype != object]
    key = repr((builder.info.full_name, part, contents, others, pixels.version()))
    columns = {**cached(key, lambda: _read(builder, part, others))} if others else {}
    if texts:
        columns |= _read(builder, part, texts)
    return {f.name: columns[f.name] for f in features}


@contextmanager
def _naming_damage(builder: Any, part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the C++ of array_record raises
        raise UserError(
            f"{named(builder.info.full_name, part)}: cannot be read ({_line(error)}); the files "
            f"in {builder.data_path} are damaged, so prepare the data set again"
        ) from error


def _read(builder: Any, part: str, features: list[_Feature]) -> dict[str, np.ndarray]:
    """Every example of a split, column by column, in the order of its files."""
    where = named(builder.info.full_name, part)
    count = builder.info.splits[part].num_examples
    columns: dict[str, np.ndarray] = {
        f.name: pixels.room(count, f.shape, where)  # type: ignore[arg-type]
        for f in features
        if f.image
    }
    blocks: dict[str, list[np.ndarray]] = {f.name: [] for f in features if not f.image}
    start = 0
    for examples in in_blocks(builder, part):
        for f in features:
            values = [example[f.name] for example in examples]
            if any(value is None for value in values):  # the record was cut off, or lacks it
                raise UserError(lacking(builder, part, start + values.index(None), f.name))
            if f.image:
                names = [f"{where} example {start + i}" for i in range(len(values))]
                block = columns[f.name][start : start + len(values)]
                pixels.decode(values, block, names.__getitem__, resize=f.resize)
            elif f.dtype == object:
                blocks[f.name].append(_texts(values, start, f"{where}: {f.name!r}"))
            else:
                with _naming_damage(builder, part):
                    blocks[f.name].append(np.array(values, f.dtype).reshape(-1, *f.shape))
        start += len(examples)
    return columns | {name: np.concatenate(parts) for name, parts in blocks.items()}


def _texts(values: list[bytes], start: int, where: str) -> np.ndarray:
    texts = np.empty(len(values), object)
    for i, value in enumerate(values):
        try:
            texts[i] = value.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{where}, example {start + i}: byte {error.start} is no UTF-8; prepare the data "
                "set again, or leave the column out"
            ) from None
    return texts


def in_blocks(builder: Any, part: str) -> Iterator[list[Mapping[str, Any]]]:
    """The examples of a split, some at a time, images still encoded."""
    import tensorflow_datasets

    stay_encoded = {  # those that are not read too: TFDS would decode them for nothing
        name: tensorflow_datasets.decode.SkipDecoding()
        for name, described in builder.info.features.items()
        if isinstance(described, tensorflow_datasets.features.Image)
    }
    with _naming_damage(builder, part):
        source = builder.as_data_source(split=part, decoders=stay_encoded)
    for start in range(0, len(source), _BLOCK):
        with _naming_damage(builder, part):
            block = source.__getitems__(range(start, min(start + _BLOCK, len(source))))
        yield block
