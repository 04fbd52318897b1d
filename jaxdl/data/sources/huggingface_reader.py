"""How Hugging Face `datasets` is read: what a path means, which splits it has, and its images."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jaxdl.data.splits import NAMES, ROLES
from jaxdl.errors import UserError, brief, first_line, reason, suggestion

BLOCK = 1000  # examples read at a time
_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")  # what can be a name on the hub


def loaded(path: str, name: str | None, revision: str | None, where: str) -> dict[str, Any]:
    """The data sets by the names of their splits; arguments as of `huggingface`.

    Raises:
      UserError: `datasets` is not installed, or there is no such data set.
    """
    if importlib.util.find_spec("datasets") is None:
        raise UserError(
            "huggingface: the package datasets is not installed; "
            "pip install -e '.[huggingface]' in the checkout"
        )
    import datasets

    place = Path(path).expanduser()
    if place.exists() and not (name is None and revision is None):
        raise UserError(
            f"{where}: is on this machine, but name and revision are for the hub; leave them out"
        )
    with quietly(where):
        if (place / "dataset_dict.json").exists() or (place / "state.json").exists():
            read = datasets.load_from_disk(str(place))
        elif place.is_dir():
            read = datasets.load_dataset(str(place))
        elif place.exists():
            kind = {".parquet": "parquet", ".arrow": "arrow"}.get(place.suffix.lower())
            if kind is None:
                raise UserError(f"{where}: is not a .parquet or .arrow file, or a folder; give one")
            read = datasets.load_dataset(kind, data_files={"train": [str(place)]})
        elif _HUB.fullmatch(path) and not path.startswith("."):
            read = datasets.load_dataset(path, name, revision=revision)
        else:
            raise UserError(f"{where}: no such file or folder, and not a name on the hub")
    return {str(k): v for k, v in read.items()} if isinstance(read, dict) else {"train": read}


@contextmanager
def quietly(where: str) -> Iterator[None]:
    """No progress bars or notes of retries; a UserError in place of any other exception."""
    import datasets

    log, shown = logging.getLogger("huggingface_hub"), datasets.is_progress_bar_enabled()
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    except UserError:
        raise
    except ConnectionError as error:
        raise UserError(
            f"{where}: is not a file or folder here, and the hub cannot be reached "
            f"({first_line(error)}); correct the path, or load it where there is network"
        ) from None
    except Exception as error:  # whatever the hub, Arrow and Parquet raise
        raise UserError(f"{where}: cannot be read ({reason(error)}); correct it") from None
    finally:
        log.setLevel(level)
        if shown:
            datasets.enable_progress_bars()


def roles(read: Mapping[str, Any], splits: Mapping[str, str] | None, where: str) -> dict[str, Any]:
    """The splits by role.

    Raises:
      UserError: there is none for training, or one is unknown or named twice.
    """
    if splits is None:
        splits = {}
        for split in read:
            if role := ROLES.get(split.lower()):
                if role in splits:
                    raise UserError(
                        f"{where}: {splits[role]!r} and {split!r} are both {role} splits; name "
                        "one: splits={'train': …}"
                    )
                splits[role] = split
        if len(read) == 1:
            splits = {"train": next(iter(read))}
    if not {"train"} <= {*splits} <= {*NAMES}:
        raise UserError(
            f"{where}: splits={brief(dict(splits))}; name those for 'train', and for 'validation' "
            f"and 'test' if it has them; its splits are {', '.join(read)}"
        )
    for role, split in splits.items():
        if split not in read:
            raise UserError(f"{where}: no split {split!r} for {role}; {suggestion(split, read)}")
    if len({*splits.values()}) < len(splits):
        raise UserError(f"{where}: splits={brief(dict(splits))} has a split twice; name another")
    return {role: read[split] for role, split in splits.items()}


@dataclass(frozen=True)
class EncodedExamples:
    """The images of a feature, still encoded, where Arrow maps them or in files.

    Args:
      part: the data set, of this feature alone.
      feature: its name.
      where: what to call the split in an error message.
    """

    part: Any
    feature: str
    where: str

    @classmethod
    def of(cls, part: Any, feature: str, where: str) -> EncodedExamples:
        """Those of a data set with more features, which are then not decoded."""
        import datasets

        alone = part.select_columns([feature])
        return cls(alone.cast_column(feature, datasets.Image(decode=False)), feature, where)

    def __len__(self) -> int:
        return len(self.part)

    def read(self, i: int) -> bytes:
        """The bytes of image i."""
        value = self.part[i][self.feature]
        if value is None or (value["bytes"] is None and not value["path"]):
            raise UserError(f"{self.name(i)}: no {self.feature!r}; leave the example out")
        if value["bytes"] is not None:
            return value["bytes"]
        try:
            return Path(value["path"]).read_bytes()
        except OSError as error:
            raise UserError(f"{self.name(i)}: {value['path']}: {error.strerror}") from None

    def name(self, i: int) -> str:
        """Its number."""
        return f"{self.where} example {i}"

    def fingerprint(self) -> bytes:
        """Of names and lengths: reading the contents would take hours."""
        import pyarrow.compute

        digest, mapped = sha256(), self.part.with_format("arrow")
        for start in range(0, len(self), BLOCK):
            for chunk in mapped[start : start + BLOCK][self.feature].chunks:
                lengths = pyarrow.compute.binary_length(chunk.field("bytes")).to_pylist()
                names = [path and Path(path).name for path in chunk.field("path").to_pylist()]
                digest.update(repr((lengths, names)).encode())
        return digest.digest()
