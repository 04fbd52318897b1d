"""The results of a sweep: a table with a row for each point of the grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import printable
from jaxdl.sweeps.sweep import Sweep
from jaxdl.terminal import aligned


def table_row(sweep: Sweep, folder: Path, point: str, diverged: Collection[str]) -> dict[str, Any]:
    """The results of the runs of a point: a row of the table in sweep.json.

    Args:
      sweep: the sweep.
      folder: its folder.
      point: the name of the point.
      diverged: folders of the runs that have diverged.
    """
    places = [member.place for member in sweep.members if member.point == point]
    results = [Run(folder / place).result() for place in places if place not in diverged]
    finished = [result["metrics"] for result in results if result]
    metrics = {}
    for name in finished[0] if finished else ():
        numbers = [run.get(name) for run in finished]
        values = np.array([np.nan if x is None else x for x in numbers], float)
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        metrics[name] = {"mean": float(values.mean()), "std": std, "values": values.tolist()}
    return {
        "point": point,
        "values": dict(sweep.values[point]),
        "runs": len(finished),
        "diverged": len(places) - len(finished),
        "metrics": metrics,
    }


def printed(
    table: Sequence[Mapping[str, Any]], metrics: Sequence[str], over: str = "seeds"
) -> list[str]:
    """The lines of a table: a row for each point, mean ± sample standard deviation of its runs.

    Args:
      table: that of sweep.json.
      metrics: the columns to print.
      over: what the runs of a point differ in.
    """
    rows = [["", "runs", *map(printable, metrics)]]
    for row in table:
        cells = [cell(row["metrics"].get(name)) for name in metrics]
        diverged = f" ({row['diverged']} diverged)" if row["diverged"] else ""
        rows.append([printable(row["point"] or "all"), f"{row['runs']}{diverged}", *cells])
    return [
        *aligned(rows),
        f"mean ± sample standard deviation over {over}; diverged runs are left out",
    ]


def cell(metric: Mapping[str, Any] | None) -> str:
    """The mean and the standard deviation of a metric; 'nan' if a run lacks it."""
    if metric is None or metric["mean"] is None or not np.isfinite(metric["mean"]):
        return "nan"
    std = "" if metric["std"] is None else f" ± {metric['std']:.2g}"
    return f"{metric['mean']:.4g}{std}"
