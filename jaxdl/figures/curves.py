"""Curves over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxdl.figures.canvas import RED, canvas, smoothed
from jaxdl.figures.finished import FinishedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST = 5  # panels


def learning_curves(run: FinishedRun) -> Figure:
    """Against steps, on every split: the loss, the target's metric, and the task's headline."""
    series, target = _series(run.history), run.result["target"]
    evaluated = dict.fromkeys(name.partition("/")[2] for name in series if "/" in name)
    headline = run.task.headline if run.task else ()
    wanted = [*([_metric(target["metric"])] if target else []), *(headline or evaluated)]
    others = [metric for metric in dict.fromkeys(wanted) if metric in {*evaluated} - {"loss"}]
    panels = ["loss", *others[: _MOST - 1]]
    figure, axes = canvas(len(panels))
    for ax, metric in zip(axes, panels, strict=True):
        curve(ax, run, metric)
    return figure


def curve(ax: Any, run: FinishedRun, metric: str) -> None:
    """A metric against steps, of training batches and of every split, and the target for it."""
    curves = {k: v for k, v in _series(run.history).items() if _metric(k) == metric}
    for name, (steps, values) in curves.items():
        _plot(ax, name if "/" in name else "training batch", steps, values)
    target = run.result["target"]
    if target and _metric(target["metric"]) == metric:
        value = target["value"]
        ax.axhline(value, color=RED, ls="--", lw=1, label=f"target {value:g}")
    positive = all(min(values) > 0 for _, values in curves.values())
    scale = "log" if metric == "loss" and curves and positive else "linear"
    ax.set(xlabel="step", ylabel=metric, yscale=scale)
    if curves:
        ax.legend(frameon=False)


def _metric(name: str) -> str:
    """The metric of a series, such as 'test/loss', or 'loss' of training batches."""
    return name.partition("/")[2] or name


def _plot(ax: Any, label: str, steps: list[int], values: list[float]) -> None:
    """A curve; a long one of training batches is smoothed, over a faint one."""
    noisy = label == "training batch" and len(steps) > 100
    ax.plot(
        steps,
        values,
        label=label,
        alpha=0.35 if noisy else 1,
        lw=1 if noisy else 1.8,
        marker="" if noisy else "o",  # a single evaluation is a point
        ms=3,
    )
    if noisy:
        ax.plot(*smoothed(steps, values), color=ax.lines[-1].get_color(), lw=1.8)


def _series(history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Name -> the steps at which it was logged, and its values."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for line in history:
        for name, value in line.items():
            if name not in ("step", "seconds") and value is not None:
                steps, values = series.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return series
