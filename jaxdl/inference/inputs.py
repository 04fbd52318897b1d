"""Turns a user's data into a table with the columns that a run was trained on.

In training, data was first read (numbers of tables standardized, texts tokenized, images scaled)
and then transformed on the device by `config.data.transforms`. The first half is repeated here; the
second is part of the programs of `Predictor` and `Evaluator`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.data.sources.sheet import TYPED, Sheet
from jaxdl.data.table import Lazy, Table, described, standardized
from jaxdl.data.tokens import tokenize
from jaxdl.errors import UserError, brief, suggestion
from jaxdl.inference.images import as_clips, encoded, image_columns
from jaxdl.inference.restored import RestoredRun
from jaxdl.tasks import GeneratesText

GIVEN = "the data given"


def columns_read(
    function: Callable[[Any], Any], columns: Mapping[str, jax.ShapeDtypeStruct]
) -> set[str]:
    """The columns that a function of a batch uses: for predictions, say, not the labels.

    Nothing is computed.
    """
    traced = jax.make_jaxpr(function)(dict(columns)).jaxpr
    inputs = dict(zip(traced.invars, sorted(columns), strict=True))
    read = [*traced.outvars, *(v for equation in traced.eqns for v in equation.invars)]
    return {inputs[v] for v in read if not hasattr(v, "val") and v in inputs}


def kind_of(run: RestoredRun, needed: Collection[str]) -> str:
    """The kind of input that a run takes: 'images', 'texts', or a 'table' of numbers."""
    if any(is_image(run, name) for name in needed):
        return "images"
    return "texts" if any(name in run.vocabularies for name in needed) else "table"


def is_image(run: RestoredRun, name: str) -> bool:
    """Whether a column is of images, or of clips of them."""
    column = run.columns[name]
    return column["dtype"] == "uint8" and len(column["shape"]) in (3, 4)


def as_table(run: RestoredRun, data: Any, needed: Collection[str]) -> Table:
    """The columns that a run needs, from a user's data.

    Args:
      run: says what its columns are.
      data: a `Table`, or columns by name: those of the run's data, the texts that tokens are made
        from, or the columns that `features` were read from. Where the run needs one column, that
        column alone: images as arrays or paths, texts, numbers.
      needed: columns that must come of it.

    Returns:
      Those columns, and others of the run's data that were given.

    Raises:
      UserError: a column is missing, or of another type or shape than in training.
    """
    known = _agreeing(run, data) if isinstance(data, Table) else None
    where = GIVEN if known is None else known.where
    given = _named(run, data, needed) if known is None else known.columns
    if "features" in given and _standardizes(run) and not (known and known.features):
        raise UserError(
            f"{where}: the run standardized its features when it read them; give the columns of "
            f"its file, by name: {brief([each.name for each in run.features])}"
        )
    columns: dict[str, Any] = {}
    for name in run.columns:
        if name in given:
            columns |= _column(run, name, given, where)
        elif name in run.tokenize and run.tokenize[name].text in given:
            columns |= _tokens(run, name, given[run.tokenize[name].text], where)
        elif name == "features" and run.features and {e.name for e in run.features} <= {*given}:
            columns |= _features(run, given, where)
    if not columns or (missing := [name for name in sorted(needed) if name not in columns]):
        raise _missing(run, sorted(needed) if not columns else missing, given, where)
    classes = run.classes if known is None else known.classes
    texts = {} if known is None else dict(known.texts)
    for name, made in run.tokenize.items():
        if made.text in given and made.window is None:  # a row of tokens is a whole text
            texts[name] = tuple(given[made.text])
    return Table(
        columns,
        where,
        classes,
        vocabularies={n: v for n, v in run.vocabularies.items() if n in columns},
        texts=texts,
    )


def read_csv(run: RestoredRun, path: str, needed: Collection[str]) -> tuple[Sheet, dict[str, Any]]:
    """A table with the columns that a run needs, as a sheet and as columns for `as_table`.

    Raises:
      UserError: the file cannot be read, lacks a column, or has a cell that is not a number.
    """
    data = run.config["data"]
    spelt = () if path.lower().endswith(TYPED) else ("delimiter", "encoding", "decimal")
    written = {k: data[k] for k in spelt if k in data}
    sheet = Sheet.read(path, **written)
    features, columns = [each.name for each in run.features], dict[str, Any]()
    for name in needed:
        shape = run.columns[name]["shape"]
        if name == "features" and not features and _standardizes(run):
            raise UserError(
                f"{path}: the run standardized its features, but jaxdl 0.1, which made it, did not "
                "keep their means; train it again"
            )
        if name in run.tokenize:
            text = run.tokenize[name].text
            sheet.require([], [], [text])
            columns[text] = sheet.texts(text)
        elif name == "features" and features:
            sheet.require([], features, [])
            columns |= {each.name: sheet.numbers(each.name, each.fill) for each in run.features}
        elif len(shape) == 1 and shape[0] == len(sheet.header):  # their names are not known
            columns[name] = np.stack([sheet.singles(each) for each in sheet.header], 1)
        elif not shape:
            sheet.require([], [name], [])
            whole = run.columns[name]["dtype"].lstrip("u").startswith("int")
            columns[name] = sheet.whole_numbers(name) if whole else sheet.singles(name)
        else:
            raise UserError(
                f"{path}: this run reads {name!r}, {described(**run.columns[name])} per example; "
                f"the file has {len(sheet.header)} columns"
            )
    return sheet, columns


def _standardizes(run: RestoredRun) -> bool:
    """Whether features are not as in the file."""
    if not run.features:  # a run of jaxdl 0.1 does not know by what
        return bool(run.config["data"].get("standardize"))
    return any((each.mean, each.deviation) != (0, 1) for each in run.features)


def _agreeing(run: RestoredRun, table: Table) -> Table:
    """The table, whose tokens and features are to be the run's."""
    for name, vocabulary in table.vocabularies.items():
        if run.vocabularies.get(name, vocabulary) != vocabulary:
            raise UserError(
                f"{table.where}: the tokens in {name!r} are of another vocabulary than the run's; "
                "give the texts"
            )
    if not table.features or not (run.features or _standardizes(run)):
        return table
    return table.with_features(run.features)


def _named(run: RestoredRun, data: Any, needed: Collection[str]) -> dict[str, Any]:
    """Columns by their names; of one without, that which the run needs."""
    if isinstance(data, Mapping):
        return dict(data)
    column = run.task.input if run.task.input in needed else next(iter(sorted(needed)))
    return {column: data}


def _column(run: RestoredRun, name: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A column of the run's data, checked, and what else is made with it."""
    values = given[name]
    if isinstance(values, str | bytes | Path):
        raise UserError(
            f"{where}: {name!r} is {brief(values)}; give a list with one for each example"
        )
    dtype, shape = np.dtype(run.columns[name]["dtype"]), tuple(run.columns[name]["shape"])
    if isinstance(values, Lazy):
        _require_shape(name, values, shape, where)
        return {name: values}
    image, on_canvas = is_image(run, name), "extent" in run.columns and "extent" not in given
    if image and on_canvas and "boxes" in given:
        raise UserError(
            f"{where}: boxes are in pixels of the canvas that images were put on; also give its "
            "columns 'extent' and 'scale', as a source of boxes does"
        )
    if image and isinstance(values, list | tuple) and values and not _alike(values, shape):
        return image_columns(run, name, encoded(values, shape[-1]))
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UserError(f"{where}: {name!r} is not an array ({error})") from None
    if array.ndim == 0 or not len(array):
        raise UserError(f"{where}: {name!r} has no examples; give at least one")
    if array.dtype.kind in "OUT" and name in run.vocabularies:
        return _tokens(run, name, array, where)
    if image and array.dtype == np.uint8:
        if run.clips is not None and array.shape[1:] == shape[1:]:
            return {name: as_clips(run, array, np.zeros(len(array), int))}  # one drive
        if array.ndim == 4 and (on_canvas or run.crop is not None):
            return image_columns(run, name, encoded(list(array), shape[-1]))
    array = _typed(name, array, dtype, where)
    _require_shape(name, array, shape, where, any_length=name in run.vocabularies)
    return {name: array}


def _alike(values: Any, shape: tuple[int, ...]) -> bool:
    """Whether a list holds arrays of one shape, that of the column."""
    return all(getattr(value, "shape", None) == shape for value in values)


def _typed(name: str, array: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """The array as the column's type, if that changes no value of it."""
    if dtype.kind == "f" and array.dtype.kind in "fiu":
        if not np.isfinite(array).all():
            raise UserError(f"{where}: {name!r} has numbers that are not finite; correct them")
        return array.astype(dtype)
    kinds = "iub" if dtype.kind == "b" else "iu"  # a mask is not of bytes, 0 to 255
    if dtype.kind in "iub" and array.dtype.kind in kinds:
        wide = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if wide[0] <= int(array.min(initial=0)) and int(array.max(initial=0)) <= wide[1]:
            return array.astype(dtype)
    got = str(array.dtype)
    if array.dtype.kind in "fiu":
        got += f" from {array.min():.4g} to {array.max():.4g}"
    raise UserError(
        f"{where}: {name!r} must be {dtype}, raw as in training (the run's transforms are applied "
        f"to it), got {got}"
    )


def _require_shape(
    name: str, column: Any, shape: tuple[int, ...], where: str, any_length: bool = False
) -> None:
    got = tuple(column.shape)
    if got[1:] == shape or (any_length and len(got) == 1 + len(shape)):
        return
    hint = ""
    if got == shape:
        hint = "; this is a single example, make it a batch: x[None]"
    elif got[1:] == shape[:-1] and shape[-1:] == (1,):
        hint = "; add an axis for the channels: x[..., None]"
    sizes = ", ".join(["examples", *map(str, shape)])
    raise UserError(f"{where}: {name!r} must have shape ({sizes}), got {got}{hint}")


def _tokens(run: RestoredRun, name: str, texts: Any, where: str) -> dict[str, Any]:
    """Texts as tokens of the run's vocabulary, as long as in training, or a multiple of it."""
    settings = run.tokenize.get(name)
    column = np.asarray(texts, object)
    if settings is None:
        raise UserError(
            f"{where}: {name!r} must be token ids; the run does not say how to make them from text"
        )
    if column.ndim != 1 or not all(isinstance(text, str) for text in column):
        raise UserError(f"{where}: {settings.text!r} must be a list of texts, one for each example")
    table = Table({settings.text: column}, where)
    made = tokenize({"train": table}, {name: settings}, run.vocabularies)["train"].columns
    ids, width = made[name], run.columns[name]["shape"][0]
    room = -ids.shape[1] % width if ids.shape[1] else width
    return {**made, name: np.pad(ids, ((0, 0), (0, room)))}


def _features(run: RestoredRun, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The column `features` of the columns of the file."""
    columns = [np.asarray(given[feature.name]) for feature in run.features]
    for feature, column in zip(run.features, columns, strict=True):
        _typed(feature.name, column, np.dtype(np.float32), where)
        _require_shape(feature.name, column, (), where)
    return {"features": standardized(np.stack(columns, 1), run.features)}


def _missing(run: RestoredRun, names: list[str], given: Mapping[str, Any], where: str) -> UserError:
    """The error for columns that are not there."""
    name = names[0]
    if name == "features" and run.features:
        lacking = [each.name for each in run.features if each.name not in given]
        name = lacking[0] if lacking else name
    else:
        name = run.tokenize[name].text if name in run.tokenize else name
    remedy = suggestion(name, given, "it has")
    if isinstance(run.task, GeneratesText) and names[0] == run.task.tokens:
        remedy += "; to generate text, call generate"
    return UserError(f"{where}: no column {name!r}; {remedy}")
