"""The base class of trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TRAINING, EVALUATION = "training", "evaluation"  # what the numbers of a step are of


def kind_of(values: Mapping[str, Any]) -> str:
    """Whether a line of metrics.jsonl is of training or of an evaluation, which has no `loss`."""
    return TRAINING if "loss" in values else EVALUATION


class Tracker:
    """Receives the metrics, figures and result of a run as it trains; by default it does nothing.

    The arguments of its constructor are keys of its node in `config.logging`. Whatever a method
    raises is reported once. From then on the tracker receives nothing more in this start, and the
    next start sends what it has missed.

    Attributes:
      rewinds: whether `start` drops the numbers of later steps by itself, so that everything logged
        from there on must be sent. Other trackers receive each number once, however often a killed
        run trains a step again.
    """

    rewinds = False

    def start(self, config: Mapping[str, Any], id: str | None, folder: Path, step: int) -> str:
        """Training begins or goes on.

        Args:
          config: of the run, with all defaults.
          id: what `start` has returned before, if this run goes on; None at its first start.
          folder: the run directory.
          step: logging continues after this step.

        Returns:
          The id of this run there, which is kept in trackers.json.
        """
        return id or ""

    def given(self) -> Mapping[str, int] | None:
        """The newest step of 'training' and of 'evaluation' that it has; None if it does not know.

        Called after `start`; if None, metrics.jsonl decides.
        """
        return None

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of a step, by name: `loss`, or `split/metric` of an evaluation."""

    def figure(self, step: int, name: str, png: bytes) -> None:
        """A figure of a step, a PNG file."""

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Training has ended.

        Args:
          result: as in result.json, with the absolute path of the newest `checkpoint`, and of the
            `best_checkpoint` where there is one; None if the run was stopped and can be resumed.
        """
