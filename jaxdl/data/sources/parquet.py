"""Tables in Parquet, as the cells of text that a CSV file of them would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxdl.data import user_files
from jaxdl.errors import UserError

_CELL = 64  # bytes, at least, of a short text in Python


class Unread(str):
    """What stands for a value that is neither a number nor text: the name of its type."""


def cells(path: str) -> tuple[list[str], list[list[str]]]:
    """The names of the columns of a Parquet file, and its rows.

    Numbers are written so that they read as the same number, true and false as 1 and 0, and what is
    missing, or not a number, as an empty cell; bytes that are UTF-8 are text. A cell of another
    type, such as a list, is `Unread`.

    Raises:
      UserError: the file does not exist, or is larger than the memory.
    """
    from pyarrow import OSFile, parquet

    place = Path(path).expanduser()
    try:
        # Arrow opens the file itself: its threads may still hold a stream of Python's when Python
        # ends, which aborts the process.
        with user_files.opened(place), OSFile(str(place)) as stream:
            file = parquet.ParquetFile(stream)
            count, names = file.metadata.num_rows, file.schema_arrow.names
            user_files.require_memory(
                count * len(names) * _CELL, f"csv: the {count:,} rows of {path}", "fewer columns"
            )
            columns = [_texts(column) for column in file.read().columns]
    except OSError as error:
        if error.strerror is None:  # of pyarrow, which says that it is damaged
            raise
        raise UserError(f"csv: cannot read {path}: {error.strerror}") from None
    return [*names], [*map(list, zip(*columns, strict=True))]


def _texts(column: Any) -> list[str]:
    """The cells of a column."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    values = column.to_pylist()
    if types.is_boolean(kind):
        return ["" if value is None else str(int(value)) for value in values]
    unread = types.is_nested(kind)
    if types.is_binary(kind) or types.is_large_binary(kind):  # as Spark and Hive store texts
        try:
            values = [value if value is None else value.decode() for value in values]
        except UnicodeDecodeError:
            unread = True
    if unread:
        return [Unread(f"a value of {kind}")] * len(values)
    return ["" if value is None or value != value else str(value).strip() for value in values]
