"""The fitted polynomial, and the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxdl.figures.canvas import BLUE, GREEN, RED, canvas
from jaxdl.figures.finished import Finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def polynomial_fit(run: Finished) -> Figure:
    """The data, sin 2πx and the fitted curve, as in Bishop, PRML 2006, figure 1.4."""
    import jax.numpy as jnp

    experiment = run.experiment
    train, grid = experiment.splits["train"].columns, np.linspace(0, 1, 400)
    batch = {"x": jnp.asarray(grid), "target": jnp.zeros(len(grid))}
    figure, (ax,) = canvas(1)
    ax.plot(grid, np.sin(2 * np.pi * grid), color=GREEN, label="sin 2πx")
    ax.plot(grid, experiment.prediction(run.state, batch), color=RED, label="fit")
    ax.scatter(train["x"], train["target"], facecolors="none", edgecolors=BLUE, s=36, label="data")
    order = len(run.state.params["w"]) - 1
    ax.set(xlabel="x", ylabel="t", ylim=(-1.6, 1.6), title=f"M = {order}")
    ax.legend(frameon=False)
    return figure


def descent_path(run: Finished) -> Figure:
    """The path of gradient descent on the loss surface of its two parameters.

    The run is repeated from its start, which the step, a pure function, allows. With more than
    two parameters the surface is the plane through the minimum that is spanned by the directions
    of greatest and least curvature, and the path is projected onto it.
    """
    import jax
    import jax.numpy as jnp

    experiment = run.experiment
    split = experiment.splits["train"]
    batch = {name: jnp.asarray(column) for name, column in split.columns.items()}
    steps = min(experiment.clock.total, 400)
    start = experiment.initial(batch, jnp.uint32(experiment.seed))
    _, path = jax.lax.scan(
        lambda s, _: (experiment.step(s, batch)[0], s.params["w"]), start, length=steps
    )
    path = np.asarray(path)
    basis = np.asarray(split.columns["x"])[:, None] ** np.arange(path.shape[1])
    minimum = np.linalg.lstsq(basis, np.asarray(split.columns["target"]), rcond=None)[0]
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
    stable = 2 / (curvature[-1] * (1 if experiment.task.reduction == "sum" else 1 / len(basis)))
    ax.set(xlabel=names[0], ylabel=names[1], title=f"converges for a rate below {stable:.4g}")
    ax.legend(frameon=False)
    return figure
