"""Durations in steps or epochs, and the clock that turns epochs into steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxdl.errors import UserError

# A duration is given in one unit, so setting one on the command line replaces the other.
OTHER_UNIT = {"steps": "epochs", "epochs": "steps"}


def in_steps(length: Mapping[str, Any] | None, steps_per_epoch: float, path: str) -> int | None:
    """A duration in steps, from `dict(steps=…)` or `dict(epochs=…)`; None stays None.

    Raises:
      UserError: not exactly one of the two, not positive, or more steps than an int32 counts.
    """
    if length is None:
        return None
    values = {unit: value for unit, value in length.items() if value is not None}
    if len(values) != 1 or not set(values) <= set(OTHER_UNIT):
        raise UserError(f"{path}: give exactly one of steps and epochs, got {dict(length)!r}")
    ((unit, value),) = values.items()
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UserError(f"{path}.{unit}: expected a number above 0, got {value!r}")
    if not (value if unit == "steps" else value * steps_per_epoch) < 2**31:
        raise UserError(f"{path}.{unit}: expected fewer than 2³¹ steps, got {value!r}")
    if unit == "steps" and value != int(value):
        raise UserError(f"{path}.steps: expected a whole number, got {value!r}")
    return int(value) if unit == "steps" else max(1, math.ceil(round(value * steps_per_epoch, 6)))


@dataclass(frozen=True)
class Clock:
    """What turns epochs into steps.

    Attributes:
      total: length of the run, in steps.
      steps_per_epoch: examples of the training split / batch size.
    """

    total: int
    steps_per_epoch: float

    @classmethod
    def of(cls, steps: int | None, epochs: float | None, steps_per_epoch: float) -> Clock:
        """The clock of a run of so many steps, or so many epochs.

        Raises:
          UserError: not exactly one of the two, or not positive.
        """
        length = {"steps": steps, "epochs": epochs}
        total = in_steps(length, steps_per_epoch, "config.training")
        assert total is not None
        return cls(total, steps_per_epoch)

    def steps(self, length: Any, path: str) -> int | None:
        """A duration in steps; a bare number is taken as steps.

        Raises:
          UserError: it is not a duration.
        """
        if isinstance(length, int | float) and not isinstance(length, bool):
            length = {"steps": length}
        if length is not None and not isinstance(length, Mapping):
            raise UserError(
                f"{path}: expected a number of steps, or dict(steps=…) or dict(epochs=…), got "
                f"{length!r}"
            )
        return in_steps(length, self.steps_per_epoch, path)
