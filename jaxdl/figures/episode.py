"""What an agent does, and how it came to earn more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.figures.canvas import BLUE, GREY, canvas
from jaxdl.figures.curves import curve
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STRIP = 8  # frames


@needs(
    lambda run: run.predicts("scene", "playing", "reward"),
    "a model that plays, such as actor_critic",
)
def episode(run: FinishedRun) -> Figure:
    """Frames of the first episode of the last evaluated split, above the returns of the whole run.

    Raises:
      UserError: the model's outputs are not episodes.
    """
    table = run.splits[run.eval_splits[-1] if run.eval_splits else "train"]
    outputs = run.predict(table[np.zeros(1, int)])
    if not isinstance(outputs, Mapping) or not {"scene", "playing", "reward"} <= outputs.keys():
        raise lacking(episode)
    scene, steps = outputs["scene"][0], int(outputs["playing"][0, :-1].sum())
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(11, 4.6)
    parts: Any = figure.subfigures(2, height_ratios=(1, 3.5))
    strip, below = parts
    low, high = scene[: steps + 1].min((0, 1, 2)), scene[: steps + 1].max((0, 1, 2))
    frames = np.unique(np.linspace(0, steps, _STRIP).round().astype(int))
    for ax, t in zip(strip.subplots(1, len(frames), squeeze=False)[0], frames, strict=True):
        ax.plot(*scene[t].transpose(2, 1, 0), color=BLUE, lw=1.5, solid_capstyle="round")
        margin = 0.05 * (high - low)
        ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]), aspect="equal")
        ax.set_ylim(low[1] - margin[1], high[1] + margin[1])
        ax.set_title(f"step {t:,}", fontsize=8)
        ax.axis("off")
    ax = below.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    curve(ax, run, "return")
    earned = float(outputs["reward"].sum())
    ax.set_title(f"the episode above: return {earned:g}", color=GREY, loc="left", fontsize=9)
    return figure
