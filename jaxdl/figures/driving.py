"""How a network steers, compared with the human driver."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.figures.canvas import BLUE, GREY, RED, canvas
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEGREES = 25  # by which the wheel is turned at an angle of 1, as in Udacity's simulator
_STRIP = 8  # frames


@needs(
    lambda run: run.measures("predictions") and getattr(run.task, "group", None) is not None,
    "a regression task with a group, and a split to evaluate of at most 10,000 examples",
)
def steering(run: FinishedRun) -> Figure:
    """The human's and the network's angle against time, for each group of the last split.

    Raises:
      UserError: the task is not a regression with groups.
    """
    task, split, predicted = _predictions(run, steering)
    table = run.splits[split]
    target, group = table.columns[task.target], table.columns[task.group]
    values = np.unique(group)
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(11, 2.4 * len(values))
    for ax, value in zip(figure.subplots(len(values), squeeze=False)[:, 0], values, strict=True):
        here = np.flatnonzero(group == value)
        time = table.columns["frame"][here] if "frame" in table.columns else here
        ax.spines[["top", "right"]].set_visible(False)
        ax.plot(time, target[here], color=BLUE, lw=1.2, label="human")
        ax.plot(time, predicted[here], color=RED, lw=1.2, label="network")
        name = f"{split}/{task.group}{value}"
        r2, mae = (run.result["metrics"][f"{name}/{metric}"] for metric in ("r2", "mae"))
        ax.set_title(f"{name}: R² {r2:.3f}, mean absolute error {mae:.3f}", loc="left", fontsize=9)
        ax.set(ylabel=task.target)
        ax.axhline(0, color=GREY, lw=0.5, zorder=0)
    ax.set(xlabel="frame" if "frame" in table.columns else "example")
    figure.axes[0].legend(frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.2))
    return figure


@needs(
    lambda run: (
        run.measures("predictions")
        and getattr(run.task, "group", None) is not None
        and run.splits["train"].columns[run.task.input].ndim in (4, 5)
    ),
    "a regression task of images with a group, and a split to evaluate of at most 10,000 examples",
)
def steering_strip(run: FinishedRun) -> Figure:
    """Frames of the last split, each with the human's and the network's steering wheel.

    From each eighth of the split, the frame with the human's sharpest turn.

    Raises:
      UserError: the task is not a regression of images with groups.
    """
    task, split, predicted = _predictions(run, steering_strip)
    table = run.splits[split]
    target, images = table.columns[task.target], table.columns[task.input]
    if images.ndim not in (4, 5):
        raise lacking(steering_strip)
    parts = np.array_split(np.arange(len(target)), min(_STRIP, len(target)))
    rows = np.array([part[np.argmax(np.abs(target[part]))] for part in parts])
    frames = images[rows] if images.ndim == 4 else images[rows][:, -1]
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(11, 4.6)
    down = -(-len(rows) // 4)
    for i, (row, frame) in enumerate(zip(rows, frames, strict=True)):
        ax = figure.add_subplot(down, 4, i + 1)
        ax.imshow(frame[..., 0] if frame.shape[-1] == 1 else frame, cmap="gray", aspect="equal")
        height, width = frame.shape[:2]
        radius = 0.2 * width
        for place, angle, color in ((0.25, target[row], BLUE), (0.75, predicted[row], RED)):
            _wheel(ax, (place * width, height + 1.3 * radius), radius, float(angle), color)
            at = (place * width, height + 2.8 * radius)
            ax.text(*at, f"{angle:+.2f}", color=color, ha="center", va="center", fontsize=8)
        group = f"{task.group} {table.columns[task.group][row]}"
        number = f", frame {table.columns['frame'][row]}" if "frame" in table.columns else ""
        ax.set_title(group + number, fontsize=8)
        ax.set(xlim=(0, width), ylim=(height + 3.1 * radius, 0))
        ax.axis("off")
    figure.suptitle("blue: the human's wheel, red: the network's", fontsize=9)
    return figure


def _wheel(ax: Any, centre: tuple[float, float], radius: float, angle: float, color: str) -> None:
    """A steering wheel of three spokes, turned clockwise where the angle is positive."""
    from matplotlib.patches import Circle

    ax.add_patch(Circle(centre, radius, fill=False, color=color, lw=2.5))
    for spoke in (0, 90, 180):  # degrees clockwise from the right: the axis points down
        turn = math.radians(spoke + _DEGREES * angle)
        end = (centre[0] + radius * math.cos(turn), centre[1] + radius * math.sin(turn))
        ax.plot(*zip(centre, end, strict=True), color=color, lw=2)


def _predictions(run: FinishedRun, figure: Callable[..., Any]) -> tuple[Any, str, np.ndarray]:
    """The task, the last evaluated split with predictions, and the predictions."""
    tables = {k: v for k, v in run.tables.items() if k.endswith("/predictions")}
    if not tables or getattr(run.task, "group", None) is None:
        raise lacking(figure)
    name = list(tables)[-1]
    return run.task, name.partition("/")[0], np.array(tables[name])
