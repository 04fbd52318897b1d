"""Evaluates a trained run on other data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jaxdl import config as cfg
from jaxdl import data
from jaxdl.data.places import places_of
from jaxdl.data.table import Table
from jaxdl.data.tokens import with_begins
from jaxdl.errors import UserError, brief
from jaxdl.inference.inputs import as_table
from jaxdl.inference.restored import RestoredRun
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import GeneratesText
from jaxdl.training.build import load_splits, overridden
from jaxdl.training.evaluation import make_evaluation, make_scored_generation, report, transformed
from jaxdl.training.settings import DATA_KEYS, Data
from jaxdl.training.state import digest
from jaxdl.training.step import initialize_carry

_PREPARING = frozenset({*DATA_KEYS} - {"twin"})  # how data is prepared cannot be changed
_SHARES = ("test_fraction", "validation_fraction")
_FURTHER = {"validation", "test"}  # settings that name a file of these splits


class Evaluator:
    """Evaluates a run on tables; compiled once for tables with the same columns.

    Args:
      run: with a checkpoint.
    """

    def __init__(self, run: RestoredRun) -> None:
        self._run, task = run, run.task
        evaluation = make_evaluation(run.eval_model, task, precision=run.precision)
        self._evaluation = jit(transformed(evaluation, run.transforms.evaluation))
        self._generation = None
        if isinstance(task, GeneratesText) and task.scores:
            width = run.columns[task.tokens]["shape"][0]
            generation = make_scored_generation(
                run.model, task, run.vocabularies, width, precision=run.precision
            )
            self._generation = jit(transformed(generation, run.transforms.always))

    def __call__(self, data: Any) -> dict[str, Any]:
        """The task's report on examples, each counted once.

        Args:
          data: a `Table` with the true answers, or columns by name; see `inputs.as_table`.

        Raises:
          UserError: a column is missing or of another kind, or classes or tokens are not the run's.
        """
        run, task, size = self._run, self._run.task, self._run.training.eval_batch_size
        table, state = as_table(run, data, ()), run.state
        if table.classes:
            table = _numbered_as(_names(run, table), table, task.label)
        task.check(table)
        with run.precision.enabled():
            if run.training.carry and task.continues:
                table = with_begins(table, task.continues)
                carry = initialize_carry(
                    run.model, state.eval_params, state.model_state, size, run.precision
                )
                state = replace(state, carry=carry)
            return report(self._evaluation, self._generation, task, state, table, size)


def _numbered_as(names: tuple[str, ...], table: Table, label: str) -> Table:
    """The table with the run's numbers of its classes, of which it may lack some."""
    if table.classes == names:
        return table
    if not {*table.classes} <= {*names} or label not in table.columns:
        raise UserError(
            f"{table.where}: its classes are {brief(table.classes)}, but the run has "
            f"{brief(names)}; give data with no other classes"
        )
    numbers, labels = np.array([*map(names.index, table.classes)]), table.columns[label]
    labels = np.where(labels < 0, labels, numbers[labels]).astype(labels.dtype)
    return replace(table, columns={**table.columns, label: labels}, classes=names)


def _names(run: RestoredRun, table: Table) -> tuple[str, ...]:
    """The names of the run's classes, or their numbers."""
    return run.classes or tuple(map(str, range(len(table.classes))))


def other_splits(run: RestoredRun, overrides: Iterable[str]) -> Mapping[str, Table]:
    """The splits of the run's data, or of another data set of its kind.

    The run's own data, recognised by its SHA-256, is split as in training, wherever it is. For
    other data, files of further splits are left out, and fractions that a source would hold out of
    the train split, such as `test_fraction`, are 0, unless an override sets them; and a single
    split is called 'other'.

    Args:
      run: its config says how to read data, and its vocabularies make tokens.
      overrides: `data.key=value`, which say what to read instead.

    Raises:
      UserError: an override is of another key, or the data cannot be read.
    """
    given = set()
    for override in overrides:
        group, _, key = override.partition("=")[0].partition(".")
        if group != "data" or not key or key.partition(".")[0] in _PREPARING:
            raise UserError(
                f"--config.{override}: cannot be changed for evaluation; to evaluate on other "
                "data, say where it is, such as --config.data.path"
            )
        given.add(key)
    node = overridden({**run.config, "target": None}, overrides)["data"]
    if not given:
        return load_splits(node, run.vocabularies)
    if splits := _own_splits(run, node):
        return splits
    read, _ = cfg.choose(Data.of(node)[1], data.SOURCES, "config.data", selector="source")
    own = dict.fromkeys({*places_of(node["source"])} & _FURTHER)
    own |= {name: 0.0 for name in _SHARES if name in cfg.parameters(read)}
    unset = {name: value for name, value in own.items() if name not in given}
    splits = load_splits({**node, **unset, "folds": None}, run.vocabularies)
    for table in splits.values():
        if not table.classes and run.classes not in ((), tuple(map(str, range(len(run.classes))))):
            raise UserError(
                f"{table.where}: its classes are numbers, but the run has {brief(run.classes)}; "
                "use their names"
            )
    return {"other": splits["train"]} if [*splits] == ["train"] else splits


def _own_splits(run: RestoredRun, node: Mapping[str, Any]) -> Mapping[str, Table] | None:
    """The splits, if they are the run's own data; None for other data."""
    try:
        splits = load_splits(node, run.vocabularies)
    except UserError:  # other data may be too small to split; any other error will be raised again
        return None
    known = run.directory.data().get("sha256")
    return splits if known == {k: digest(t.identity()) for k, t in splits.items()} else None
