"""Columns in NumPy archives, one file for each split."""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from jaxdl.data.splits import ROLES, partition, require_unused
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, suggestion

_log = logging.getLogger("jaxdl")
# What others call inputs and outputs, in lower case.
_USUAL = dict.fromkeys(("x", "image", "images", "data", "features", "inputs"), "x")
_USUAL |= dict.fromkeys(("y", "label", "labels", "target", "targets"), "y")
_OURS = ("image", "features", "label", "target")
_UNPACKED = 2**30  # bytes that any archive may unpack to;
_EXPANSION = 100  # a larger one may unpack to this many times its size


def arrays(
    train: str,
    test: str | None = None,
    validation: str | None = None,
    channels_first: tuple[str, ...] = (),
    grey: tuple[str, ...] = (),
    test_fraction: float = 0.0,
    validation_fraction: float = 0.0,
    seed: int = 0,
    group: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> dict[str, Table]:
    """NumPy archives, one for each split, as `numpy.savez(path, image=…, label=…)` writes them.

    Each array is a column; its first axis is the examples. Nothing is unpickled. Arrays in memory
    need no source: make a `Table({'image': …, 'label': …})` of them. One archive of all splits has
    arrays such as x_train, y_train, x_test and y_test, as Keras' have, or train_images,
    train_labels, …; the column is then `image`, or `features` (N, D), and `label`, or `target` of
    floats. Labels (N, 1) become (N,).

    Args:
      train: path of the train split's .npz file, or of the one file of all splits.
      test: path of the test split's .npz file; None for no test split.
      validation: path of the validation split's .npz file; None for no validation split.
      channels_first: columns of images that are (N, channels, height, width), as PyTorch has them;
        they become (N, height, width, channels).
      grey: columns of images that are (N, height, width), like Keras's MNIST; they become (N,
        height, width, 1).
      test_fraction: share of the rows of `train` for the test split, rounded; 0 for none.
      validation_fraction: share of the rows of `train` for the validation split, rounded; 0 for
        none.
      seed: seed of the random split.
      group: a column of whole numbers that says which rows belong together, such as that of the
        patient, whose rows are all in the same split.
      rename: array -> column, such as {'X': 'features', 'y': 'label'}.

    Raises:
      UserError: a file is missing, is not an archive of arrays, is named for two splits, or beside
        one that has all; a column of `channels_first` or `grey` is missing or does not have its
        axes; an array of `rename` is missing, or its name taken; `group` is no column of whole
        numbers; or a fraction is out of range, or of a split that is there.
    """
    files = {"train": train, "validation": validation, "test": test}
    paths = {role: Path(path).expanduser() for role, path in files.items() if path is not None}
    owner: dict[Path, str] = {}
    for role, path in paths.items():
        other = owner.setdefault(path.resolve(), role)
        if other != role:
            raise UserError(
                f"arrays: {path} is both the {other} and the {role} split; splits must be disjoint"
            )
    columns = {role: _renamed(read_npz(path), rename or {}, path) for role, path in paths.items()}
    tables = all_splits(columns["train"], train)
    if tables and len(paths) > 1:
        raise UserError(
            f"arrays: {train} has the splits {', '.join(tables)}; leave the other files out"
        )
    tables = tables or {role: Table(columns[role], str(path)) for role, path in paths.items()}
    tables = {
        role: _channels_last(_with_channel(_flat(table), grey), channels_first)
        for role, table in tables.items()
    }
    fractions = {"test": test_fraction, "validation": validation_fraction}
    require_unused(fractions, tables, "arrays")
    tables = _with_classes(tables)
    return tables | _parts(tables["train"], fractions, seed, group)


def all_splits(columns: Mapping[str, np.ndarray], where: str) -> dict[str, Table]:
    """The splits of an archive that has them all, by the names of its arrays; {} of another.

    Args:
      columns: its arrays, such as x_train (N, …) and y_train (N,).
      where: the archive, for messages.
    """
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name, column in columns.items():
        words = name.lower().split("_")
        roles = [ROLES[word] for word in words if word in ROLES]
        kinds = [_USUAL[word] for word in words if word in _USUAL]
        if len(words) != 2 or not roles or not kinds:
            return {}
        splits.setdefault(roles[0], {})[_column_of(kinds[0], column)] = column
    if "train" not in splits or sum(map(len, splits.values())) < len(columns):
        return {}
    return {role: Table(arrays, f"{where} {role}") for role, arrays in splits.items()}


def _column_of(kind: str, array: np.ndarray) -> str:
    """What we call inputs or outputs of this shape."""
    if kind == "y":
        is_one_hot = array.ndim == 2 and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all()
        return "target" if array.dtype.kind == "f" and not is_one_hot else "label"
    images = array.ndim == 4 or (array.ndim == 3 and array.dtype == np.uint8)
    return "image" if images else "features" if array.ndim == 2 else "x"


def _renamed(
    columns: Mapping[str, np.ndarray], names: Mapping[str, str], path: Path
) -> dict[str, np.ndarray]:
    """The arrays under other names."""
    if missing := [name for name in names if name not in columns]:
        there = suggestion(missing[0], columns, "it has")
        raise UserError(f"arrays: {path} has no array {missing[0]!r} to rename; {there}")
    called = {name: names.get(name, name) for name in columns}
    if len({*called.values()}) < len(called):
        raise UserError(f"arrays: {path}: rename={brief(dict(names))} gives two arrays one name")
    return {called[name]: column for name, column in columns.items()}


def usual_names(columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What to rename where one array is called as inputs are and one as outputs, as X and y."""
    kinds = {name: _USUAL[name.lower()] for name in columns if name.lower() in _USUAL}
    if sorted(kinds.values()) != ["x", "y"]:
        return {}
    called = {name: _column_of(kind, columns[name]) for name, kind in kinds.items()}
    return {name: column for name, column in called.items() if name not in _OURS}


def _flat(table: Table) -> Table:
    """The table, whose labels (N, 1), as CIFAR-10 has them, are (N,), and so are targets."""
    flat = {
        name: column[:, 0]
        for name, column in table.columns.items()
        if name in ("label", "target") and column.shape[1:] == (1,)
    }
    return replace(table, columns={**table.columns, **flat})


def _with_classes(tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables, in which labels that are names are numbers, and the names are the classes."""
    labels = {role: table.columns.get("label", np.empty(0)) for role, table in tables.items()}
    labels = {role: _as_text(label) for role, label in labels.items()}
    named = {role: x for role, x in labels.items() if x.dtype.kind == "U" and x.ndim == 1}
    if not named or len(named) < len(tables):
        return {**tables}
    classes = sorted({*map(str, named["train"])})
    number = {name: i for i, name in enumerate(classes)}
    for role, column in named.items():
        if unknown := sorted({*map(str, column)} - number.keys()):
            raise UserError(
                f"{tables[role].where}: label {brief(unknown[0])} occurs only in the {role} split; "
                "add examples of it to the train split"
            )
    return {
        role: replace(
            table,
            columns={
                **table.columns,
                "label": np.array([number[str(name)] for name in named[role]], np.int32),
            },
            classes=tuple(classes),
        )
        for role, table in tables.items()
    }


def _as_text(labels: np.ndarray) -> np.ndarray:
    """Labels whose names are bytes as text."""
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels


def _parts(
    train: Table, fractions: Mapping[str, float], seed: int, group: str | None
) -> dict[str, Table]:
    """The train split without the splits that fractions take out of it, and those."""
    groups = None if group is None else train.groups(group, f"group={group!r}")
    source = f"arrays: {train.where}"
    parts = partition(len(train), fractions["test"], fractions["validation"], seed, source, groups)
    if len(parts) == 1:
        return {"train": train}
    return {
        role: replace(
            train,
            columns={name: column[rows] for name, column in train.columns.items()},
            where=f"{train.where} {role}",
        )
        for role, rows in parts.items()
    }


def _with_channel(table: Table, names: tuple[str, ...]) -> Table:
    """The table with an axis for the one channel of these columns; tells which others may lack it.

    Bytes of three axes are rarely anything else.
    """
    table.require(names, "grey names columns of images")
    columns = dict(table.columns)
    for name, column in columns.items():
        if name in names:
            if column.ndim != 3:
                raise UserError(
                    f"{table.where}: grey: column {name!r} has shape {column.shape}; it must be "
                    "(N, height, width)"
                )
            columns[name] = column[..., None]
        elif column.ndim == 3 and column.dtype == np.uint8:
            _log.warning(
                "%s: column %r is %s; if these are grey images, and the model needs an axis of "
                "channels, set grey=('%s',)",
                *(table.where, name, list(column.shape), name),
            )
    return replace(table, columns=columns)


def _channels_last(table: Table, names: tuple[str, ...]) -> Table:
    """The table with the axes of these columns in our order; tells which others seem not to be.

    An image rarely has more channels than its colors, and is rarely less high than they are many.
    """
    table.require(names, "channels_first names columns of images")
    columns = dict(table.columns)
    for name, column in columns.items():
        if name in names:
            if column.ndim != 4:
                raise UserError(
                    f"{table.where}: channels_first: column {name!r} has shape {column.shape}; it "
                    "must be (N, channels, height, width)"
                )
            columns[name] = np.ascontiguousarray(column.transpose(0, 2, 3, 1))
        elif column.ndim == 4 and column.shape[3] > 4 and column.shape[1] < min(column.shape[2:]):
            _log.warning(
                "%s: column %r is %s, which reads as %d pixels high with %d channels; if these are "
                "channels, set channels_first=('%s',)",
                *(table.where, name, list(column.shape), column.shape[1], column.shape[3], name),
            )
    return replace(table, columns=columns)


def read_npz(path: Path, source: str = "arrays") -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive, by name.

    Raises:
      UserError: it is missing, damaged, or holds anything but arrays of numbers; the message begins
        with `source`.
    """
    if not path.is_file():
        raise UserError(f"{source}: no file {path}; write one with numpy.savez")
    try:
        with path.open("rb") as file:
            if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise UserError(
                    f"{source}: {path} holds one unnamed array; name it with numpy.savez"
                )
        with zipfile.ZipFile(path) as archive:
            return _read_members(archive, path, source)
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile raise seven types for damaged files
        raise UserError(
            f"{source}: {path} is not a sound .npz file ({type(error).__name__}); write it with "
            "numpy.savez"
        ) from error


def _read_members(archive: zipfile.ZipFile, path: Path, source: str) -> dict[str, np.ndarray]:
    """The arrays in an archive. Refuses those that unpack to far more than the archive's size."""
    members = archive.infolist()
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if unpacked > max(_UNPACKED, _EXPANSION * size):
        raise UserError(
            f"{source}: {path} unpacks to {unpacked:,} bytes, more than {_EXPANSION} times its "
            "size; write it with numpy.savez, not compressed"
        )
    columns: dict[str, np.ndarray] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        where = f"{source}: {path}: column {brief(name)}"
        if name in columns:
            raise UserError(f"{where} is in the file twice; write the file with numpy.savez")
        column = _read_member(archive, member, where)
        columns[name] = column.astype(column.dtype.newbyteorder("="), copy=False)
    return columns


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray:
    """An array whose header agrees with its size: memory is taken for what the header says."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{where} is compressed as NumPy never does; write the file with numpy.savez"
        )
    with archive.open(member) as file:
        if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            raise UserError(f"{where} is not an array; write the file with numpy.savez")
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        size = member.file_size - file.tell()
    if dtype.hasobject:
        raise UserError(
            f"{where} holds Python objects, which are never unpickled; store numbers of one shape"
        )
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise UserError(
            f"{where} says that it is {dtype} of shape {brief(shape)}, but it has {size:,} "
            "bytes; write the file with numpy.savez"
        )
    if math.prod(shape[:1]) and not size:
        raise UserError(f"{where}, of shape {brief(shape)}, holds no values; leave it out")
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)
