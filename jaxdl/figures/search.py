"""What a search has tried, and how good it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.errors import printable
from jaxdl.figures.canvas import BLUE, GREY, NAME, RED, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 4
_WIDE = 8  # numbers so many times apart call for a logarithmic axis
_SHOWN = (0.0, 0.9)  # shares of the values, from the best, that an axis must show


def search_figure(
    lines: Sequence[Mapping[str, Any]], metric: str, keys: Sequence[str], smaller: bool
) -> Figure:
    """The values of all members: over their steps, and over each key that was drawn.

    A member has a line from rung to rung. Over a key, what was trained to its end is a dot, and
    what was stopped before a cross; the best of all is red.

    Args:
      lines: a record for each member and rung, with `member`, `setting`, `step`, `metric` (None
        where it diverged) and `decision`. Of trials each member has one, 'finished'.
      metric: the name of the values.
      keys: that were drawn; the first are shown.
      smaller: whether smaller is better.
    """
    known = [line for line in lines if line["metric"] is not None]
    last = {line["member"]: line for line in known}  # of each member, where it came to
    whole = [line for line in last.values() if line["decision"] == "finished"]
    best = min(whole, key=lambda line: line["metric"] if smaller else -line["metric"], default=None)
    figure, axes = canvas(1 + len(keys[: _PANELS - 1]))
    _by_step(axes[0], known, best)
    for ax, key in zip(axes[1:], keys, strict=False):
        _by_key(ax, key, list(last.values()), best)
    values = np.array([line["metric"] for line in known])
    shares = _SHOWN if smaller else (1 - _SHOWN[1], 1.0)
    low, high = np.quantile(values, shares) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    for ax in axes:
        ax.set_ylim(low - margin, high + margin)
        ax.set_ylabel(metric)
    return figure


def _by_step(ax: Any, known: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> None:
    """Each member from rung to rung; of trials, each by its number."""
    rungs = len({line["step"] for line in known}) > 1
    if not rungs:
        x, y = [line["member"] for line in known], [line["metric"] for line in known]
        ax.plot(x, y, "o", color=BLUE, ms=4)
        ax.set_xlabel("trial")
        if best:
            ax.plot(best["member"], best["metric"], "o", color=RED, ms=6)
        return
    paths: dict[int, list[tuple[int, float]]] = {}
    for line in known:
        paths.setdefault(line["member"], []).append((line["step"], line["metric"]))
    for member, path in paths.items():
        is_best = best is not None and member == best["member"]
        steps, values = zip(*path, strict=True)
        marker, color = ("o-" if len(path) > 1 else "x"), RED if is_best else BLUE
        color = GREY if len(path) == 1 else color
        ax.plot(steps, values, marker, color=color, ms=4, lw=1, zorder=3 if is_best else 2)
    ax.set(xscale="log", xlabel="step")
    ticks = sorted({line["step"] for line in known})
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()


def _by_key(
    ax: Any, key: str, last: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None
) -> None:
    """The last value of each member over what was drawn for a key."""
    values = [line["setting"][key] for line in last]
    numeric = all(isinstance(value, int | float) for value in values)
    names = list(dict.fromkeys(map(str, values)))
    x = np.array(values if numeric else [names.index(str(value)) for value in values], float)
    y = np.array([line["metric"] for line in last], float)
    whole = np.array([line["decision"] == "finished" for line in last], bool)
    ax.plot(x[~whole], y[~whole], "x", color=GREY, ms=4)
    ax.plot(x[whole], y[whole], "o", color=BLUE, ms=4)
    for i, line in enumerate(last):
        if best is not None and line["member"] == best["member"]:
            ax.plot(x[i], y[i], "o", color=RED, ms=6)
    ax.set_xlabel(key)
    if not numeric:
        ax.set_xticks(range(len(names)), [printable(name, NAME) for name in names])
    elif len(x) and x.min() > 0 and x.max() > _WIDE * x.min():
        ax.set_xscale("log")
