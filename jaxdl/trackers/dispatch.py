"""Sends what a run logs to its trackers: each number once, and no failure ends the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.errors import UserError, reason
from jaxdl.files import Unwritable
from jaxdl.json_files import write_json
from jaxdl.trackers.base import EVALUATION, Tracker, kind_of

_log = logging.getLogger("jaxdl")

Line = Mapping[str, Any]  # of metrics.jsonl


@dataclass
class TrackedRun:
    """What trackers.json holds for a tracker.

    Attributes:
      id: of the run there; None before its first start.
      given: 'training' and 'evaluation' -> the newest step that was sent.
      follows: whether everything in metrics.jsonl was sent, which is then newer than `given`.
    """

    id: str | None = None
    given: dict[str, int] = field(default_factory=dict)
    follows: bool = False


class Trackers:
    """The trackers of a run, as one.

    What a tracker has received is not sent again after a kill, when a resumed run trains the same
    steps again: metrics.jsonl has what was logged before, and is read before its last lines are
    removed. What a tracker has missed, because it is new or had failed, is sent from there.

    Args:
      trackers: by name.
      folder: of trackers.json.
    """

    def __init__(self, trackers: Mapping[str, Tracker], folder: Path) -> None:
        self._trackers, self._folder = dict(trackers), folder
        self._known: dict[str, TrackedRun] = {}
        self._lost: set[str] = set()
        self._free = {name for name, tracker in trackers.items() if tracker.rewinds}  # of the file

    def remember(self, before: Iterable[Line]) -> None:
        """Note what was sent so far, before lines of metrics.jsonl are removed.

        Args:
          before: its lines.
        """
        self._lost.clear()
        path = self._folder / "trackers.json"
        try:
            saved = json_files.read(path, dict[str, TrackedRun]) if path.exists() else {}
        except UserError as error:
            _log.warning("%s (ignored: trackers start new runs)", error)
            saved = {}
        self._known = {name: TrackedRun(**known) for name, known in saved.items()}
        for known in self._known.values():
            if known.follows:
                _advance(known.given, before)
            known.follows = False
        self._require_written()

    def start(self, config: Mapping[str, Any], step: int, kept: Iterable[Line]) -> None:
        """Training begins, or goes on; `remember` was called before.

        Args:
          config: of the run.
          step: after which training goes on.
          kept: the lines of metrics.jsonl.
        """
        for name, tracker in self._trackers.items():
            known = self._known.setdefault(name, TrackedRun())
            self._attempt(name, self._begin, tracker, known, config, step, kept)
        self._require_written()

    def _require_written(self) -> None:
        """Write trackers.json; without it a later start would not know what this one has sent."""
        if not self._write():
            self._lost |= self._trackers.keys() - self._free

    def _begin(
        self, tracker: Tracker, known: TrackedRun, config: Line, step: int, kept: Iterable[Line]
    ) -> None:
        known.id = tracker.start(config, known.id, self._folder, step)
        known.follows = True
        if (given := tracker.given()) is not None:
            known.given = dict(given)
        for line in () if tracker.rewinds else kept:
            values = {k: v for k, v in line.items() if k not in ("step", "seconds")}
            self._give(tracker, known, line["step"], values)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of a step."""
        for name, tracker in self._trackers.items():
            known = self._known.setdefault(name, TrackedRun())
            self._attempt(name, self._give, tracker, known, step, values)

    def _give(
        self, tracker: Tracker, known: TrackedRun, step: int, values: Mapping[str, Any]
    ) -> None:
        kind = kind_of(values)
        numbers = {k: float("nan") if v is None else v for k, v in values.items()}
        if numbers and (tracker.rewinds or step > known.given.get(kind, -1)):
            tracker.metrics(step, numbers)
            known.given[kind] = step

    def figure(self, step: int, name: str, png: bytes) -> None:
        """Send a figure to the trackers that were started; a finished run drawn again has none."""
        for label, tracker in self._trackers.items():
            known = self._known.get(label)
            if known is None:
                continue
            if tracker.rewinds or step >= known.given.get(EVALUATION, 0):
                self._attempt(label, tracker.figure, step, name, png)

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Report the end of training; without a result, the run can be resumed."""
        for name, tracker in self._trackers.items():
            if name in self._known:
                self._attempt(name, tracker.finish, result)
        self._known = {}

    def _attempt(self, name: str, call: Callable[..., object], *values: Any) -> None:
        """Call a tracker, unless it has failed before."""
        if name in self._lost:
            return
        try:
            call(*values)
        except Exception as error:  # theirs can raise anything
            self._lost.add(name)
            _log.warning("config.logging: %s: %s; the run goes on without", name, reason(error))
            if name in self._known:
                self._known[name].follows = False
                self._write()

    def _write(self) -> bool:
        """Write trackers.json, if it is needed; returns whether it could be written."""
        records = {
            name: asdict(known) for name, known in self._known.items() if name not in self._free
        }
        path = self._folder / "trackers.json"
        if not records and not path.exists():
            return True
        try:
            write_json(path, records)
        except Unwritable as error:
            _log.warning("config.logging: %s; the run goes on without", error.fault)
            return False
        return True


def _advance(given: dict[str, int], lines: Iterable[Line]) -> None:
    """Move the newest steps on to those of the lines."""
    for line in lines:
        kind = kind_of(line)
        given[kind] = max(given.get(kind, 0), line["step"])
