"""Checks of data before training, and a count of the examples that splits share."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import combinations

import numpy as np

from jaxdl.data.splits import ROLES
from jaxdl.data.table import Lazy, Table
from jaxdl.errors import UserError, brief, printable, some

_log = logging.getLogger("jaxdl")


def validate(splits: Mapping[str, Table]) -> None:
    """Refuse splits that cannot be trained on, naming the first example at fault.

    Labels are checked by the task.

    Raises:
      UserError: there is no train split, a split is empty, splits have different columns, a column
        is text or has a dtype that JAX does not support, or a value is not finite or too large for
        the dtype on the device.
    """
    require_examples(splits)
    for role, table in splits.items():
        _validate_table(table)
        if _schema(table) != _schema(splits["train"]):
            raise UserError(
                f"{table.where}: the {role} split has columns {_schema(table)}, the train split "
                f"{_schema(splits['train'])}; make them the same"
            )


def without_texts(splits: Mapping[str, Table]) -> dict[str, Table]:
    """The splits without columns of text, unless no other column is left."""
    texts = {
        name
        for table in splits.values()
        for name, column in table.columns.items()
        if holds_text(column)
    }
    if not texts or any({*table.columns} <= texts for table in splits.values()):
        return dict(splits)
    _log.warning(
        "%s: not used, since config.data.tokenize does not name it: text column %s",
        next(iter(splits.values())).where,
        ", ".join(map(printable, sorted(texts))),
    )
    return {
        role: replace(table, columns={k: v for k, v in table.columns.items() if k not in texts})
        for role, table in splits.items()
    }


def require_examples(splits: Mapping[str, Table]) -> None:
    """Refuse splits without a train split, or with an empty one."""
    if "train" not in splits:
        meant = [name for name in splits if ROLES.get(name.lower()) == "train"]
        remedy = f"; call {meant[0]!r} 'train'" if meant else ""
        raise UserError(
            f"data: no 'train' split; the source returns {', '.join(splits) or 'none'}{remedy}"
        )
    for table in splits.values():
        if len(table) == 0:
            raise UserError(f"{table.where}: no examples; a split needs at least one")


def holds_text(column: np.ndarray | Lazy) -> bool:
    """Whether a column is text, one str for each example."""
    if isinstance(column, Lazy) or column.ndim != 1 or column.dtype.kind not in "OU":
        return False
    return all(isinstance(value, str) for value in column)


def with_class_names(splits: Mapping[str, Table], label: str) -> dict[str, Table]:
    """The splits with a name for each class: its number, if the source has no names.

    Args:
      splits: the data.
      label: column of the labels, integers; -1 stands for no object.

    Raises:
      UserError: there are no names, and the labels are not 0, 1, … without a gap.
    """
    columns = [np.asarray(t.columns[label]) for t in splits.values() if label in t.columns]
    if splits["train"].classes or not columns or any(c.dtype.kind not in "iu" for c in columns):
        return dict(splits)
    values = np.unique(np.concatenate([c.ravel() for c in columns]))
    values = values[values != -1] if columns[0].ndim > 1 else values
    if not len(values) or not np.array_equal(values, np.arange(len(values))):
        span = f"{len(values)} numbers from {values.min()} to {values.max()}" if len(values) else 0
        raise UserError(
            f"{splits['train'].where}: the labels in column {label!r} are {span}; number them from "
            "0 without a gap, or say in config.task.classes how many classes there are"
        )
    return {
        role: replace(table, classes=tuple(map(str, values.tolist())))
        for role, table in splits.items()
    }


def tell_alike(classes: Iterable[str], where: str) -> None:
    """Warn of classes whose names look alike: Dog and dog, or those that differ only in blanks.

    Blanks include those that do not break a line, or have no width.

    Args:
      classes: their names.
      where: the source that has them, for the message.
    """
    alike: dict[str, list[str]] = {}
    for name in classes:
        seen = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
        alike.setdefault(" ".join(seen.casefold().split()), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            _log.warning(
                "%s: classes %s differ only in case or blanks; write them alike if they are one",
                *(where, brief(same)),
            )


def require_classes(table: Table, count: int, setting: str) -> None:
    """Refuse a number of classes that differs from the number of names in the source."""
    if table.classes and len(table.classes) != count:
        names = some([printable(name, 40) for name in table.classes], between=", ")
        raise UserError(
            f"{table.where}: {len(table.classes)} classes ({names}), but {setting}={count}; "
            f"set it to {len(table.classes)}, or leave it out"
        )


def duplicates(splits: Mapping[str, Table]) -> dict[tuple[str, str], int]:
    """Count the distinct examples that two splits share, equal in every column.

    A test on examples of the train split is easier than it seems.

    Returns:
      (role, other role) -> count, for each pair of splits, zeros included.
    """
    seen = {role: _digests(table) for role, table in splits.items()}
    return {(a, b): len(seen[a] & seen[b]) for a, b in combinations(splits, 2)}


def _validate_table(table: Table) -> None:
    if "mask" in table.columns:
        raise UserError(
            f"{table.where}: column 'mask' is the name of the padding mask of batches; rename it"
        )
    for name, column in table.columns.items():
        where = f"{table.where}: column {name!r}"
        if 0 in column.shape:
            raise UserError(f"{where} has shape {column.shape}, and so no values; leave it out")
        _validate_dtype(column, where)
        if not np.issubdtype(column.dtype, np.integer):
            _refuse(
                ~np.isfinite(column), column, where, "not finite; correct or remove the example"
            )
        if column.dtype.kind in "iuf" and column.dtype.itemsize == 8:
            _refuse_too_large(column, where)


def _validate_dtype(column: np.ndarray | Lazy, where: str) -> None:
    import jax.numpy as jnp  # here, so that reading data alone needs no JAX

    if holds_text(column):
        raise UserError(f"{where} is text; name it in config.data.tokenize or leave it out")
    if column.dtype == object or column.dtype.kind in "SU":
        raise UserError(
            f"{where} has dtype {column.dtype}, which JAX does not support; leave "
            "it out of the source's columns"
        )
    numeric = column.dtype == bool or jnp.issubdtype(column.dtype, np.number)
    if not numeric or column.dtype.char in "gG" or not column.dtype.isnative:  # g: long double
        raise UserError(
            f"{where} has dtype {column.dtype.str}, which JAX does not support; convert it"
        )


def _refuse_too_large(column: np.ndarray, where: str) -> None:
    """Refuse 64-bit values that do not fit into the 32 bits that JAX uses unless x64 is enabled."""
    import jax
    import jax.numpy as jnp

    dtype = jax.dtypes.canonicalize_dtype(column.dtype)
    limits = jnp.iinfo(dtype) if column.dtype.kind in "iu" else jnp.finfo(dtype)
    low, high = column.dtype.type(limits.min), column.dtype.type(limits.max)
    if column.min() < low or column.max() > high:
        outside = (column < low) | (column > high)
        _refuse(outside, column, where, f"too large for {dtype}; rescale it or leave it out")


def _refuse(wrong: np.ndarray, column: np.ndarray, where: str, why: str) -> None:
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        examples = int(wrong.reshape(len(wrong), -1).any(axis=1).sum())
        at = f", at {first[1:]}" if first[1:] else ""
        raise UserError(
            f"{where}, example {first[0]}{at}: {column[first]} is {why} "
            f"(in {examples} of {len(column)} examples)"
        )


def _schema(table: Table) -> dict[str, str]:
    return {
        name: f"{column.dtype}{list(column.shape[1:])}"
        for name, column in sorted(table.columns.items())
    }


def _digests(table: Table) -> set[bytes]:
    columns = [_comparable(table.columns[name]) for name in sorted(table.columns)]
    rows = [column.reshape(len(table), -1).view(np.uint8) for column in columns]
    together = rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
    return {blake2b(row, digest_size=16).digest() for row in together}


def _comparable(column: np.ndarray | Lazy) -> np.ndarray:
    """The column itself, or digests of lazy values and of texts, whose arrays hold pointers."""
    if isinstance(column, Lazy):
        return column.digests()
    if not holds_text(column):
        return np.ascontiguousarray(column)
    digests = [blake2b(text.encode("utf-8", "surrogatepass")).digest() for text in column]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(column), -1)
