"""Asynchronous successive halving as a rule: numbers in, decisions out; nothing is trained here.

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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxdl.errors import UserError


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

    def promoted(self, reached: Mapping[int, float], member: int) -> bool:
        """Whether a member that has just reached a rung goes on.

        Args:
          reached: member -> its value, the smaller the better, of all that ever reached it.
          member: one of these.
        """
        ranked = sorted(reached, key=lambda member: (reached[member], member))
        best = ranked[: max(1, len(ranked) // self.eta)]
        return member in best and math.isfinite(reached[member])


@dataclass
class Place:
    """A place of the population: which member trains there, if any, and how far it is."""

    member: int | None
    step: int = 0
    diverged: bool = False


@dataclass(frozen=True)
class Decision:
    """What was decided about a member.

    Attributes:
      member: its number.
      rung: the number of the rung that it has reached, or was on the way to, from 0.
      step: of the member.
      value: by which it is judged, the smaller the better; infinite if it has diverged.
      decision: 'promoted', 'stopped', 'diverged', or, at the last rung, 'finished'.
    """

    member: int
    rung: int
    step: int
    value: float
    decision: str


class Bracket:
    """A fixed number of places, in which members train together until they are stopped.

    Args:
      rungs: where members are compared.
      size: places, taken by the first members.
      length: steps that may be made, each of all places.

    Attributes:
      places: who is where.
      drawn: members so far.
      steps: made so far.
      left: steps to make until there is something to decide, or places are filled.
      best: of those that have finished.
    """

    def __init__(self, rungs: Rungs, size: int, length: int) -> None:
        self.rungs, self.length = rungs, length
        self.places = [Place(member) for member in range(size)]
        self.drawn, self.steps, self.left = size, 0, rungs.steps[0]
        self.best: Decision | None = None
        self._reached: list[dict[int, float]] = [{} for _ in rungs.steps]  # member -> value

    @property
    def active(self) -> dict[int, int]:
        """Number of each place in which a member trains -> the member."""
        return {i: p.member for i, p in enumerate(self.places) if p.member is not None}

    @property
    def over(self) -> bool:
        """Whether no member can be trained to its end any more."""
        return not self.active and self._steps_to_refill() is None

    def advance(self, n: int) -> None:
        """Every member has made `n` steps, at most as many as are left."""
        for i in self.active:
            self.places[i].step += n
        self.steps, self.left = self.steps + n, self.left - n

    def arrivals(self) -> list[int]:
        """The places whose members are at a rung, or have diverged."""
        places = self.places
        return [i for i in self.active if places[i].diverged or places[i].step in self.rungs.steps]

    def decide(self, values: Mapping[int, float]) -> dict[int, Decision]:
        """Decide about all arrivals together, and empty the places of those that do not go on.

        Args:
          values: place -> value of its member, of each arrival.
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
                self.places[i] = Place(None)
        return decisions

    def _rung(self, step: int) -> int:
        """The rung at a step, or else the first after it."""
        steps = self.rungs.steps
        return steps.index(step) if step in steps else self.rungs.after(step)

    def _judge(self, member: int, rung: int, value: float) -> str:
        if not math.isfinite(value):
            return "diverged"
        if rung + 1 == len(self.rungs.steps):
            return "finished"
        return "promoted" if self.rungs.promoted(self._reached[rung], member) else "stopped"

    def note(self, decision: Decision) -> None:
        """Take a decision into account, such as one of an earlier start."""
        self._reached[decision.rung][decision.member] = decision.value
        better = self.best is None or decision.value < self.best.value
        if decision.decision == "finished" and better:
            self.best = decision

    def refill(self) -> dict[int, int]:
        """Fill empty places, if it is time to, and count what is left; place -> its new member."""
        filled = dict[int, int]()
        if self._steps_to_refill() == 0:
            empty = [i for i, place in enumerate(self.places) if place.member is None]
            filled = {i: self.drawn + k for k, i in enumerate(empty)}
            for i, member in filled.items():
                self.places[i] = Place(member)
            self.drawn += len(filled)
        going = [self.places[i].step for i in self.active]
        waits = [self.rungs.steps[self.rungs.after(step)] - step for step in going]
        self.left = min([*waits, *filter(None, [self._steps_to_refill()])], default=0)
        return filled

    def _steps_to_refill(self) -> int | None:
        """Steps until empty places are filled; None if there are none, or no time is left.

        Places are filled when a multiple of the first rung's steps is reached, so that members come
        to a rung together, and are compared with one another.
        """
        wait = -self.steps % self.rungs.steps[0]
        full = len(self.active) == len(self.places)
        in_time = self.steps + wait + self.rungs.steps[-1] <= self.length
        return None if full or not in_time else wait

    def notes(self) -> dict[str, Any]:
        """How far it is, as JSON values, without what `note` is told."""
        places = [asdict(place) for place in self.places]
        return {"steps": self.steps, "left": self.left, "drawn": self.drawn, "places": places}

    def restore(self, notes: Mapping[str, Any]) -> None:
        """Go on from where `notes` was called."""
        self.steps, self.left, self.drawn = notes["steps"], notes["left"], notes["drawn"]
        self.places = [Place(**place) for place in notes["places"]]
