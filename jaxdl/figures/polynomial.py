"""The fitted polynomial, and the path of gradient descent to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxdl.figures.canvas import BLUE, GREEN, RED, canvas
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@needs(lambda run: run.has("x", "target"), "columns x and target")
def polynomial_fit(run: FinishedRun) -> Figure:
    """The data, sin 2πx and the fitted curve, as in Bishop, PRML 2006, figure 1.4."""
    train, grid = run.splits["train"].columns, np.linspace(0, 1, 400)
    figure, (ax,) = canvas(1)
    ax.plot(grid, np.sin(2 * np.pi * grid), color=GREEN, label="sin 2πx")
    fit = run.predict({"x": grid, "target": np.zeros(len(grid))})
    ax.plot(grid, fit, color=RED, label="fit")
    ax.scatter(train["x"], train["target"], facecolors="none", edgecolors=BLUE, s=36, label="data")
    ax.set(xlabel="x", ylabel="t", ylim=(-1.6, 1.6), title=f"M = {len(run.params['w']) - 1}")
    ax.legend(frameon=False)
    return figure


@needs(lambda run: run.has("x", "target"), "columns x and target")
def descent_path(run: FinishedRun) -> Figure:
    """The path of gradient descent on the loss surface of its two parameters, for 400 steps.

    With more than two parameters the surface is the plane through the minimum that is spanned by
    the directions of greatest and least curvature, and the path is projected onto it.
    """
    train, steps = run.splits["train"].columns, min(run.result["step"], 400)
    path = run.trajectory(steps)["w"]
    basis = np.asarray(train["x"])[:, None] ** np.arange(path.shape[1])
    minimum = np.linalg.lstsq(basis, np.asarray(train["target"]), rcond=None)[0]
    curvature, directions = np.linalg.eigh(basis.T @ basis)
    if path.shape[1] == 2:
        plane, origin, names = np.eye(2), np.zeros(2), ("w₀", "w₁")
    else:
        plane, origin, names = directions[:, [-1, 0]].T, minimum, ("steepest", "flattest")
    at, low = (path - origin) @ plane.T, (minimum - origin) @ plane.T
    reach = 1.15 * np.abs(at - low).max() + 1e-9
    u, v = np.meshgrid(*(np.linspace(low[i] - reach, low[i] + reach, 120) for i in (0, 1)))
    offset = np.stack([u - low[0], v - low[1]], -1) @ plane
    error = 0.5 * np.einsum("...i,ij,...j", offset, basis.T @ basis, offset)
    figure, (ax,) = canvas(1, side=5.0)
    ax.contour(
        u, v, error, levels=np.geomspace(error.max() * 1e-4, error.max(), 14), cmap="Blues_r"
    )
    ax.plot(at[:, 0], at[:, 1], color=RED, marker=".", ms=4, lw=1, label=f"{steps} steps")
    ax.scatter(*low, color=GREEN, zorder=3, label="closed form")
    stable = 2 / (curvature[-1] * (1 if run.task.reduction == "sum" else 1 / len(basis)))
    ax.set(xlabel=names[0], ylabel=names[1], title=f"converges for a rate below {stable:.4g}")
    ax.legend(frameon=False)
    return figure
