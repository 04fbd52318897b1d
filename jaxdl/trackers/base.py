"""What a tracker is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TRAINING, EVALUATION = "training", "evaluation"  # what the numbers of a step are of


def kind_of(values: Mapping[str, Any]) -> str:
    """What a line of metrics.jsonl is of; an evaluation has the losses of splits alone."""
    return TRAINING if "loss" in values else EVALUATION


class Tracker:
    """Is told of a run as it trains; by default it does nothing.

    The arguments of its constructor are keys of its node in `config.logging`. Whatever a method
    raises is told once; from then on the tracker hears nothing more of this start, and the next
    start gives it what it has missed.

    Attributes:
      rewinds: whether `start` forgets the numbers of later steps by itself, and so is to be given
        all that is logged from there on. Others are given each number once, however often a killed
        run trains a step again.
    """

    rewinds = False

    def start(self, config: Mapping[str, Any], id: str | None, folder: Path, step: int) -> str:
        """Training begins or goes on.

        Args:
          config: of the run, with all defaults.
          id: what `start` has returned before, if this run goes on; None at its first start.
          folder: the run directory.
          step: after which what is logged comes.

        Returns:
          What this run is called there, from now on; it is kept in trackers.json.
        """
        return id or ""

    def given(self) -> Mapping[str, int] | None:
        """Newest step of 'training' and of 'evaluation' that was kept; None if it does not know.

        It is asked after `start`, and otherwise assumed to be as metrics.jsonl says.
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
