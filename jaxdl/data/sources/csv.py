"""Tables of comma-separated values, or in Parquet, split at random."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from jaxdl.data import user_files
from jaxdl.data.sources.sheet import Sheet
from jaxdl.data.splits import partition
from jaxdl.data.table import Feature, Table, standardized
from jaxdl.errors import UserError


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
    encoding: str = "utf-8",
    decimal: Literal[".", ","] = ".",
    group: str | None = None,
) -> dict[str, Table]:
    """A CSV file with a header line and columns of numbers or text, split at random.

    Args:
      path: of the file. One that ends in .parquet is a table in Parquet, of the same.
      target: the column to regress on; becomes `target` (N,) float32.
      label: the column that holds the class; becomes `label` (N,) int32. Whole numbers are taken
        as they are; names, such as 007 or 1_2, are numbered in alphabetical order, and
        `Table.classes` lists them.
      features: the columns to predict from, in this order; becomes `features` (N, D) float32. By
        default all columns but the target, the label, the texts, the group, and those without a
        name, which number the rows; if none is left, no features.
      test_fraction: share of the rows for the test split, rounded; 0 for none.
      validation_fraction: share of the rows for the validation split, rounded; 0 for none.
      seed: of the random split. The same file, fractions and seed give the same splits.
      standardize: subtract from each feature its mean over the train split and divide by its
        standard deviation there, in every split, in float64; `standardization` computes both.
      delimiter: the character between two cells; 'tab' for a tabulator.
      text: columns of text, (N,) str each, under their own names; `tokenize` makes tokens of them.
      encoding: of the file, by Python's name for it, such as 'cp1252'.
      decimal: the sign before the decimals of a number: a point or a comma.
      group: a column that says which rows belong together, such as that of the patient: all rows
        of one come into the same split. It is kept under its own name, (N,) int32, for
        `--folds-by`; names are numbered in alphabetical order.

    Raises:
      UserError: the file cannot be read, does not have a column that is named, has a cell that is
        not a finite number, or an empty text, numbers that float32 can hardly tell apart, or one
        class written as two numbers; the message names the line or column.
    """
    if target is None and label is None and not text:
        raise UserError("csv: name the column to predict: target=… (a number) or label=… (a class)")
    target, label, group = (name and user_files.same_name(name) for name in (target, label, group))
    text = tuple(map(user_files.same_name, text))
    features = None if features is None else tuple(map(user_files.same_name, features))
    with user_files.reading("csv", path):
        sheet = Sheet.read(path, delimiter, encoding, decimal)
        columns, classes, names = _columns(
            sheet, target, label, features, text, group, exact=standardize
        )
    groups = None if group is None else columns[group]
    rows = partition(
        len(sheet.rows), test_fraction, validation_fraction, seed, f"csv: {path}", groups
    )
    made = tuple(map(Feature, names))
    if standardize and not names:
        raise UserError(f"csv: {path}: standardize=True, but no column is a feature; leave it out")
    if standardize:
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
    sheet: Sheet,
    target: str | None,
    label: str | None,
    features: tuple[str, ...] | None,
    text: tuple[str, ...],
    group: str | None,
    exact: bool,
) -> tuple[dict[str, np.ndarray], tuple[str, ...], list[str]]:
    """The columns of `csv` before they are split, the classes, and the names of the features.

    Features that are `exact` are float64.
    """
    predicted = [name for name in (target, label) if name is not None]
    inputs = [name for name in sheet.header if name not in (*predicted, *text, group)]
    inputs = sheet.without_index(inputs) if features is None else list(features)
    sheet.require(predicted, inputs, list(text), group)
    for name in predicted:
        sheet.require_single_rows(name)
    columns = {name: sheet.texts(name) for name in text}
    if inputs:
        read = sheet.numbers if exact else sheet.singles
        columns["features"] = np.stack(list(map(read, inputs)), 1)
    classes: tuple[str, ...] = ()
    if group is not None:
        columns[group], _ = sheet.labels(group, "group")
    if target is not None:
        columns["target"] = sheet.singles(target)
    if label is not None:
        columns["label"], classes = sheet.labels(label)
    return columns, classes, inputs


def standardization(
    features: Float[np.ndarray, "examples features"],
) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, " features"]]:
    """Mean and standard deviation of each feature; that of a constant one is 1, to divide by."""
    constant = np.ptp(features, axis=0) == 0  # what is computed of it may be off by a rounding
    mean = np.where(constant, features[0], features.mean(axis=0, dtype=np.float64))
    return mean, np.where(constant, 1.0, features.std(axis=0, dtype=np.float64))
