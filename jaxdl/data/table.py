"""A split held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxdl.data.vocabulary import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, indexed by rows.

    Args:
      columns: name -> array of shape (examples, ...). Any dtype JAX can hold, or object for texts,
        a str an example, until `tokenize` makes tokens of them.
      where: what the columns were read from, for error messages.
      classes: the name of each label, where the source knows them.
      vocabularies: token column -> what its ids stand for.
      texts: token column -> the text of each example as it was read. For scores that compare
        texts, on the host.

    Raises:
      UserError: no column, a column that is no array of examples, or columns of different lengths.
    """

    columns: Mapping[str, np.ndarray]
    where: str = "the arrays given"
    classes: tuple[str, ...] = ()
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse ragged columns, which would pair an input with another example's label."""
        if not self.columns:
            raise UserError(f"{self.where}: no columns; give at least one array")
        for name, column in self.columns.items():
            if not isinstance(column, np.ndarray):
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
