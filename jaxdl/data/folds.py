"""k-fold cross-validation: the train split in folds, each of which is the test split of one run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, Shaped, UInt8

from jaxdl.data.sources.csv import standardization
from jaxdl.data.splits import random_state
from jaxdl.data.table import Column, Feature, Lazy, Table
from jaxdl.data.validation import duplicates
from jaxdl.errors import UserError, printable, some

_log = logging.getLogger("jaxdl")

_ANSWERS = ("label", "target")  # columns that are predicted, and so no part of an input


@dataclass(frozen=True)
class Folds:
    """How the train split is divided for cross-validation; `config.data.folds` sets these.

    A run trains on all folds but one, which is its test split; so `count` runs, each with another
    `fold`, test every example once. A test split that the source has is not used; a validation
    split stays. Features that the source standardizes are standardized by the run's train split;
    vocabularies are made from all folds.

    Args:
      count: how many folds, of nearly equal sizes.
      fold: the one that is tested, from 0.
      by: a column of whole numbers, such as the patient's, whose equal values stay in one fold;
        'time' for blocks of successive examples, in the order of the data; or 'time:COLUMN' for
        blocks within each recording, which that column numbers. By default folds are random, and
        stratified by class if there is a column `label` of whole numbers.
      seed: seed of the random folds. The same data, count and seed give the same folds.

    Raises:
      UserError: there are fewer than two folds, or `fold` is not one of them.
    """

    count: int
    fold: int = 0
    by: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if self.count < 2:
            raise UserError(f"folds: count={self.count}; it must be at least 2")
        if not 0 <= self.fold < self.count:
            raise UserError(f"folds: fold={self.fold}; it must be from 0 to {self.count - 1}")
        random_state("folds", self.seed)

    def apply(self, splits: Mapping[str, Table]) -> dict[str, Table]:
        """The splits of the run that tests this fold.

        Raises:
          UserError: the train split cannot be divided like this.
        """
        whole, place = splits["train"], self.places(splits["train"])
        if any(each.fill is not None for each in whole.features):
            raise UserError(
                f"{whole.where}: gaps would be filled with numbers of all folds, even the tested "
                "one; fill them in the file and leave impute out, or leave folds out"
            )
        tables = {
            **{role: table for role, table in splits.items() if role != "test"},
            "train": _rows_of(whole, np.flatnonzero(place != self.fold), f"without {self}"),
            "test": _rows_of(whole, np.flatnonzero(place == self.fold), str(self)),
        }
        if any((each.mean, each.deviation) != (0, 1) for each in whole.features):
            features = _standardization(tables["train"])
            tables = {role: table.with_features(features) for role, table in tables.items()}
        return tables

    def __str__(self) -> str:
        return f"fold {self.fold} of {self.count}"

    def places(self, table: Table) -> Int[np.ndarray, " examples"]:
        """The fold of each example.

        Raises:
          UserError: there are too few examples or groups, or the column of groups is missing.
        """
        examples = len(table)
        if examples < self.count:
            raise UserError(
                f"{table.where}: {examples} examples are too few for {self.count} folds"
            )
        if self.by == "time":
            if "time" in table.columns:
                raise UserError(
                    f"{table.where}: folds.by='time' means the order of the examples, but there is "
                    "also a column 'time'; sort the data by it and rename the column"
                )
            return self._blocks(examples)
        if self.by is not None and self.by.startswith("time:"):
            return self._blocks_of_recordings(table, self.by.removeprefix("time:"))
        if self.by is not None:
            return self._grouped(table, self.by)
        order = random_state("folds", self.seed).permutation(examples)
        labels = table.columns.get("label")
        if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu":
            order = order[np.argsort(labels[order], kind="stable")]
            self._warn_of_rare(table, labels)
        places = np.empty(examples, int)
        places[order] = np.arange(examples) % self.count  # class by class: sizes differ by one
        return places

    def _blocks(self, examples: int) -> Int[np.ndarray, " examples"]:
        """As many blocks of successive examples as there are folds."""
        return np.arange(examples) * self.count // examples

    def _blocks_of_recordings(self, table: Table, by: str) -> Int[np.ndarray, " examples"]:
        recordings, places = table.groups(by, f"folds.by={self.by!r}"), np.empty(len(table), int)
        for recording in np.unique(recordings):
            its = np.flatnonzero(recordings == recording)
            if len(its) < self.count:
                raise UserError(
                    f"{table.where}: {by}={recording} has {len(its)} examples, too few for "
                    f"{self.count} folds"
                )
            places[its] = self._blocks(len(its))
        return places

    def _grouped(self, table: Table, by: str) -> Int[np.ndarray, " examples"]:
        """Assign each group, the largest first, to the fold with the fewest examples."""
        if by in _ANSWERS:
            raise UserError(
                f"{table.where}: folds.by={by!r} is the column to predict, so the values in a fold "
                "would never occur in training; leave it out"
            )
        numbers = table.groups(by, f"folds.by={by!r}")
        values, group, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
        if len(values) < self.count:
            raise UserError(
                f"{table.where}: column {by!r} has {len(values)} groups, too few for {self.count} "
                "folds"
            )
        fold_of, filled = np.empty(len(values), int), np.zeros(self.count, int)
        for i in np.argsort(-sizes, kind="stable"):
            fold_of[i] = np.argmin(filled)
            filled[fold_of[i]] += sizes[i]
        return fold_of[group]

    def _warn_of_rare(self, table: Table, labels: np.ndarray) -> None:
        values, counts = np.unique(labels, return_counts=True)
        names = dict(enumerate(table.classes))
        rare = [
            f"{count} of class {printable(names.get(value, value))}"
            for value, count in zip(values.tolist(), counts.tolist(), strict=True)
            if count < self.count
        ]
        if rare:
            _log.warning(
                "%s: fewer examples than %d folds: %s; some folds have none",
                table.where,
                self.count,
                some(rare),
            )


def refuse_leakage(table: Table, folds: Folds, column: str | None = None) -> None:
    """Refuse inputs that lie in several folds: they would be tested after training on them.

    Args:
      table: the data to divide.
      folds: how to divide it.
      column: that of the inputs; by default all but `label`, `target` and that of the groups.

    Raises:
      UserError: there are exact copies of an input in different folds.
    """
    places = folds.places(table)
    names = [name for name in table.columns if name not in (*_ANSWERS, folds.by)]
    if column is not None and column in table.columns:
        names = [column]
    inputs = {name: table.columns[name] for name in names}
    table = replace(table, columns=inputs or table.columns)
    parts = {str(i): _rows_of(table, np.flatnonzero(places == i), "") for i in range(folds.count)}
    shared = {pair: number for pair, number in duplicates(parts).items() if number}
    if shared:
        pairs = [f"folds {a} and {b} share {number}" for (a, b), number in shared.items()]
        raise UserError(
            f"{table.where}: copies of one input lie in different folds, so runs would be tested "
            f"on what they were trained on ({some(pairs)}); remove the copies, or give those of "
            "one input the same number in a column and name it: --folds-by COLUMN"
        )


class _Rows(Lazy):
    """Some rows of a lazy column."""

    def __init__(self, column: Lazy, rows: Integer[np.ndarray, " examples"]) -> None:
        self._column, self._rows = column, rows
        self.shape, self.dtype = (len(rows), *column.shape[1:]), column.dtype
        self.views = column.views

    def __getitem__(self, rows: Any) -> Shaped[np.ndarray, "..."]:
        return self._column[self._rows[rows]]

    def train_view(
        self, rows: Integer[np.ndarray, "*batch"], epochs: Integer[np.ndarray, "*batch"], seed: int
    ) -> Shaped[np.ndarray, "*batch ..."]:
        """Those of the column."""
        return self._column.train_view(self._rows[rows], epochs, seed)

    def fingerprint(self) -> UInt8[np.ndarray, " bytes"]:
        """Of the column and of the rows."""
        digest = sha256(np.ascontiguousarray(self._column.fingerprint()).data)
        digest.update(np.ascontiguousarray(self._rows, np.int64).data)
        return np.frombuffer(digest.digest(), np.uint8)

    def digests(self) -> UInt8[np.ndarray, "examples bytes"]:
        """Those of the column."""
        return self._column.digests()[self._rows]


def _rows_of(table: Table, rows: Integer[np.ndarray, " rows"], what: str) -> Table:
    def some_of(column: Column) -> Column:
        return _Rows(column, rows) if isinstance(column, Lazy) else column[rows]

    return replace(
        table,
        columns={name: some_of(column) for name, column in table.columns.items()},
        texts={name: tuple(texts[i] for i in rows) for name, texts in table.texts.items()},
        where=f"{table.where}, {what}",
    )


def _standardization(table: Table) -> tuple[Feature, ...]:
    """The features, standardized by the numbers of this table."""
    means, deviations = standardization(table.columns["features"])  # of what is standardized before
    return tuple(
        Feature(each.name, each.mean + each.deviation * mean, each.deviation * deviation)
        for each, mean, deviation in zip(
            table.features, means.tolist(), deviations.tolist(), strict=True
        )
    )
