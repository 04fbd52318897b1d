"""Tables of comma-separated values, in Parquet or in JSON lines, with a file a split or one."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int

from jaxdl.data import user_files
from jaxdl.data.sources.sheet import Sheet
from jaxdl.data.splits import UNSPLIT_TEST, partition, require_unused
from jaxdl.data.table import Feature, Table, standardized
from jaxdl.errors import UserError, brief, printable, some

_log = logging.getLogger("jaxdl")


def csv(
    path: str,
    target: str | None = None,
    label: str | None = None,
    features: tuple[str, ...] | None = None,
    test_fraction: float | None = None,
    validation_fraction: float = 0.0,
    seed: int = 0,
    standardize: bool = False,
    delimiter: str = ",",
    text: tuple[str, ...] = (),
    encoding: str = "utf-8",
    decimal: Literal[".", ","] = ".",
    group: str | None = None,
    impute: Literal["mean", "median"] | None = None,
    validation: str | None = None,
    test: str | None = None,
) -> dict[str, Table]:
    """A CSV file with a header line and columns of numbers or text, split at random, or several.

    Args:
      path: path of the file. If its name ends in .parquet, it is a Parquet table; if in .jsonl,
        .ndjson or .json, it has a JSON object in each line, or a list of them.
      target: the column to regress on; becomes `target` (N,) float32.
      label: the column that holds the class; becomes `label` (N,) int32. Whole numbers are taken
        as they are; names, such as 007 or 1_2, are numbered in alphabetical order, and
        `Table.classes` lists them.
      features: the columns to predict from, in this order; becomes `features` (N, D) float32. By
        default all columns but the target, the label, the texts, the group, and those without a
        name, which number the rows; if none is left, no features.
      test_fraction: share of the rows for the test split, rounded; 0 for none. By default 0.2 of
        a single file, and 0 where `validation` or `test` is given.
      validation_fraction: share of the rows for the validation split, rounded; 0 for none.
      seed: seed of the random split. The same file, fractions and seed give the same splits.
      standardize: subtract from each feature its mean over the train split and divide by its
        standard deviation there, in every split, in float64; `standardization` computes both.
      delimiter: the character between two cells; 'tab' for a tab.
      text: columns of text, (N,) str each, under their own names; `tokenize` makes tokens of them.
      encoding: encoding of the file, as Python names it, such as 'cp1252'.
      decimal: the decimal sign: a point or a comma.
      group: a column that says which rows belong together, such as that of the patient, whose rows
        are all in the same split. It is kept under its own name, (N,) int32, for `--folds-by`;
        names are numbered in alphabetical order.
      impute: fill the gaps of features (empty cells, NA, NaN, null and the like) with the mean or
        the median of their column in the train split, in every split, with a warning. By default
        they are refused.
      validation: path of the file of the validation split, like `path`; classes, truths and
        thousands are read alike in all files.
      test: path of the file of the test split.

    Raises:
      UserError: a file cannot be read, does not have a column that is named, has a cell that is
        not a finite number, or an empty text, numbers that float32 can hardly tell apart, or one
        class written as two numbers; the message names the line or column.
    """
    if target is None and label is None and not text:
        raise UserError("csv: name the column to predict: target=… (a number) or label=… (a class)")
    target, label, group = (name and user_files.same_name(name) for name in (target, label, group))
    text = tuple(map(user_files.same_name, text))
    features = None if features is None else tuple(map(user_files.same_name, features))
    others = {k: v for k, v in (("validation", validation), ("test", test)) if v is not None}
    sheets = []
    for file in (path, *others.values()):
        with user_files.reading("csv", file):
            sheets.append(Sheet.read(file, delimiter, encoding, decimal))
    with user_files.reading("csv", path):
        columns, classes, names = _columns(
            sheets, target, label, features, text, group, None if impute is None else math.nan
        )
    fractions = {"test": test_fraction, "validation": validation_fraction}
    require_unused(fractions, others, f"csv: {path}")
    if test_fraction is None:
        test_fraction = 0.0 if others else UNSPLIT_TEST
    ends = [*accumulate(len(sheet.rows) for sheet in sheets)]
    groups = None if group is None else columns[group][: ends[0]]
    rows = partition(ends[0], test_fraction, validation_fraction, seed, f"csv: {path}", groups)
    rows |= {r: np.arange(*each) for r, each in zip(others, pairwise(ends), strict=True)}
    if label is not None:
        for role, file in others.items():
            _require_known(columns["label"][rows[role]], columns["label"][: ends[0]], classes, file)
    made = tuple(map(Feature, names))
    if (standardize or impute) and not names:
        setting = "standardize=True" if standardize else f"impute={impute!r}"
        raise UserError(f"csv: {path}: {setting}, but no column is a feature; leave it out")
    if impute:
        made = _filled(columns["features"], made, rows["train"], impute, path)
    if standardize:
        made = _standardizing(columns["features"][rows["train"]], made)
    elif names:
        for name, column in zip(names, columns["features"].T, strict=True):
            sheets[0].require_distinct(name, column)
    if names:
        columns["features"] = standardized(columns["features"], made)
    return {
        role: Table(
            {k: column[part] for k, column in columns.items()},
            f"{others.get(role, path)} {role}",
            classes,
            features=made,
        )
        for role, part in rows.items()
    }


def _columns(
    sheets: Sequence[Sheet],
    target: str | None,
    label: str | None,
    features: tuple[str, ...] | None,
    text: tuple[str, ...],
    group: str | None,
    gap: float | None,
) -> tuple[dict[str, np.ndarray], tuple[str, ...], list[str]]:
    """The columns of all files, the classes, and the names of the features.

    Features are float64, and `gap` where they are missing; None refuses that.
    """
    predicted = [name for name in (target, label) if name is not None]
    sheet = sheets[0]
    inputs = [name for name in sheet.header if name not in (*predicted, *text, group)]
    inputs = sheet.without_index(inputs) if features is None else list(features)
    for each in sheets:
        each.require(predicted, inputs, list(text), group)
        for name in predicted:
            each.require_single_rows(name)
    if len(sheets) > 1:
        used = [*predicted, *inputs, *text, *([] if group is None else [group])]
        sheet = sheet.joined(sheets[1:], used)
    columns = {name: sheet.texts(name) for name in text}
    if inputs:
        columns["features"] = np.stack([sheet.numbers(name, gap) for name in inputs], 1)
    classes: tuple[str, ...] = ()
    if group is not None:
        columns[group], _ = sheet.labels(group, "group")
    if target is not None:
        columns["target"] = sheet.singles(target)
    if label is not None:
        columns["label"], classes = sheet.labels(label)
    return columns, classes, inputs


def _require_known(
    labels: Int[np.ndarray, " rows"],
    known: Int[np.ndarray, " examples"],
    classes: tuple[str, ...],
    file: str,
) -> None:
    """Refuse a class in the file of another split that the file of the train split lacks."""
    if len(unknown := np.setdiff1d(labels, known)):
        first = int(unknown[0])
        raise UserError(
            f"csv: {file}: class {brief(classes[first] if classes else first)} has no row in the "
            "file of the train split; spell it as there, or add rows of it"
        )


def _filled(
    values: Float64[np.ndarray, "examples features"],
    features: tuple[Feature, ...],
    train: Int[np.ndarray, " rows"],
    by: Literal["mean", "median"],
    path: str,
) -> tuple[Feature, ...]:
    """Fill the gaps, which are NaN, in place; the features with what fills theirs."""
    gaps, made = np.isnan(values), []
    for i, feature in enumerate(features):
        known = values[train, i][~gaps[train, i]]
        if not len(known):
            raise UserError(
                f"csv: {path}, column {feature.name!r}: the train split has only gaps, so "
                f"impute={by!r} has no number for them; leave the column out with features=…"
            )
        made.append(
            replace(feature, fill=float(known.mean() if by == "mean" else np.median(known)))
        )
        values[gaps[:, i], i] = made[-1].fill
    told = [
        f"{printable(each.name)!r} {count} by {each.fill:.6g}"
        for each, count in zip(made, gaps.sum(0).tolist(), strict=True)
        if count
    ]
    if told:
        _log.warning("csv: %s: gaps filled by the train split's %s: %s", path, by, some(told))
    return tuple(made)


def _standardizing(
    train: Float64[np.ndarray, "examples features"], features: tuple[Feature, ...]
) -> tuple[Feature, ...]:
    """The features with the numbers that standardize them, those of the train split."""
    numbers = zip(features, *(each.tolist() for each in standardization(train)), strict=True)
    return tuple(replace(each, mean=mean, deviation=scale) for each, mean, scale in numbers)


def standardization(
    features: Float[np.ndarray, "examples features"],
) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, " features"]]:
    """Mean and standard deviation of each feature; that of a constant one is 1, to divide by."""
    constant = np.ptp(features, axis=0) == 0  # what is computed of it may be off by a rounding
    mean = np.where(constant, features[0], features.mean(axis=0, dtype=np.float64))
    return mean, np.where(constant, 1.0, features.std(axis=0, dtype=np.float64))
