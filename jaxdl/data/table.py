"""A split: columns held in memory, or made on demand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from jaxdl.data.vocabulary import Vocabulary
from jaxdl.errors import UserError

BEGINS = "begins"  # column of bools: no state is carried into such a row, a text begins there


class Lazy(ABC):
    """A column whose values are made when they are asked for, such as images to decode.

    Attributes:
      shape: (examples, ...), of the values that training is given.
      dtype: of the values.
      views: how many versions of each example evaluation sees. If more than one, values that are
        indexed have an axis for them: (examples, views, ...).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    views: int = 1

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What it would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @abstractmethod
    def __getitem__(self, rows: Any) -> Shaped[np.ndarray, "..."]:
        """The values at `rows`, indexed as an array is, as evaluation sees them."""

    @abstractmethod
    def drawn(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> Shaped[np.ndarray, "*batch ..."]:
        """The values as training sees them: a function of each row, its epoch, and the seed."""

    @abstractmethod
    def fingerprint(self) -> UInt8[np.ndarray, " bytes"]:
        """A digest that changes with the data, without reading all of it."""

    @abstractmethod
    def digests(self) -> UInt8[np.ndarray, "examples bytes"]:
        """A digest of each example; this reads the whole."""


Column = np.ndarray | Lazy


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, indexed by rows.

    Args:
      columns: name -> array of shape (examples, ...), or `Lazy`. Any dtype JAX can hold, or object
        for texts, a str an example, until `tokenize` makes tokens of them.
      where: what the columns were read from, for error messages.
      classes: the name of each label, where the source knows them.
      vocabularies: token column -> what its ids stand for.
      texts: token column -> the text of each example as it was read. For scores that compare
        texts, on the host.

    Raises:
      UserError: no column, a column that is no array of examples, or columns of different lengths.
    """

    columns: Mapping[str, Any]  # of Column, which only what asks for its kind can tell apart
    where: str = "the arrays given"
    classes: tuple[str, ...] = ()
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse ragged columns, which would pair an input with another example's label."""
        if not self.columns:
            raise UserError(f"{self.where}: no columns; give at least one array")
        for name, column in self.columns.items():
            if not isinstance(column, Column):
                raise UserError(
                    f"{self.where}: column {name!r} is of type {type(column).__name__}; "
                    "convert it with numpy.asarray"
                )
            if column.ndim == 0:
                raise UserError(
                    f"{self.where}: column {name!r} is a single value; a column holds one value "
                    "an example, so leave it out"
                )
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise UserError(f"{self.where}: columns must have one length, got {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def lazy(self) -> dict[str, Lazy]:
        """The columns that are made on demand."""
        return {name: c for name, c in self.columns.items() if isinstance(c, Lazy)}

    @property
    def views(self) -> int:
        """How many versions of each example evaluation sees."""
        return max([1, *(column.views for column in self.lazy.values())])

    def require(self, names: tuple[str, ...], remedy: str) -> None:
        """Refuse a table without these columns.

        Raises:
          UserError: naming the first that is missing, and the remedy.
        """
        for name in names:
            if name not in self.columns:
                there = ", ".join(self.columns)
                raise UserError(f"{self.where}: no column {name!r}; it has {there}. {remedy}")

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The examples at `rows`, an integer array of any shape, as a batch of that shape."""
        return {name: column[rows] for name, column in self.columns.items()}

    def drawn(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> dict[str, np.ndarray]:
        """The same as training sees them: lazy columns are drawn, each row for its epoch."""
        return {
            name: column.drawn(rows, epochs, seed) if isinstance(column, Lazy) else column[rows]
            for name, column in self.columns.items()
        }

    def identity(self) -> dict[str, np.ndarray]:
        """What tells this split from another: its columns, of lazy ones a fingerprint."""
        # Where texts begin is left out: runs that jaxdl 0.1 wrote of the same texts do not know it.
        return {
            name: column.fingerprint() if isinstance(column, Lazy) else column
            for name, column in self.columns.items()
            if name != BEGINS
        }
