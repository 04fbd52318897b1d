"""Runs side by side: how their configs and results differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jaxdl.errors import printable
from jaxdl.figures.canvas import NAME, canvas, smoothed
from jaxdl.reports.saved_runs import Rows, SavedRun, differences, results, table
from jaxdl.terminal import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND = 12  # runs


def lines(runs: Sequence[SavedRun]) -> Iterator[str]:
    """The lines of two tables, with a column for each run."""
    alike: Rows = [("", ["all alike"] * len(runs))]
    yield from _table("config", *table(runs, differences(runs) or alike))
    yield ""
    yield from _table("result", *table(runs, results(runs)))


def _table(title: str, heads: list[str], rows: Rows) -> list[str]:
    return aligned(
        [[title, *map(printable, heads)], *([printable(name), *row] for name, row in rows)]
    )


def curves(runs: Sequence[SavedRun], metric: str) -> Figure:
    """The smoothed training loss and a metric of evaluation of each run, against steps."""
    figure, (loss, measured) = canvas(2)
    for each in runs:
        label = printable(each.name, NAME)
        loss.plot(*smoothed(*each.series("loss")), label=label)
        measured.plot(*each.series(metric), marker="o", ms=3, label=label)
    positive = all(min(each.series("loss")[1], default=0) > 0 for each in runs)
    scale = "log" if positive else "linear"
    loss.set(xlabel="step", ylabel="training loss", yscale=scale)
    measured.set(xlabel="step", ylabel=printable(metric))
    if len(runs) <= _LEGEND:
        measured.legend(frameon=False)
    return figure
