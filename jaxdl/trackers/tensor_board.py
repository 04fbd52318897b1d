"""TensorBoard, of which the run directory is a log directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.events import Events
from jaxdl.trackers.base import Tracker


class TensorBoard(Tracker):
    """Writes the event files of TensorBoard to the run directory."""

    rewinds = True

    def start(self, config: Mapping[str, Any], id: str | None, folder: Path, step: int) -> str:
        """Open a new file of events; TensorBoard drops those of later steps in earlier files."""
        self._events = Events(folder, step + 1)
        return ""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers of a step."""
        self._events.log(step, values)

    def figure(self, step: int, name: str, png: bytes) -> None:
        """Append a figure of a step."""
        self._events.log_figure(step, name, png)
