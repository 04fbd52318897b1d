"""What figures need of a run, as far as it is known before training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from jaxdl.errors import UserError

if TYPE_CHECKING:
    from jaxdl.data.table import Table
    from jaxdl.tasks import Task

_Figure = TypeVar("_Figure", bound=Callable[..., Any])


class PlannedRun(NamedTuple):
    """What is known of a run before it is trained.

    Attributes:
      task: what is to be learnt.
      splits: the data, by name.
      eval_splits: the names of the evaluated splits.
      measured: what evaluation reports, such as 'test/confusion'.
      outputs: gives what the task predicts for a batch, as shapes.
    """

    task: Task
    splits: Mapping[str, Table]
    eval_splits: Sequence[str]
    measured: Collection[str]
    outputs: Callable[[], Any]

    def measures(self, name: str) -> bool:
        """Whether evaluation reports this of a split."""
        return any(each.endswith(f"/{name}") for each in self.measured)

    def has(self, *columns: str) -> bool:
        """Whether the data has these columns."""
        return {*columns} <= {*self.splits["train"].columns}

    def predicts(self, *names: str) -> bool:
        """Whether the task predicts a mapping with these names."""
        outputs = self.outputs()
        return isinstance(outputs, Mapping) and {*names} <= outputs.keys()


class Needs(NamedTuple):
    """What a figure needs: whether a planned run has it, and what it is, in words."""

    met: Callable[[PlannedRun], bool]
    words: str


def needs(met: Callable[[PlannedRun], bool], words: str) -> Callable[[_Figure], _Figure]:
    """Declare beside a figure what it needs, so that its lack is told before training.

        @needs(lambda run: run.has("text"), "a source of texts")
        def lengths(run: FinishedRun) -> Figure:

    Args:
      met: whether a planned run has it.
      words: what it is, after '… needs'.
    """

    def declare(figure: _Figure) -> _Figure:
        vars(figure)["needs"] = Needs(met, words)
        return figure

    return declare


def lacking(figure: Callable[..., Any]) -> UserError:
    """The error for a figure whose needs are not met."""
    return UserError(f"config.figures: {figure.__name__!r} needs {vars(figure)['needs'].words}")


def undrawable(figures: Mapping[str, Callable[..., Any]], run: PlannedRun) -> dict[str, str]:
    """The figures that cannot be drawn, and what they need, of those that declare it."""
    declared = {name: getattr(figure, "needs", None) for name, figure in figures.items()}
    return {name: each.words for name, each in declared.items() if each and not each.met(run)}
