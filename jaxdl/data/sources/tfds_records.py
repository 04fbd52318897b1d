"""What TFDS has prepared: builders, splits, and the records of their files. Without TensorFlow.

TFDS itself is imported when a data set is read, since that takes a second.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.errors import UserError, near, suggestion

_BLOCK = 2048  # examples that are in memory in their encoded form at a time
_FEATURES = "tensorflow_datasets.core.features."

Example = Mapping[str, Any]  # feature -> value, which is a dict for a feature made of several


@dataclass(frozen=True)
class Split:
    """Some of the examples of a prepared data set.

    Args:
      builder: of the data set, from `load_builder`.
      part: which examples, such as 'train[:90%]'.
    """

    builder: Any
    part: str

    @property
    def where(self) -> str:
        """What to call the split in a message."""
        return split_name(self.builder.info.full_name, self.part)

    @property
    def examples(self) -> int:
        """How many examples it has."""
        return self.builder.info.splits[self.part].num_examples

    @property
    def files(self) -> list[Path]:
        """The files that hold it."""
        return [Path(f.filename) for f in self.builder.info.splits[self.part].file_instructions]

    def blocks(self) -> Iterator[list[Example]]:
        """The examples in the order of the files, a list of some at a time, images still encoded.

        Raises:
          UserError: the files are damaged.
        """
        import tensorflow_datasets

        stay_encoded = {  # also those that are not asked for: TFDS would decode them in vain
            name: tensorflow_datasets.decode.SkipDecoding()
            for name, feature in self.builder.info.features.items()
            if isinstance(feature, tensorflow_datasets.features.Image)
        }
        with self.reading():
            source = self.builder.as_data_source(split=self.part, decoders=stay_encoded)
        for start in range(0, len(source), _BLOCK):
            with self.reading():
                block = source.__getitems__(range(start, min(start + _BLOCK, len(source))))
            yield block

    def missing(self, i: int, feature: str) -> UserError:
        """The error of an example without a feature that the data set should have."""
        return UserError(
            f"{self.where}: example {i} has no {feature!r}; the files in {self.builder.data_path} "
            "are damaged, so prepare the data set again"
        )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise a UserError that names the split in place of any other exception."""
        try:
            yield
        except Exception as error:  # whatever the C++ of array_record raises
            raise UserError(
                f"{self.where}: cannot be read ({_one_line(error)}); the files in "
                f"{self.builder.data_path} are damaged, so prepare the data set again"
            ) from error


class EncodedRecords:
    """The encoded images of a split, each read when it is asked for.

    Args:
      split: the examples.
      feature: the name of the images.
    """

    def __init__(self, split: Split, feature: str) -> None:
        from tensorflow_datasets.core import decode
        from tensorflow_datasets.proto import tf_example_pb2

        self._split, self._feature = split, feature
        self._parse = tf_example_pb2.Example.FromString
        raw = decode.DeserializeMethod.RAW_BYTES
        with split.reading():
            self._records = split.builder.as_data_source(split=split.part, deserialize_method=raw)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, i: int) -> bytes:
        """The bytes of image i."""
        with self._split.reading():
            # One at a time: to read several, array_record starts threads of its own, and is slower.
            example = self._parse(self._records[i])
            values = example.features.feature[self._feature].bytes_list.value
        if not values:
            raise self._split.missing(i, self._feature)
        return values[0]

    def name(self, i: int) -> str:
        """Its number in the split."""
        return f"{self._split.where} example {i}"

    def fingerprint(self) -> bytes:
        """Of the part, and of the names and sizes of its files: to read them would take minutes."""
        files = [(file.name, file.stat().st_size) for file in self._split.files]
        full_name = self._split.builder.info.full_name
        return sha256(repr((full_name, self._split.part, files)).encode()).digest()


def split_name(dataset: str, part: str) -> str:
    """What to call a split in a message."""
    return f"tfds {dataset!r} split {part!r}"


def load_builder(dataset: str, data_dir: str | None) -> Any:
    """The builder of a data set that is prepared as array_record.

    Args:
      dataset: name as TFDS has it, such as 'mnist' or 'mnist:3.0.1'.
      data_dir: where the data is prepared; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Raises:
      UserError: the data set is unknown, its description is damaged, or it is not prepared as
        array_record.
    """
    import tensorflow_datasets

    root = data_dir or os.environ.get("TFDS_DATA_DIR")
    root = str(Path(root).expanduser()) if root else None
    try:
        _require_sound_json(dataset, root)
        with _offline(), _only_own_features():
            builder = tensorflow_datasets.builder(dataset, data_dir=root)
            is_prepared = builder.is_prepared()
    except tensorflow_datasets.core.DatasetNotFoundError:
        raise UserError(_unknown(dataset, root)) from None
    except UserError as error:
        raise UserError(f"tfds {dataset!r}: {error}") from None
    except Exception as error:  # TFDS raises whatever its parsers and builders raise
        raise UserError(
            f"tfds {dataset!r}: {_one_line(error)}; correct config.data.dataset"
        ) from error
    if not is_prepared:
        raise UserError(_not_prepared(builder, dataset))
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if "array_record" not in formats:
        raise UserError(
            f"tfds {dataset!r}: prepared as {', '.join(formats)} in {builder.data_path}, which "
            f"only TensorFlow reads; with another TFDS_DATA_DIR, run: {_command(dataset)}"
        )
    return builder


def require_feature(builder: Any, dataset: str, name: str) -> None:
    """Refuse the name of a feature that the data set does not have."""
    names = sorted(builder.info.features)  # TFDS has them in any order
    if name not in names:
        told = suggestion(name, names, "it has")
        raise UserError(f"tfds {dataset!r}: no feature {name!r}; {told}")


def require_disjoint(builder: Any, dataset: str, parts: Mapping[str, str]) -> None:
    """Refuse split instructions, by role, that are unknown, empty, or have examples in common."""
    taken: list[tuple[str, int, int, str]] = []
    for role, part in parts.items():
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
    except Exception as error:  # TFDS raises whatever its parser raises
        sizes = ", ".join(f"{name} ({count})" for name, count in counts.items())
        remedy = "" if role == "train" else f", so set config.data.{role}, None for no {role} split"
        raise UserError(
            f"tfds {dataset!r}: {role}={part!r}: {_one_line(error)}; its splits are {sizes}{remedy}"
        ) from error
    ranges = [(r.splitname, r.from_ or 0, counts[r.splitname] if r.to is None else r.to)
              for r in absolute]  # fmt: skip
    for name, start, stop in ranges:
        if stop <= start:
            raise UserError(
                f"tfds {dataset!r}: {role}={part!r} has no example of {name!r}, which has "
                f"{counts[name]}; give a slice that does"
            )
    return ranges


def _require_sound_json(dataset: str, root: str | None) -> None:
    """Refuse a data set whose description is damaged, before TFDS reads it; name the file."""
    from tensorflow_datasets.core.naming import parse_builder_name_kwargs

    name, settings = parse_builder_name_kwargs(dataset)
    folder = Path(root or "~/tensorflow_datasets").expanduser() / name.name
    if config := settings.get("config"):
        folder /= str(config)
    version = settings.get("version", "*")
    for pattern in (f"{version}/*.json", f"*/{version}/*.json", ".config/*.json"):
        for file in sorted(folder.glob(pattern)):
            json_files.read(file, remedy="prepare the data set again")


@contextmanager
def _offline() -> Iterator[None]:
    """Keep TFDS from its online index, and absl from warning of what our error says better."""
    from tensorflow_datasets.core import visibility

    logger = logging.getLogger("absl")
    disabled, logger.disabled = logger.disabled, True
    try:
        with visibility.set_availables_tmp([visibility.DatasetType.TFDS_PUBLIC]):
            yield
    finally:
        logger.disabled = disabled


@contextmanager
def _only_own_features() -> Iterator[None]:
    """Keep TFDS from importing what features.json names, other than its own kinds of features.

    Every name in it, at any depth, is looked up by this one function, which imports its module.
    """
    from tensorflow_datasets.core.features import FeatureConnector

    original = FeatureConnector.cls_from_name

    def cls_from_name(cls: Any, name: str) -> Any:
        if not name.startswith(_FEATURES) or name not in FeatureConnector._registered_features:
            raise UserError(
                f"features.json names {json_files.shown(name)}, which is not one of TFDS's own "
                "features, and no others are imported; prepare the data set without it"
            )
        return original(name)

    FeatureConnector.cls_from_name = classmethod(cls_from_name)
    try:
        yield
    finally:
        FeatureConnector.cls_from_name = original


def _unknown(dataset: str, root: str | None) -> str:
    import tensorflow_datasets

    here = [path.name for path in Path(root).iterdir()] if root and Path(root).is_dir() else []
    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    hint = near(dataset, sorted({*known, *here})).strip() or "see tensorflow.org/datasets/catalog"
    return (
        f"tfds {dataset!r}: unknown to TFDS, and not prepared in "
        f"{root or '~/tensorflow_datasets'}; {hint} (TFDS_DATA_DIR or data_dir says where "
        "prepared data is)"
    )


def _not_prepared(builder: Any, dataset: str) -> str:
    root, name = Path(builder.data_dir_root), builder.name
    others = sorted(p.parent.parent.name for p in root.glob(f"{name}/*/*/dataset_info.json"))
    names = ", ".join(f"{name}/{other}" for other in others)
    hint = f"{names} is prepared; for this one, " if others else ""
    return (
        f"tfds {dataset!r}: not prepared in {root}; {hint}run: "
        f"{_command(dataset, root)} (or try it on a twin: --config.data.twin=true)"
    )


def _command(dataset: str, root: Path | None = None) -> str:
    """The command that prepares a data set. TFDS's own `tfds build` would need Apache Beam too."""
    place = f", data_dir={str(root)!r}" if root else ""
    return (
        "pip install -e '.[prepare]' (in the checkout of jaxdl), then "
        f'python -c "import tensorflow_datasets as tfds; tfds.builder({dataset!r}{place}, '
        "file_format='array_record').download_and_prepare()\""
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
