"""Twins: small data sets that stand in for large ones, offline.

A twin has the columns, dtypes, shapes and classes of its original, and is learnable, so that every
config can be tried out end to end with no download. Its figures mean nothing.

To add one, write a function that returns the splits and name it in `TWINS`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxdl.data.builtin import blobs, digits, polynomial
from jaxdl.data.from_tfds import tfds
from jaxdl.data.table import Table
from jaxdl.errors import UserError

# Sources that are small and offline already.
_OWN_TWINS = (blobs, digits, polynomial)


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


# By the name that TFDS has for the original. All splits, whether the original has them or not:
# a config may cut its validation split from the train split.
TWINS: dict[str, Callable[[], dict[str, Table]]] = {
    "mnist": mnist,
}


def twin_of(
    source: Callable[..., dict[str, Table]], settings: Mapping[str, Any]
) -> dict[str, Table]:
    """The twin of what `source(**settings)` would read.

    Args:
      source: a data source.
      settings: its arguments.

    Returns:
      The same splits, with the same columns.

    Raises:
      UserError: there is no twin; a user's own data has none.
    """
    if source in _OWN_TWINS:
        return source(**settings)
    if source is not tfds:
        raise UserError(
            f"no twin of data source {source.__name__!r}, which reads your own data; leave out "
            "--config.data.twin"
        )
    call = inspect.signature(tfds).bind(**settings)
    call.apply_defaults()
    given = call.arguments
    name = re.split("[/:]", given["dataset"])[0]
    if name not in TWINS:
        raise UserError(f"no twin of {given['dataset']!r}; there are twins of {', '.join(TWINS)}")
    return {
        role: _only(table, given["columns"])
        for role, table in TWINS[name]().items()
        if given[role] is not None
    }


def _only(table: Table, names: tuple[str, ...] | None) -> Table:
    if names is None:
        return table
    for name in names:
        if name not in table.columns:
            raise UserError(f"{table.where}: no column {name!r}; it has {', '.join(table.columns)}")
    return Table({name: table.columns[name] for name in names}, table.where, table.classes)


def _framed(small: UInt8[np.ndarray, "n 8 8 1"]) -> UInt8[np.ndarray, "n 28 28 1"]:
    """8×8 with values 0 to 16 -> 20×20 with values 0 to 255, in a black frame of 4."""
    enlarge = _interpolation(8, 20)
    large = enlarge @ small[..., 0].astype(np.float64) @ enlarge.T * (255 / 16)
    return np.pad(np.rint(large).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))[..., None]


def _interpolation(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """The matrix that interpolates linearly between `old` evenly spaced pixels."""
    place = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(old)))
