"""`jaxdl inspect`: what is in a run, a checkpoint or a weight file, and whether it is sound.

It needs neither data, model nor accelerator, and writes nothing: contents.json has the shapes and
types of a checkpoint's arrays, and of the arrays themselves only the SHA-256 is computed.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401, registers bfloat16 with NumPy
import numpy as np

from jaxdl import config as cfg
from jaxdl.checkpointing import weight_files
from jaxdl.checkpointing.manifest import contents, saved_steps, verify
from jaxdl.checkpointing.run_directory import Result, logged
from jaxdl.errors import UserError, printable
from jaxdl.files import refuse_links
from jaxdl.terminal import aligned, say
from jaxdl.trackers.base import kind_of

Say = Callable[[str], None]

_PARTS = ("model", "task", "data", "optimizer")  # of a config
_CHECKPOINT = ("manifest.json", "contents.json", "state")


class Entry(NamedTuple):
    """Path, type and shape of an array."""

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)


def inspect(place: Path, say: Say = say) -> None:
    """Print what is in a run directory, in the directory of a checkpoint, or in a weight file.

    Raises:
      UserError: it is none of these; or, at the end, something is damaged.
    """
    damage: list[str] = []
    if place.is_file():
        entries = [
            Entry(name, x.dtype, x.shape) for name, x in sorted(weight_files.read(place).items())
        ]
        _list(entries, say)
        say(f"  {'all':12} {_total(entries)}")
    elif (place / "config.json").exists() or (place / "checkpoints").is_dir():
        _run(place, say, damage)
    elif any((place / name).exists() for name in _CHECKPOINT):
        entries = _checkpoint(place, place.name, say, damage)
        _list(entries, say)
        _sum_up(entries, say)
    elif place.exists():
        raise UserError(f"{place}: not a run (no config.json), checkpoint or weight file")
    else:
        raise UserError(f"{place}: not found; name a run, a checkpoint or a weight file")
    if damage:
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        raise UserError(f"damaged: {damage[0]}{more}")


def _run(folder: Path, say: Say, damage: list[str]) -> None:
    """Print a run: its config, checkpoints, newest metrics and result."""
    refuse_links(folder)
    config, checkpoints = _json(folder / "config.json", damage), folder / "checkpoints"
    for part in _PARTS:
        say(f"{part:12} {_node(config.get(part))}")
    names = {path.name for path in checkpoints.glob("*")}
    steps = [str(step) for step in reversed(saved_steps(checkpoints))]
    newest: list[Entry] = []
    for step in steps:
        entries = _checkpoint(checkpoints / step, f"{int(step):,}", say, damage)
        newest = newest or entries
    if not steps:
        say("checkpoint   none yet")
    for name in sorted(names - set(steps)):
        say(f"set aside    {name}")
    _sum_up(newest, say)
    for line in _newest(folder / "metrics.jsonl", damage):
        say(f"metrics      {_values(line)}")
    if (folder / "result.json").exists():
        say(f"result       {_values(_json(folder / 'result.json', damage, Result))}")
    else:
        say("result       none yet")


def _checkpoint(folder: Path, name: str, say: Say, damage: list[str]) -> list[Entry]:
    """Print a checkpoint; returns its arrays, none if its contents.json is damaged."""
    fault, notes, entries = verify(folder), {}, []
    try:
        saved = contents(folder)
        entries = [_entry(*pair) for pair in saved["arrays"].items()]
        # The origin is a whole config, which the run has in a file of its own.
        notes = {key: value for key, value in saved["notes"].items() if key != "origin"}
    except (TypeError, ValueError) as error:  # then `verify` has found a fault too
        fault = fault or str(error)
    if fault:
        damage.append(fault)
    noted = f"  {_values(notes)}" if notes else ""
    say(f"checkpoint   {name}  {f'DAMAGED, {fault}' if fault else 'sound'}{noted}")
    return entries


def _entry(path: str, kind: str) -> Entry:
    """From a path and, as contents.json has it, type and shape: `float32[2, 3]`."""
    match = re.fullmatch(r"(\w+)\[([\d, ]*)\]", kind)
    if match is None:
        raise ValueError(f"{path} is {kind!r}")
    return Entry(path, np.dtype(match[1]), tuple(int(n) for n in re.findall(r"\d+", match[2])))


def _list(entries: Sequence[Entry], say: Say) -> None:
    """Print path, type, shape and bytes of every array."""
    rows = [
        (
            printable(path),
            printable(f"{dtype.name}{list(shape)}"),
            f"{math.prod(shape) * dtype.itemsize:,} bytes",
        )
        for path, dtype, shape in entries
    ]
    for line in aligned(rows, right=(2,)):
        say(f"  {line}")


def _sum_up(entries: Sequence[Entry], say: Say) -> None:
    """Print the number of arrays, elements and bytes of each part of a state, and of all."""
    parts: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if "/" in entry.path:  # step and seed are not parts
            parts[entry.path.partition("/")[0]].append(entry)
    for part, members in parts.items():
        say(f"  {printable(part):12} {_total(members)}")
    if entries:
        say(f"  {'all':12} {_total(entries)}")


def _total(entries: Iterable[Entry]) -> str:
    entries = list(entries)
    size = sum(entry.size * entry.dtype.itemsize for entry in entries)
    numbers = sum(entry.size for entry in entries)
    return f"{len(entries):,} arrays, {numbers:,} numbers, {size:,} bytes"


def _newest(path: Path, damage: list[str]) -> list[dict[str, Any]]:
    """The last lines of training and of evaluation in metrics.jsonl, before any damage."""
    newest: dict[str, dict[str, Any]] = {}
    try:
        for line in logged(path):
            newest[kind_of(line)] = line
    except UserError as error:
        damage.append(str(error))
    return list(newest.values())


def _json(path: Path, damage: list[str], schema: Any = dict[str, Any]) -> dict[str, Any]:
    """The value of a file; if it cannot be read, an empty one, and `damage` says why."""
    try:
        return cfg.read_json(path, schema)
    except UserError as error:
        damage.append(str(error))
    return {}


def _node(node: Any) -> str:
    """A part of a config in one line: its name, then its other keys."""
    if not isinstance(node, Mapping):
        return "unknown" if node is None else str(node)
    name = node.get("name", node.get("source", ""))
    others = {key: value for key, value in node.items() if key not in ("name", "source")}
    return f"{name}  {_values(others)}".strip()


def _values(values: Mapping[str, Any]) -> str:
    """Names and values in one line; nested ones as `metrics/…`."""
    texts = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            texts.append(_values({f"{name}/{inner}": x for inner, x in value.items()}))
        else:
            texts.append(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}")
    return "  ".join(texts)
