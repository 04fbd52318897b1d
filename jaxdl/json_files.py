"""JSON files, ours and those of others: read within bounds and checked against a type.

The type is the schema: an annotation such as `dict[str, float | None]`, or a dataclass, which
stands for an object with at least its fields; a field with a default may be absent.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import stat
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Union, get_args, get_origin, get_type_hints

from jaxdl.errors import UserError, brief
from jaxdl.files import replace_text

RESTORE = "restore it or start a new run"

_MOST = 1 << 26  # bytes of one of our files, or of a line: far above what any run writes
_DEEPEST = 64  # levels of nesting: later code walks a value by recursion
_NAMES = {
    dict: "an object", list: "a list", tuple: "a list", str: "text", int: "a whole number",
    float: "a number", bool: "true or false", types.NoneType: "null",
}  # fmt: skip


class _Fault(ValueError):
    """What is wrong with a text, even if it is valid JSON."""


def read(
    path: Path,
    schema: Any = dict[str, Any],
    remedy: str = RESTORE,
    *,
    where: str | None = None,
    most: int = _MOST,
) -> Any:
    """What a JSON file holds. Data only: no code is run.

    Args:
      path: of the file, UTF-8, with or without a byte order mark.
      schema: the type that its value must have.
      remedy: what the user can do, for the message.
      where: the name of the file in the message; by default its path.
      most: the largest size, in bytes.

    Raises:
      UserError: it cannot be read, is not a file, is too large, not JSON, nested too deeply, has a
        key twice or a number of thousands of digits, or its value has another type.
    """
    where = where or str(path)
    try:
        with _open(path) as file:
            if (size := os.fstat(file.fileno()).st_size) > most:
                raise _Fault(f"{size:,} bytes, more than {most:,}")
            text = file.read()
    except (OSError, _Fault, MemoryError) as error:
        raise UserError(f"{where}: cannot be read ({_reason(error)}); {remedy}") from None
    return parse(text, schema, where, remedy)


def read_lines(path: Path, schema: Any, remedy: str = RESTORE) -> Iterator[Any]:
    """The values of a file with one a line, without a last one that is incomplete after a kill.

    Raises:
      UserError: as `read`; the message names the line.
    """
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(_MOST), b""), 1):
                try:
                    value = parse(line, schema, f"{path} line {number}", remedy)
                except UserError:
                    if line.endswith(b"\n"):
                        raise
                    return
                yield value
    except (OSError, _Fault) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)}); {remedy}") from None


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write JSON to a file, whole or not at all."""
    replace_text(path, json.dumps(strict(value), indent=indent, allow_nan=False) + "\n")


def strict(value: Any) -> Any:
    """The value as strict JSON has it: a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse(text: str | bytes, schema: Any, where: str, remedy: str = RESTORE) -> Any:
    """The value of a JSON text, checked against the type.

    Raises:
      UserError: as `read`.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(decoded, object_pairs_hook=_object)
        _require_shallow(value)
        reason = fault(value, schema)
    except (ValueError, RecursionError, MemoryError) as error:
        reason = _reason(error)
    if reason:
        raise UserError(f"{where}: {reason}; {remedy}")
    return value


def fault(value: Any, schema: Any, place: str = "") -> str | None:
    """The first place where a value does not fit a type, and what is there; None if all fits."""
    kind, arguments = get_origin(schema) or schema, get_args(schema)
    if schema is Any:
        return None
    if kind in (Union, types.UnionType):
        reasons = [fault(value, option, place) for option in arguments]
        return None if None in reasons else _expected(value, schema, place)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _fault_of_object(value, kind, place)
    if kind in (list, tuple):  # both stand for JSON's list
        if not isinstance(value, list | tuple):
            return _expected(value, schema, place)
        items = arguments[0] if arguments else Any
        return _first(fault(item, items, f"{place}[{i}]") for i, item in enumerate(value))
    accepted = int | float if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        return _expected(value, schema, place)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return f"{place or 'it'} is {shown(value)}, too large for 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place or 'it'} is {shown(value)}, not a finite number"
    if isinstance(value, Mapping) and arguments and arguments[1] is not Any:
        return _first(fault(value[key], arguments[1], _inside(place, key)) for key in value)
    return None


def shown(value: Any) -> str:
    """A value for a message: short, and on one line."""
    return "null" if value is None else brief(value)


def _fault_of_object(value: Any, schema: type, place: str) -> str | None:
    if not isinstance(value, Mapping):
        return _expected(value, schema, place)
    required, hints = _fields(schema)
    if missing := [name for name in required if name not in value]:
        return f"{place or 'it'} has no {missing[0]!r}"
    present = [name for name in hints if name in value]
    return _first(fault(value[name], hints[name], _inside(place, name)) for name in present)


@functools.cache
def _fields(schema: type) -> tuple[list[str], dict[str, Any]]:
    """The names of a dataclass's required fields, and the types of all fields."""
    fields, hints = dataclasses.fields(schema), get_type_hints(schema)
    missing = dataclasses.MISSING
    required = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return required, {f.name: hints[f.name] for f in fields}


def _expected(value: Any, schema: Any, place: str) -> str:
    options = get_args(schema) if isinstance(schema, types.UnionType) else (schema,)
    names = [_NAMES.get(get_origin(option) or option, "an object") for option in options]
    return f"{place or 'it'} is {shown(value)}, not {' or '.join(names)}"


def _first(reasons: Iterator[str | None]) -> str | None:
    return next(filter(None, reasons), None)


def _inside(place: str, key: str) -> str:
    """The place of a value in an object: `metrics.loss`."""
    name = key if key.isidentifier() and len(key) < 40 else shown(key)
    return f"{place}.{name}" if place else name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise _Fault(f"{shown(twice)} stands twice in an object")
    return value


def _require_shallow(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        items = (item.values() if isinstance(item, dict) else item for item in level)
        level = [x for inside in items for x in inside if isinstance(x, dict | list)]
        if not level:
            return
    raise RecursionError


def _open(path: Path) -> BinaryIO:
    """Open a regular file; anything else, such as a pipe, is refused without waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Fault("it is not a file")
    return os.fdopen(descriptor, "rb")


def _reason(error: BaseException) -> str:
    match error:
        case json.JSONDecodeError():
            return f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        case UnicodeDecodeError():
            return f"not JSON (byte {error.start} is not UTF-8)"
        case RecursionError():
            return f"nested too deeply, more than {_DEEPEST} levels"
        case MemoryError():
            return "too large for the memory"
        case OSError():
            return error.strerror or type(error).__name__
        case _Fault():
            return str(error)
    return f"a number has more than {sys.get_int_max_str_digits():,} digits"
