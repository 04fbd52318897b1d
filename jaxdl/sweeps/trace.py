"""The trace of a search by halving: one JSON object for each member at each rung."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.files import append_bytes, refuse_special, replace_text

TRACE = "trace.jsonl"


@dataclass(frozen=True)
class Record:
    """A line of the trace.

    Attributes:
      member: its number, in the order in which settings are drawn.
      setting: key -> value.
      rung: the number of the rung that it has reached, or was on the way to, from 0.
      step: of the member.
      metric: the value that is compared; None if the member has diverged.
      decision: 'promoted', 'stopped', 'diverged', or, at the last rung, 'finished'.
      steps: those of the whole program so far.
    """

    member: int
    setting: dict[str, Any]
    rung: int
    step: int
    metric: float | None
    decision: str
    steps: int


class Trace:
    """Writes the trace.

    Args:
      folder: the search's.

    Attributes:
      lines: written so far.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.lines = folder, 0

    def append(self, record: Record) -> None:
        """Write a line."""
        append_bytes(self._folder / TRACE, (json.dumps(asdict(record)) + "\n").encode())
        self.lines += 1

    def restart(self, lines: int) -> list[Record]:
        """Keep only the first lines, and return them."""
        path, self.lines = self._folder / TRACE, lines
        kept = path.read_text().splitlines(keepends=True)[:lines] if lines else []
        replace_text(path, "".join(kept))
        return read_trace(self._folder)


def read_trace(folder: Path) -> list[Record]:
    """The trace in a folder.

    Raises:
      UserError: it is damaged.
    """
    path = folder / TRACE
    refuse_special(path)
    return [Record(**line) for line in json_files.read_lines(path, Record)]
