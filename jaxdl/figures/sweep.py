"""The runs of a sweep, beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.errors import printable
from jaxdl.figures.canvas import NAME, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 4
_WIDE = 8  # numbers so many times apart call for a logarithmic axis


def sweep_figure(table: Sequence[Mapping[str, Any]]) -> Figure:
    """The first metrics over the grid: each run a cross, with mean ± standard deviation over seeds.

    The key with the most numbers makes the horizontal axis; the others make a line each.

    Args:
      table: as sweep.json has it, a row a point of the grid, with `values`, `point` and `metrics`:
        name -> `mean`, `std`, `values`. Points of which every run diverged have no metrics.
    """
    metrics = list(dict.fromkeys(name for row in table for name in row["metrics"]))[:_PANELS]
    keys = list(table[0]["values"])
    along = max(keys, key=lambda key: _rank(_ticks(table, key)), default="")
    ticks = _ticks(table, along)
    numeric, _ = _rank(ticks)
    figure, axes = canvas(len(metrics))
    for ax, metric in zip(axes, metrics, strict=True):
        for label, rows in _lines(table, along).items():
            known = [row for row in rows if metric in row["metrics"]]
            at = [row["values"].get(along, "all") for row in known]
            x = np.array(at if numeric else [ticks.index(value) for value in at], float)
            found = [row["metrics"][metric] for row in known]
            means, stds = ([f[k] or 0.0 for f in found] for k in ("mean", "std"))
            style = "o-" if numeric else "o"  # what has no order is not joined
            bars = ax.errorbar(
                x, means, stds, fmt=style, ms=6, lw=1.5, capsize=3, label=printable(label, 60)
            )
            for place, one in zip(x, found, strict=True):
                color = bars.lines[0].get_color()
                ax.plot([place] * len(one["values"]), one["values"], "x", color=color, ms=4)
        ax.set(xlabel=along, ylabel=metric)
        if numeric and min(ticks) > 0 and max(ticks) > _WIDE * min(ticks):
            ax.set_xscale("log")
        labels = [f"{tick:g}" if numeric else printable(tick, NAME) for tick in ticks]
        ax.set_xticks(ticks if numeric else range(len(ticks)), labels)
        ax.minorticks_off()
        if len(keys) > 1:
            ax.legend(frameon=False, fontsize="small")
    return figure


def _ticks(table: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """The values of a key, each once."""
    every = [row["values"].get(key, "all") for row in table]
    return [value for i, value in enumerate(every) if value not in every[:i]]  # may be dicts


def _rank(ticks: list[Any]) -> tuple[bool, int]:
    """Whether values are numbers, and how many: what makes a good horizontal axis."""
    return len(ticks) > 1 and all(type(tick) in (int, float) for tick in ticks), len(ticks)


def _lines(table: Sequence[Mapping[str, Any]], along: str) -> dict[str, list[Mapping[str, Any]]]:
    """The rows by what they have in common but for one key."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in table:
        others = (f"{k.rpartition('.')[2]} {v}" for k, v in row["values"].items() if k != along)
        lines.setdefault(", ".join(others), []).append(row)
    return lines
