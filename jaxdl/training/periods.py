"""When a run logs, evaluates and saves."""

from __future__ import annotations

from dataclasses import dataclass

from jaxdl.durations import Clock
from jaxdl.training.settings import Training


@dataclass(frozen=True)
class Periods:
    """When a run logs, evaluates and saves: at each multiple of a period, and at the end.

    Attributes:
      total: length of the run, in steps.
      log, evaluate, save: periods in steps, from `log_every`, `evaluate_every` and
        `checkpoint_every` of `config.training`; None if there is none.
    """

    total: int
    log: int | None
    evaluate: int | None
    save: int | None

    @classmethod
    def of(cls, training: Training, clock: Clock) -> Periods:
        """The periods that a config names.

        Raises:
          UserError: one is not a duration.
        """
        names = ("log_every", "evaluate_every", "checkpoint_every")
        lengths = ((getattr(training, name), f"config.training.{name}") for name in names)
        return cls(clock.total, *(clock.steps(length, path) for length, path in lengths))

    def due(self, period: int | None, step: int) -> bool:
        """Whether an event with this period is due after `step` steps."""
        return step == self.total or bool(period and step % period == 0)

    def steps_to_event(self, step: int) -> int:
        """Steps from `step` to the next evaluation, checkpoint or the end."""
        nearest = [period - step % period for period in (self.evaluate, self.save) if period]
        return max(1, min([*nearest, self.total - step]))

    def waited(self, step: int, best: int | None) -> int:
        """The number of evaluations since the best one.

        It follows from the two steps alone, so that a resumed run counts like one that was never
        stopped. An evaluation at the end of a run that is extended later does not count.

        Args:
          step: the step of the last evaluation.
          best: the step of the best one; None if there is none.
        """
        period = self.evaluate
        return step // period - (best or 0) // period if period else 0
