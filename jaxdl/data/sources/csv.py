"""Tables of comma-separated values, split at random."""

from __future__ import annotations

import csv as csv_format
import difflib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int32

from jaxdl.data import user_files
from jaxdl.data.splits import partition
from jaxdl.data.table import Feature, Table, standardized
from jaxdl.errors import UserError, brief, printable

_LARGEST = float(np.finfo(np.float32).max)


def csv(
    path: str,
    target: str | None = None,
    label: str | None = None,
    features: tuple[str, ...] | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    standardize: bool = False,
    delimiter: str = ",",
    text: tuple[str, ...] = (),
) -> dict[str, Table]:
    """A CSV file with a header line and columns of numbers or text, split at random.

    Args:
      path: of the file, in UTF-8.
      target: the column to regress on; becomes `target` (N,) float32.
      label: the column that holds the class; becomes `label` (N,) int32. Whole numbers are taken
        as they are; names are numbered in alphabetical order, and `Table.classes` lists them.
      features: the columns to predict from, in this order; becomes `features` (N, D) float32. By
        default all columns but the target, the label and the texts; if none is left, no features.
      test_fraction: share of the rows for the test split, rounded; 0 for none.
      validation_fraction: share of the rows for the validation split, rounded; 0 for none.
      seed: of the random split. The same file, fractions and seed give the same splits.
      standardize: subtract from each feature its mean over the train split and divide by its
        standard deviation there, in every split; `standardization` computes both.
      delimiter: the character between two cells.
      text: columns of text, (N,) str each, under their own names; `tokenize` makes tokens of them.

    Raises:
      UserError: the file cannot be read, does not have a column that is named, has a cell that is
        not a finite number, or an empty text; the message names the line and column.
    """
    if target is None and label is None and not text:
        raise UserError("csv: name the column to predict: target=… (a number) or label=… (a class)")
    with user_files.reading("csv", path):
        columns, classes, names = _columns(path, target, label, features, delimiter, text)
    count = len(next(iter(columns.values())))
    rows = partition(count, test_fraction, validation_fraction, seed, f"csv: {path}")
    made = tuple(map(Feature, names))
    if standardize and names:
        numbers = standardization(columns["features"][rows["train"]])
        made = tuple(map(Feature, names, *(each.tolist() for each in numbers)))
        columns["features"] = standardized(columns["features"], made)
    return {
        role: Table(
            {k: column[part] for k, column in columns.items()},
            f"{path} {role}",
            classes,
            features=made,
        )
        for role, part in rows.items()
    }


def _columns(
    path: str,
    target: str | None,
    label: str | None,
    features: tuple[str, ...] | None,
    delimiter: str,
    text: tuple[str, ...],
) -> tuple[dict[str, np.ndarray], tuple[str, ...], list[str]]:
    """The columns of `csv` before they are split, the classes, and the names of the features."""
    sheet = Sheet.read(path, delimiter)
    predicted = [name for name in (target, label) if name is not None]
    inputs = [name for name in sheet.header if name not in (*predicted, *text)]
    inputs = inputs if features is None else list(features)
    sheet.require(predicted, inputs, list(text))
    columns = {name: sheet.texts(name) for name in text}
    if inputs:
        columns["features"] = np.stack(list(map(sheet.numbers, inputs)), 1)
    classes: tuple[str, ...] = ()
    if target is not None:
        columns["target"] = sheet.numbers(target)
    if label is not None:
        columns["label"], classes = sheet.labels(label)
    return columns, classes, inputs


def standardization(
    features: Float[np.ndarray, "examples features"],
) -> tuple[Float32[np.ndarray, " features"], Float32[np.ndarray, " features"]]:
    """Mean and standard deviation of each feature; that of a constant one is 1, to divide by."""
    constant = np.ptp(features, axis=0) == 0  # its computed deviation may be tiny instead of 0
    deviation = np.where(constant, 1.0, features.std(axis=0, dtype=np.float64))
    return features.mean(axis=0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32)


@dataclass(frozen=True)
class Sheet:
    """The cells of a CSV file.

    Attributes:
      path: the file.
      header: the columns' names.
      rows: the cells of each row, one for each column.
      lines: the line of the file in which each row ends.
    """

    path: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    @classmethod
    def read(cls, path: str, delimiter: str) -> Sheet:
        """Read a file; refuse what is not a table, naming the line."""
        if len(delimiter) != 1:
            raise UserError(f"csv: delimiter={delimiter!r}; it must be one character")
        rows, lines = [], []
        text = StringIO(user_files.read(Path(path), "csv"))
        cells = csv_format.reader(text, delimiter=delimiter, skipinitialspace=True)
        try:
            for row in cells:
                if row:
                    rows.append([cell.strip() for cell in row])
                    lines.append(cells.line_num)
        except csv_format.Error as error:
            raise UserError(f"csv: {path} line {cells.line_num}: {error}; correct it") from None
        sheet = cls(path, rows[0] if rows else [], rows[1:], lines[1:])
        sheet._check()
        return sheet

    def _check(self) -> None:
        if not self.rows:
            raise UserError(f"csv: {self.path} has no rows; it needs a header line and a row")
        if all(is_number(name) for name in self.header):
            raise UserError(
                f"csv: {self.path} starts with numbers; its first line must be a header"
            )
        twice = sorted(name for name, count in Counter(self.header).items() if count > 1)
        if twice:
            raise UserError(
                f"csv: {self.path}: columns {brief(twice)} are there twice; rename them"
            )
        for row, line in zip(self.rows, self.lines, strict=True):
            if len(row) != len(self.header):
                raise UserError(
                    f"csv: {self.path} line {line} has {len(row)} cells, the header "
                    f"{len(self.header)}; correct the line"
                )

    @cached_property
    def _place(self) -> dict[str, int]:
        """The position of each column in a row."""
        return {name: i for i, name in enumerate(self.header)}

    def cells(self, name: str) -> list[str]:
        """A column as it stands in the file."""
        at = self._place[name]
        return [row[at] for row in self.rows]

    def require(self, predicted: list[str], inputs: list[str], texts: list[str]) -> None:
        """Refuse names that the header lacks, and a column that is used twice."""
        for name in predicted + inputs + texts:
            if name not in self._place:
                near = difflib.get_close_matches(name, self.header, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UserError(
                    f"csv: {self.path} has no column {name!r}; {hint}it has "
                    f"{_listed(self.header)} (delimiter and spelling right?)"
                )
        used = predicted + inputs + texts
        if len(used) == len(predicted) or len(set(used)) < len(used):
            raise UserError(
                f"csv: {self.path}: features {brief(inputs + texts)} to predict {predicted}; "
                "give at least one feature, and no column twice"
            )
        for name in {"features", "target", "label"}.intersection(texts):
            raise UserError(
                f"csv: {self.path}: text column {name!r} has the name of a column "
                "that csv makes itself; rename it"
            )

    def numbers(self, name: str) -> Float32[np.ndarray, " rows"]:
        """A column of finite numbers."""
        cells = self.cells(name)
        wrong = [i for i, cell in enumerate(cells) if not is_number(cell)]
        if wrong:
            cell = brief(cells[wrong[0]]) if cells[wrong[0]] else "an empty cell"
            raise UserError(
                f"csv: {self.path} line {self.lines[wrong[0]]}, column {name!r}: {cell} is not a "
                f"finite number ({len(wrong)} cells are not); correct them or leave the column out"
            )
        return np.array(cells, np.float64).astype(np.float32)

    def texts(self, name: str) -> np.ndarray:
        """A column of texts; refuses empty ones."""
        return np.array(self._filled(name, "text"), object)

    def labels(self, name: str) -> tuple[Int32[np.ndarray, " rows"], tuple[str, ...]]:
        """A column of labels, and the names of the classes unless they are whole numbers."""
        cells = self._filled(name, "label")
        try:
            return np.array([int(cell) for cell in cells], np.int32), ()
        except (ValueError, OverflowError):
            classes = sorted(set(cells))
            number = {name: i for i, name in enumerate(classes)}
            return np.array([number[cell] for cell in cells], np.int32), tuple(classes)

    def _filled(self, name: str, what: str) -> list[str]:
        cells = self.cells(name)
        if "" in cells:
            line = self.lines[cells.index("")]
            raise UserError(
                f"csv: {self.path} line {line}, column {name!r}: no {what}; correct the row"
            )
        return cells


def _listed(names: list[str], most: int = 20) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def is_number(cell: str) -> bool:
    """Whether a cell is a number that float32 can hold; Python's 1_000 is refused."""
    try:
        return "_" not in cell and abs(float(cell)) <= _LARGEST
    except ValueError:
        return False
