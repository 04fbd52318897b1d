"""The rule of asynchronous successive halving: it turns numbers into decisions, and trains nothing.

Rungs are steps, each `eta` times the one before; the last is the length of a run. A member that
reaches a rung is promoted if it is among the best 1/`eta` of those that have reached it so far.

This is asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel
Hyperparameter Tuning", section 3), except that a decision is final: no member waits at a rung for
others, and none that was stopped is resumed when later members turn out to be worse, as the paper's
algorithm would. Properties:

- The best member so far at a rung is promoted, so a member that leads at every rung is trained to
  the end, and at least one is.
- When n members have reached a rung, a member is promoted if it is among the best max(1, n // eta).
  Members are drawn from the same distribution, so their order carries no information.
- A setting that is slow at first but best in the end can be stopped: halving relies on early values
  predicting later ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxdl.errors import UserError


@dataclass(frozen=True)
class Rungs:
    """The steps at which members are compared.

    Attributes:
      steps: one for each rung, ascending; the last is the length of a run.
      eta: one member in so many is promoted.
    """

    steps: tuple[int, ...]
    eta: int

    @classmethod
    def of(cls, total: int, eta: int, slots: int) -> Rungs:
        """As many rungs as reduce so many members to one, or as a run has room for.

        Raises:
          UserError: there is only one.
        """
        if eta < 2:
            raise UserError(f"--eta: expected at least 2, got {eta}")
        if slots < eta or total < eta:
            raise UserError(
                f"--halving {slots}: one in {eta} continues, so at least --halving {eta} and {eta} "
                f"steps are needed, and a run has {total} steps; raise them, or lower --eta"
            )
        number = 0
        while eta ** (number + 1) <= min(slots, total):
            number += 1
        first = -(-total // eta**number)
        return cls((*(first * eta**k for k in range(number)), total), eta)

    def after(self, step: int) -> int:
        """The number of the first rung after a step."""
        return next(k for k, at in enumerate(self.steps) if at > step)

    def promoted(self, reached: Mapping[int, float], member: int) -> bool:
        """Whether a member that has just reached a rung is promoted.

        Args:
          reached: each member that has reached the rung so far -> its value, smaller is better.
          member: one of these.
        """
        ranked = sorted(reached, key=lambda member: (reached[member], member))
        best = ranked[: max(1, len(ranked) // self.eta)]
        return member in best and math.isfinite(reached[member])


@dataclass
class Slot:
    """A slot of the population: which member trains there, if any, and its step."""

    member: int | None
    step: int = 0
    diverged: bool = False


@dataclass(frozen=True)
class Decision:
    """A decision about a member.

    Attributes:
      member: its number.
      rung: the number of the rung that it has reached, or was on the way to, from 0.
      step: of the member.
      value: the one that is compared, smaller is better; infinite if the member has diverged.
      decision: 'promoted', 'stopped', 'diverged', or, at the last rung, 'finished'.
    """

    member: int
    rung: int
    step: int
    value: float
    decision: str


class Bracket:
    """A fixed number of slots, in which members train together until they are stopped.

    Args:
      rungs: where members are compared.
      size: the number of slots, which the first members fill.
      length: the most steps; each trains all slots.

    Attributes:
      places: the slots.
      drawn: members so far.
      steps: steps so far.
      left: steps until there is something to decide, or slots are filled.
      best: the best of those that have finished.
    """

    def __init__(self, rungs: Rungs, size: int, length: int) -> None:
        self.rungs, self.length = rungs, length
        self.places = [Slot(member) for member in range(size)]
        self.drawn, self.steps, self.left = size, 0, rungs.steps[0]
        self.best: Decision | None = None
        self._reached: list[dict[int, float]] = [{} for _ in rungs.steps]  # member -> value

    @property
    def active(self) -> dict[int, int]:
        """Index of each slot in which a member trains -> the member."""
        return {i: p.member for i, p in enumerate(self.places) if p.member is not None}

    @property
    def over(self) -> bool:
        """Whether no further member can finish."""
        return not self.active and self._steps_to_refill() is None

    def advance(self, n: int) -> None:
        """Note that every member has trained `n` steps, at most those left."""
        for i in self.active:
            self.places[i].step += n
        self.steps, self.left = self.steps + n, self.left - n

    def arrivals(self) -> list[int]:
        """The slots whose members are at a rung, or have diverged."""
        places = self.places
        return [i for i in self.active if places[i].diverged or places[i].step in self.rungs.steps]

    def decide(self, values: Mapping[int, float]) -> dict[int, Decision]:
        """Decide about all arrivals together, and empty the slots of those not promoted.

        Args:
          values: the slot of each arrival -> the value of its member.
        """
        members, decisions = self.active, dict[int, Decision]()
        rungs = {i: self._rung(self.places[i].step) for i in values}
        for i, value in values.items():
            self._reached[rungs[i]][members[i]] = value
        for i, value in values.items():
            decision = self._judge(members[i], rungs[i], value)
            decisions[i] = Decision(members[i], rungs[i], self.places[i].step, value, decision)
            self.note(decisions[i])
            if decision != "promoted":
                self.places[i] = Slot(None)
        return decisions

    def _rung(self, step: int) -> int:
        """The rung at a step, or else the next one."""
        steps = self.rungs.steps
        return steps.index(step) if step in steps else self.rungs.after(step)

    def _judge(self, member: int, rung: int, value: float) -> str:
        if not math.isfinite(value):
            return "diverged"
        if rung + 1 == len(self.rungs.steps):
            return "finished"
        return "promoted" if self.rungs.promoted(self._reached[rung], member) else "stopped"

    def note(self, decision: Decision) -> None:
        """Record a decision, which may be one from before a resume."""
        self._reached[decision.rung][decision.member] = decision.value
        better = self.best is None or decision.value < self.best.value
        if decision.decision == "finished" and better:
            self.best = decision

    def refill(self) -> dict[int, int]:
        """Fill empty slots, if it is time to, and update `left`; returns slot -> its new member."""
        filled = dict[int, int]()
        if self._steps_to_refill() == 0:
            empty = [i for i, place in enumerate(self.places) if place.member is None]
            filled = {i: self.drawn + k for k, i in enumerate(empty)}
            for i, member in filled.items():
                self.places[i] = Slot(member)
            self.drawn += len(filled)
        going = [self.places[i].step for i in self.active]
        waits = [self.rungs.steps[self.rungs.after(step)] - step for step in going]
        self.left = min([*waits, *filter(None, [self._steps_to_refill()])], default=0)
        return filled

    def _steps_to_refill(self) -> int | None:
        """Steps until empty slots are filled; None if none is empty, or no time is left.

        Slots are filled at multiples of the first rung's steps, so that members reach rungs
        together and are compared with one another.
        """
        wait = -self.steps % self.rungs.steps[0]
        full = len(self.active) == len(self.places)
        in_time = self.steps + wait + self.rungs.steps[-1] <= self.length
        return None if full or not in_time else wait

    def notes(self) -> dict[str, Any]:
        """The progress as JSON values, without the decisions that `note` records."""
        places = [asdict(place) for place in self.places]
        return {"steps": self.steps, "left": self.left, "drawn": self.drawn, "places": places}

    def restore(self, notes: Mapping[str, Any]) -> None:
        """Continue from where `notes` was called."""
        self.steps, self.left, self.drawn = notes["steps"], notes["left"], notes["drawn"]
        self.places = [Slot(**place) for place in notes["places"]]
