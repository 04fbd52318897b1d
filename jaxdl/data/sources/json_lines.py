"""Tables in JSON, lines or a list, as the cells of text that a CSV file of them would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.data import user_files
from jaxdl.data.sources.parquet import Unread

_REMEDY = 'write an object in each line, such as {"text": "…", "label": "…"}'


def has_records(text: str) -> bool:
    """Whether a file in JSON is a list, or has an object in each line."""
    lines = text.strip().split("\n", 2)
    each = len(lines) > 1 and all(
        line.startswith("{") and line.rstrip().endswith("}") for line in lines[:2]
    )
    return text.lstrip().startswith("[") or each


def cells(path: str) -> tuple[list[str], list[list[str]], list[int], str]:
    """The columns' names, the rows, their numbers and what these count: a 'line', or an 'object'.

    A file has an object in each line, or is a list of objects. The columns are all keys, in the
    order in which they first occur. Numbers are written as they read, true and false as 1 and 0,
    and null, or a key that is not there, as an empty cell. A list or an object is `Unread`.

    Raises:
      UserError: the file cannot be read, or holds anything else; the message names the line.
    """
    text, records = user_files.read(Path(path), "csv"), dict[int, dict[str, Any]]()
    unit = "object" if text.lstrip().startswith("[") else "line"
    if unit == "object":
        listed = json_files.parse(text, list[dict[str, Any]], f"csv: {path}", _REMEDY)
        records = dict(enumerate(listed, 1))
    for number, line in enumerate(text.split("\n") if unit == "line" else (), 1):
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
    return header, rows, [*records], unit


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value) if isinstance(value, bool) else value).strip()
