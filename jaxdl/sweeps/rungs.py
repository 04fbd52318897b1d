"""Rungs of asynchronous successive halving, and the trace of what was decided at them.

Rungs are steps, each `eta` times the one before; the last is the length of a run. A member that
reaches a rung goes on if it is among the best of every `eta` that have reached it so far.

This is asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel
Hyperparameter Tuning", section 3) in the form in which a decision is final: no member waits for
others at a rung, and one that was stopped is not taken up again when better company leaves it among
the best, as the paper's algorithm would. What holds:

- Whoever is the best so far at a rung goes on, so that each of the first members that lead all the
  way is trained whole; and at least one is.
- Of n members that reached a rung, those that went on were each among the best max(1, n // eta) of
  those that had reached it by then. As members are drawn alike, the order says nothing about them.
- A setting that is slow at first and best in the end can be stopped: halving, unlike training all,
  trusts that early values say something of later ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl import json_files
from jaxdl.errors import UserError
from jaxdl.files import refuse_special

TRACE = "trace.jsonl"


@dataclass(frozen=True)
class Rungs:
    """The steps at which members are compared.

    Attributes:
      steps: of each rung, ascending; the last is the length of a run.
      eta: one in so many goes on.
    """

    steps: tuple[int, ...]
    eta: int

    @classmethod
    def of(cls, total: int, eta: int, places: int) -> Rungs:
        """As many rungs as thin out so many members to one, if the run has the steps.

        Raises:
          UserError: there is only one.
        """
        if eta < 2:
            raise UserError(f"--eta: expected at least 2, got {eta}")
        if places < eta or total < eta:
            raise UserError(
                f"--halving {places}: one in {eta} goes on, so that at least {eta} places and "
                f"{eta} steps are needed, and a run has {total} steps"
            )
        number = 0
        while eta ** (number + 1) <= min(places, total):
            number += 1
        first = -(-total // eta**number)
        return cls((*(first * eta**k for k in range(number)), total), eta)

    def after(self, step: int) -> int:
        """The number of the first rung after a step."""
        return next(k for k, at in enumerate(self.steps) if at > step)

    def promoted(self, reached: Mapping[int, float], arrivals: Collection[int]) -> dict[int, bool]:
        """Which of those that have just reached a rung go on.

        Args:
          reached: member -> its value, the smaller the better, of all that ever reached it.
          arrivals: of these, the members that wait for a decision.
        """
        ranked = sorted(reached, key=lambda member: (reached[member], member))
        going = ranked[: max(1, len(ranked) // self.eta)]
        return {m: m in going and math.isfinite(reached[m]) for m in arrivals}


@dataclass(frozen=True)
class Record:
    """A line of the trace.

    Attributes:
      member: its number, in the order in which settings are drawn.
      setting: key -> value.
      rung: the number of the rung that it has reached, or was on the way to, from 0.
      step: of the member.
      metric: by which it is judged; None if it has diverged.
      decision: 'promoted', 'stopped', 'diverged', or, at the last rung, 'finished'.
      steps: that the program had made by then, each of all places.
    """

    member: int
    setting: dict[str, Any]
    rung: int
    step: int
    metric: float | None
    decision: str
    steps: int


def read_trace(folder: Path) -> list[Record]:
    """The trace in a folder.

    Raises:
      UserError: it is damaged.
    """
    path = folder / TRACE
    refuse_special(path)
    return [Record(**line) for line in json_files.read_lines(path, Record)]
