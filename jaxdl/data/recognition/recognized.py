"""What was found in a user's data, and the words for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxdl.data.table import Table
from jaxdl.errors import UserError, printable, some

FEW = 20  # examples, of which none is held out


@dataclass(frozen=True)
class Recognized:
    """A user's data.

    Attributes:
      source: the name of the source that reads it.
      settings: the source's.
      splits: the splits that it reads, with images and boxes lazily.
      notes: what was found, and what was decided by rules, one line each.
      to_predict: paths of data beside it that has no labels, which a trained model can predict.
    """

    source: str
    settings: dict[str, Any]
    splits: Mapping[str, Table]
    notes: tuple[str, ...] = ()
    to_predict: tuple[str, ...] = ()


def counted(splits: Mapping[str, Table]) -> str:
    """`80 train, 20 test`."""
    return ", ".join(f"{len(table):,} {role}" for role, table in splits.items())


def named(names: Any, most: int = 8) -> str:
    """The first of some names, and how many more there are."""
    return some([printable(name or "''", 60) for name in names], most, ", ")


def unseen(splits: Mapping[str, Table], column: str) -> str:
    """The characters of other splits that the train split does not have, for a message."""
    seen = {role: {*"".join(table.columns[column])} for role, table in splits.items()}
    strange = sorted(set().union(*seen.values()) - seen["train"])
    return " ".join(map(ascii, strange[:5])) + (" …" if strange[5:] else "")


def each_class(path: str, splits: Mapping[str, Table]) -> str:
    """`in 2 classes: cat 20, dog 20`."""
    classes = splits["train"].classes
    if len(classes) < 2:
        raise UserError(f"{path}: has one class, {classes[0]!r}; give each of several a folder")
    counts = Counter(int(label) for table in splits.values() for label in table.columns["label"])
    each = [f"{printable(name)} {counts[i]:,}" for i, name in enumerate(classes)]
    return f"in {len(classes)} classes: {named(each)}"
