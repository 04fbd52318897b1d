"""Runs beside one another: how their configs differ, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jaxdl.errors import printable
from jaxdl.figures.canvas import NAME, canvas, smoothed
from jaxdl.reports.told import Rows, Told, differences, results, table
from jaxdl.terminal import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND = 12  # runs


def lines(told: Sequence[Told]) -> Iterator[str]:
    """The lines of two tables, with a column for each run."""
    alike: Rows = [("", ["all alike"] * len(told))]
    yield from _table("config", *table(told, differences(told) or alike))
    yield ""
    yield from _table("result", *table(told, results(told)))


def _table(title: str, heads: list[str], rows: Rows) -> list[str]:
    return aligned(
        [[title, *map(printable, heads)], *([printable(name), *row] for name, row in rows)]
    )


def curves(told: Sequence[Told], metric: str) -> Figure:
    """Against steps, of each run: the training loss, smoothed, and a metric of evaluation."""
    figure, (loss, measured) = canvas(2)
    for each in told:
        label = printable(each.name, NAME)
        loss.plot(*smoothed(*each.series("loss")), label=label)
        measured.plot(*each.series(metric), marker="o", ms=3, label=label)
    positive = all(min(each.series("loss")[1], default=0) > 0 for each in told)
    scale = "log" if positive else "linear"
    loss.set(xlabel="step", ylabel="training loss", yscale=scale)
    measured.set(xlabel="step", ylabel=printable(metric))
    if len(told) <= _LEGEND:
        measured.legend(frameon=False)
    return figure
