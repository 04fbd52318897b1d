"""Tables in JSON lines, as the cells of text that a CSV file of them would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.data import user_files
from jaxdl.data.sources.parquet import Unread

_REMEDY = 'write an object in each line, such as {"text": "…", "label": "…"}'


def cells(path: str) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the columns of a file with an object in each line, its rows, and their lines.

    The columns are all keys, in the order in which they first occur. Numbers are written as they
    read, true and false as 1 and 0, and null, or a key that is not there, as an empty cell. A list
    or an object is `Unread`.

    Raises:
      UserError: the file cannot be read, or a line is not an object; the message names the line.
    """
    text, records = user_files.read(Path(path), "csv"), dict[int, dict[str, Any]]()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"csv: {path} line {number}"
            records[number] = json_files.parse(line, dict[str, Any], where, _REMEDY)
    header = list(dict.fromkeys(key for record in records.values() for key in record))
    nested = {
        key: type(value).__name__
        for record in records.values()
        for key, value in record.items()
        if isinstance(value, list | dict)
    }
    rows = [
        [Unread(f"a {nested[k]}") if k in nested else _cell(record.get(k)) for k in header]
        for record in records.values()
    ]
    return header, rows, [*records]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value) if isinstance(value, bool) else value).strip()
