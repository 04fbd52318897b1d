"""A split: columns in memory, or made on demand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, Integer, Num, Shaped, UInt8

from jaxdl.data.text.vocabulary import Vocabulary
from jaxdl.errors import UserError, brief, printable
from jaxdl.types import EPOCH, ROW

if TYPE_CHECKING:
    import jax

BEGINS = "begins"  # column of bools: a text begins at this row, so no state is carried into it


class Lazy(ABC):
    """A column whose values are made when they are needed, such as images to decode.

    Attributes:
      shape: (examples, ...) of the values that training sees.
      dtype: of the values.
      views: the number of versions of each example that evaluation sees. If more than one, indexing
        gives an axis for them: (examples, views, ...).
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
        """Bytes that the whole column would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @abstractmethod
    def __getitem__(self, rows: Any) -> Shaped[np.ndarray, "..."]:
        """The values at `rows`, indexed like an array, as evaluation sees them."""

    @abstractmethod
    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> Shaped[np.ndarray, "*batch ..."]:
        """The values as training sees them: a function of each row, its epoch, and the seed."""

    @abstractmethod
    def fingerprint(self) -> UInt8[np.ndarray, " bytes"]:
        """A digest that changes with the data, without reading all of it."""

    @abstractmethod
    def digests(self) -> UInt8[np.ndarray, "examples bytes"]:
        """A digest of each example; this reads the whole column."""


Column = np.ndarray | Lazy


@dataclass(frozen=True)
class Feature:
    """How a column of `features` was made from one of a file: (value - mean) / deviation.

    Attributes:
      name: the column's name in the file.
      mean, deviation: the numbers that standardized it; 0 and 1 if it was not standardized.
      fill: the number, as in the file, that replaces a gap; None if gaps are refused.
    """

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    fill: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns of equal length, indexed by rows.

    Args:
      columns: name -> array of shape (examples, ...), or `Lazy`. Any dtype that JAX supports; or
        object for texts, one str for each example, until `tokenize` makes tokens of them.
      where: what the columns were read from, for messages.
      classes: the name of each label, if the source knows them.
      vocabularies: token column -> its vocabulary.
      texts: token column -> the original text of each example, for scores that compare texts.
      features: how the column `features` was made, if the source knows the names.

    Raises:
      UserError: there are no columns, a column is not an array of examples, or columns have
        different lengths.
    """

    columns: Mapping[str, Any]  # values are of type Column; Any, so that arrays need no cast
    where: str = "the given arrays"
    classes: tuple[str, ...] = ()
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()

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
                    f"{self.where}: column {name!r} is a single value; a column has one value "
                    "for each example, so leave it out"
                )
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise UserError(
                f"{self.where}: columns must have the same length, got {lengths}; "
                "store each split in its own file, and remove arrays that are not columns"
            )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __repr__(self) -> str:
        columns = ", ".join(
            f"{printable(name)}: {described(column.dtype, column.shape[1:])}"
            for name, column in self.columns.items()
        )
        return f"Table({len(self):,} examples of {printable(self.where)}: {columns})"

    @property
    def lazy(self) -> dict[str, Lazy]:
        """The lazy columns."""
        return {name: c for name, c in self.columns.items() if isinstance(c, Lazy)}

    @property
    def views(self) -> int:
        """The number of versions of each example that evaluation sees."""
        return max([1, *(column.views for column in self.lazy.values())])

    def require(self, names: tuple[str, ...], remedy: str) -> None:
        """Refuse a table without these columns.

        Raises:
          UserError: a column is missing; the message ends with the remedy.
        """
        for name in names:
            if name not in self.columns:
                columns = ", ".join(self.columns)
                raise UserError(f"{self.where}: no column {name!r}; it has {columns}. {remedy}")

    def groups(self, name: str, setting: str) -> Shaped[np.ndarray, " examples"]:
        """A column that says which examples belong together, by a whole number for each.

        Args:
          name: of the column.
          setting: that names it, for messages.

        Raises:
          UserError: there is no such column, or it has other values.
        """
        remedy = f"{setting} must name a column of whole numbers; csv keeps that of group=…"
        self.require((name,), remedy)
        column = self.columns[name]
        if isinstance(column, Lazy) or column.ndim != 1 or column.dtype.kind not in "iub":
            raise UserError(
                f"{self.where}: {setting} must name one whole number for each example; "
                f"{name!r} has shape {column.shape[1:]} of {column.dtype}"
            )
        return column

    def batch_shapes(
        self, size: int, *, evaluation: bool = False
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a batch, without reading an example.

        Args:
          size: examples in the batch.
          evaluation: a batch as evaluation sees it, where that differs from training.
        """
        import jax  # here, so that reading data alone needs no JAX

        shapes = {}
        for name, column in self.columns.items():
            views = getattr(column, "views", 1) if evaluation else 1
            inner = (views, *column.shape[1:]) if views > 1 else column.shape[1:]
            shapes[name] = jax.ShapeDtypeStruct((size, *inner), column.dtype)
        return shapes

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The examples at `rows`, an integer array of any shape, as a batch of that shape."""
        return {name: column[rows] for name, column in self.columns.items()}

    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> dict[str, np.ndarray]:
        """The examples as training sees them: of each row of a lazy column its epoch's view."""
        return {
            name: column.train_view(rows, epochs, seed)
            if isinstance(column, Lazy)
            else column[rows]
            for name, column in self.columns.items()
        }

    def identity(self) -> dict[str, np.ndarray]:
        """What identifies this split: its columns, or the fingerprints of lazy ones."""
        # `begins` is left out, since runs of jaxdl 0.1 on the same texts did not have it.
        return {
            name: column.fingerprint() if isinstance(column, Lazy) else column
            for name, column in self.columns.items()
            if name != BEGINS
        }

    def with_rows(self) -> Table:
        """The table with its row numbers as a column, for code that depends on the example.

        Raises:
          UserError: it already has a column of that name, or of the name for its epochs.
        """
        for name, what in ((ROW, "number"), (EPOCH, "epoch")):
            if name in self.columns:
                raise UserError(
                    f"{self.where}: a column is named {name!r}, which here is each example's "
                    f"{what}; rename it"
                )
        rows = np.arange(len(self), dtype=np.int32)
        return replace(self, columns={**self.columns, ROW: rows})

    def with_features(self, features: tuple[Feature, ...]) -> Table:
        """The table with its features standardized by the same numbers as another table's.

        Raises:
          UserError: the features have other names, or gaps were filled with other numbers.
        """
        if features == self.features:
            return self
        if any(feature.fill is not None for feature in self.features):
            raise UserError(
                f"{self.where}: its gaps are filled with numbers of its own train split, not with "
                "those of the run or fold; fill the gaps in the file itself, and leave impute out"
            )
        names = [[feature.name for feature in each] for each in (self.features, features)]
        if names[0] != names[1]:
            raise UserError(
                f"{self.where}: its features are {brief(names[0])}, not {brief(names[1])}"
            )
        raw = self.columns["features"] * _numbers(self.features, "deviation")
        made = standardized(raw + _numbers(self.features, "mean"), features)
        return replace(self, columns={**self.columns, "features": made}, features=features)


def standardized(
    values: Num[np.ndarray, "examples features"], features: tuple[Feature, ...]
) -> Float32[np.ndarray, "examples features"]:
    """Numbers of a file as the column `features`; in float64 until they are standardized."""
    values = np.asarray(values, np.float64) - _numbers(features, "mean")
    return (values / _numbers(features, "deviation")).astype(np.float32)


def _numbers(features: tuple[Feature, ...], name: str) -> Float64[np.ndarray, " features"]:
    return np.array([getattr(feature, name) for feature in features], np.float64)


def described(dtype: Any, shape: Sequence[int]) -> str:
    """Type and shape of one example of a column, such as 'uint8 8×8×1'."""
    name = "text" if np.dtype(dtype) == object else np.dtype(dtype).name
    return " ".join([name, "×".join(map(str, shape))]).strip()
