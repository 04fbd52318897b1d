"""What must hold of data before anything is trained on it, and what is worth knowing of it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from itertools import combinations

import numpy as np

from jaxdl.data.table import Lazy, Table
from jaxdl.errors import UserError


def validate(splits: Mapping[str, Table]) -> None:
    """Refuse splits that cannot be trained on, at the first example that is to blame.

    What a label may be is the task's to say.

    Raises:
      UserError: no train split, an empty one, splits that differ in their columns, text, a dtype
        that no device holds, a value that is not finite, or too large once on the device.
    """
    require_examples(splits)
    for role, table in splits.items():
        _validate_table(table)
        if _schema(table) != _schema(splits["train"]):
            raise UserError(
                f"{table.where}: the {role} split has columns {_schema(table)}, the train split "
                f"{_schema(splits['train'])}; make them the same"
            )


def require_examples(splits: Mapping[str, Table]) -> None:
    """Refuse splits without a train split, or with an empty one."""
    if "train" not in splits:
        raise UserError(f"data: no 'train' split; the source gives {', '.join(splits) or 'none'}")
    for table in splits.values():
        if len(table) == 0:
            raise UserError(f"{table.where}: no examples; a split needs at least one")


def holds_text(column: np.ndarray | Lazy) -> bool:
    """Whether a column is text: a str an example."""
    if isinstance(column, Lazy) or column.ndim != 1 or column.dtype.kind not in "OU":
        return False
    return all(isinstance(value, str) for value in column)


def duplicates(splits: Mapping[str, Table]) -> dict[tuple[str, str], int]:
    """Count the distinct examples that two splits share, equal in every column.

    An example of the test split that was trained on makes the test easier than it says.

    Returns:
      (role, other role) -> count, for each pair of splits, zeros included.
    """
    seen = {role: _digests(table) for role, table in splits.items()}
    return {(a, b): len(seen[a] & seen[b]) for a, b in combinations(splits, 2)}


def _validate_table(table: Table) -> None:
    if "mask" in table.columns:
        raise UserError(f"{table.where}: column 'mask' is the batch's own padding mask; rename it")
    for name, column in table.columns.items():
        where = f"{table.where}: column {name!r}"
        if 0 in column.shape:
            raise UserError(f"{where} has shape {column.shape}, which holds no value; leave it out")
        _validate_dtype(column, where)
        if not np.issubdtype(column.dtype, np.integer):
            _refuse(~np.isfinite(column), column, where, "not finite; mend or remove the example")
        if column.dtype.kind in "iuf" and column.dtype.itemsize == 8:
            _refuse_too_large(column, where)


def _validate_dtype(column: np.ndarray | Lazy, where: str) -> None:
    import jax.numpy as jnp  # here, so that reading data alone needs no JAX

    if holds_text(column):
        raise UserError(f"{where} holds text; name it in config.data.tokenize or leave it out")
    if column.dtype == object or column.dtype.kind in "SU":
        raise UserError(
            f"{where} holds {column.dtype}, which no device does; leave it "
            "out of the source's columns"
        )
    numeric = column.dtype == bool or jnp.issubdtype(column.dtype, np.number)
    if not numeric or column.dtype.char in "gG" or not column.dtype.isnative:  # g: long double
        raise UserError(f"{where} has dtype {column.dtype.str}, which JAX lacks; convert it")


def _refuse_too_large(column: np.ndarray, where: str) -> None:
    """Unless x64 is enabled JAX takes 32 of 64 bits, without a word where that is no number."""
    import jax
    import jax.numpy as jnp

    held = jax.dtypes.canonicalize_dtype(column.dtype)
    limits = jnp.iinfo(held) if column.dtype.kind in "iu" else jnp.finfo(held)
    low, high = column.dtype.type(limits.min), column.dtype.type(limits.max)
    if column.min() < low or column.max() > high:
        outside = (column < low) | (column > high)
        _refuse(outside, column, where, f"too large for {held}; rescale it or leave it out")


def _refuse(wrong: np.ndarray, column: np.ndarray, where: str, why: str) -> None:
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        examples = int(wrong.reshape(len(wrong), -1).any(axis=1).sum())
        at = f", at {first[1:]}" if first[1:] else ""
        raise UserError(
            f"{where}, example {first[0]}{at}: {column[first]} is {why} "
            f"({examples} of {len(column)} examples are so)"
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
    """The column itself; of lazy ones digests, and of text, whose array holds no bytes."""
    if isinstance(column, Lazy):
        return column.digests()
    if not holds_text(column):
        return np.ascontiguousarray(column)
    digests = [blake2b(text.encode("utf-8", "surrogatepass")).digest() for text in column]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(column), -1)
