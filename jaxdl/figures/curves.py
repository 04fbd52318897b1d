"""Curves over the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.figures.canvas import GREEN, RED, canvas
from jaxdl.figures.finished import FinishedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(run: FinishedRun) -> Figure:
    """Loss against steps on every split, and the target's metric beside it."""
    metric = (run.result["target"] or {}).get("metric")
    losses = _series(run.history, lambda name: name.split("/")[-1] == "loss")
    chosen = _series(run.history, lambda name: name == metric and not metric.endswith("/loss"))
    figure, axes = canvas(1 + bool(chosen))
    for name, (steps, values) in losses.items():
        training = name == "loss" and len(steps) > 100
        axes[0].plot(
            steps,
            values,
            label="training batch" if name == "loss" else name,
            alpha=0.35 if training else 1,
            lw=1 if training else 1.8,
        )
        if training:
            width = max(1, len(steps) // 25)
            smooth = np.convolve(values, np.ones(width) / width, "valid")
            axes[0].plot(steps[width - 1 :], smooth, color=axes[0].lines[-1].get_color(), lw=1.8)
    positive = all(min(values) > 0 for _, values in losses.values())
    axes[0].set(xlabel="step", ylabel="loss", yscale="log" if positive and losses else "linear")
    if losses:
        axes[0].legend(frameon=False)
    for name, (steps, values) in chosen.items():
        axes[1].plot(steps, values, label=name, color=GREEN, marker="o", ms=3)
        target = run.result["target"]["value"]
        axes[1].axhline(target, color=RED, ls="--", lw=1, label=f"target {target:g}")
        axes[1].set(xlabel="step", ylabel=name)
        axes[1].legend(frameon=False)
    return figure


def _series(
    history: Sequence[Mapping[str, Any]], wanted: Callable[[str], bool]
) -> dict[str, tuple[list[int], list[float]]]:
    series: dict[str, tuple[list[int], list[float]]] = {}
    for line in history:
        for name, value in line.items():
            if name != "step" and wanted(name) and value is not None:
                steps, values = series.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return series
