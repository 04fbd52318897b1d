"""Figures of a finished run. Each is a function of `Finished` that returns a Matplotlib figure.

To add one, write such a function here and name it in `FIGURES`, or leave it in your own code and
name it in the config as `'package.module:function'`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _RED, _GREEN, _GREY = "#2b6cb0", "#c53030", "#2f855a", "#718096"


class Finished(NamedTuple):
    """What there is to draw.

    Attributes:
      experiment: a `jaxdl.training.experiment.Experiment`.
      state: the final state.
      result: as in result.json.
      tables: as in tables.json.
      history: the lines of metrics.jsonl.
    """

    experiment: Any
    state: Any
    result: Mapping[str, Any]
    tables: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]


def learning_curves(run: Finished) -> Figure:
    """Loss against steps on every split, and the target's metric beside it."""
    metric = (run.result["target"] or {}).get("metric")
    losses = _series(run.history, lambda name: name.split("/")[-1] == "loss")
    chosen = _series(run.history, lambda name: name == metric and not metric.endswith("/loss"))
    figure, axes = _canvas(1 + bool(chosen))
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
        axes[1].plot(steps, values, label=name, color=_GREEN, marker="o", ms=3)
        target = run.result["target"]["value"]
        axes[1].axhline(target, color=_RED, ls="--", lw=1, label=f"target {target:g}")
        axes[1].set(xlabel="step", ylabel=name)
        axes[1].legend(frameon=False)
    return figure


def confusion(run: Finished) -> Figure:
    """The confusion matrix of each evaluated split; the diagonal, which dwarfs it, is left pale.

    Up to 20 classes are named, where the data names them.

    Raises:
      UserError: the task measured none.
    """
    tables = {k: np.array(v) for k, v in run.tables.items() if k.endswith("/confusion")}
    if not tables:
        raise UserError("config.figures: 'confusion' needs a classification task with confusion")
    figure, axes = _canvas(len(tables), side=5.0)
    for ax, (name, matrix) in zip(axes, tables.items(), strict=True):
        errors = matrix - np.diag(np.diag(matrix))
        ax.imshow(errors, cmap="Reds", vmax=max(1, errors.max()))
        if len(matrix) <= 20:
            for row, column in np.ndindex(matrix.shape):
                if matrix[row, column]:
                    color = "white" if errors[row, column] > errors.max() / 2 else "black"
                    ax.text(
                        column,
                        row,
                        str(matrix[row, column]),
                        ha="center",
                        va="center",
                        fontsize=7,
                        color=color,
                    )
            known = run.experiment.splits[name.partition("/")[0]].classes[: len(matrix)]
            names = [*known, *map(str, range(len(known), len(matrix)))]
            ax.set_xticks(range(len(names)), names, rotation=90 * (len(max(names, key=len)) > 2))
            ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="predicted", ylabel="true", title=name)
    return figure


def class_accuracy(run: Finished) -> Figure:
    """The accuracy of each class, on each evaluated split; of many classes the ten ends.

    Raises:
      UserError: the task measured none.
    """
    tables = {k: v for k, v in run.tables.items() if k.endswith("/class_accuracy")}
    if not any(tables.values()):
        raise UserError("config.figures: 'class_accuracy' needs a classification task")
    figure, axes = _canvas(len(tables), side=5.0)
    for ax, (name, accuracies) in zip(axes, tables.items(), strict=True):
        ranked = sorted(accuracies.items(), key=lambda item: item[1])
        if len(ranked) > 20:
            ranked = ranked[:10] + ranked[-10:]
            ax.axhline(9.5, color=_GREY, ls="--", lw=1)
            name += f", the worst and best ten of {len(accuracies)} classes"
        labels, values = zip(*ranked, strict=True)
        ax.barh(range(len(values)), values, color=_BLUE)
        ax.set_yticks(range(len(labels)), [label[:24] for label in labels], fontsize=7)
        ax.invert_yaxis()
        ax.set(xlabel="accuracy", xlim=(0, 1), title=name)
    return figure


def captions(run: Finished) -> Figure:
    """Images of the last evaluated split, with what was written of them; red where it differs.

    Raises:
      UserError: the task writes nothing about images.
    """
    written = {k: v for k, v in run.tables.items() if k.endswith("/written")}
    split = list(written)[-1].partition("/")[0] if written else "train"
    images = run.experiment.splits[split].columns.get("image")
    if not written or images is None:
        raise UserError("config.figures: 'captions' needs a task that writes about images")
    pairs = written[f"{split}/written"][:8]
    colors = ["black" if text == asked else _RED for text, asked in pairs]
    return gallery(list(images[: len(pairs)]), [text for text, _ in pairs], colors)


def gallery(
    images: Sequence[np.ndarray], titles: Sequence[str], colors: Sequence[str] | None = None
) -> Figure:
    """Images (height, width, channels) in a grid, each under its title, which may have a color."""
    columns = min(len(images), max(4, math.isqrt(len(images))))
    rows = -(-len(images) // columns)
    figure, _ = _canvas(1)
    figure.clear()
    figure.set_size_inches(2.1 * columns, 2.6 * rows)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        ax = figure.add_subplot(rows, columns, i + 1)
        ax.axis("off")
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray")
        wrapped = "\n".join(textwrap.wrap(title, 24))
        ax.set_title(wrapped, fontsize=8, color=colors[i] if colors else "black")
    return figure


def polynomial_fit(run: Finished) -> Figure:
    """The data, sin 2πx and the fitted curve, as in Bishop, PRML 2006, figure 1.4."""
    import jax.numpy as jnp

    experiment = run.experiment
    train, grid = experiment.splits["train"].columns, np.linspace(0, 1, 400)
    batch = {"x": jnp.asarray(grid), "target": jnp.zeros(len(grid))}
    figure, (ax,) = _canvas(1)
    ax.plot(grid, np.sin(2 * np.pi * grid), color=_GREEN, label="sin 2πx")
    ax.plot(grid, experiment.prediction(run.state, batch), color=_RED, label="fit")
    ax.scatter(train["x"], train["target"], facecolors="none", edgecolors=_BLUE, s=36, label="data")
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
    figure, (ax,) = _canvas(1, side=5.0)
    ax.contour(
        u, v, error, levels=np.geomspace(error.max() * 1e-4, error.max(), 14), cmap="Blues_r"
    )
    ax.plot(at[:, 0], at[:, 1], color=_RED, marker=".", ms=4, lw=1, label=f"{steps} steps")
    ax.scatter(*low, color=_GREEN, zorder=3, label="closed form")
    stable = 2 / (curvature[-1] * (1 if experiment.task.reduction == "sum" else 1 / len(basis)))
    ax.set(xlabel=names[0], ylabel=names[1], title=f"converges for a rate below {stable:.4g}")
    ax.legend(frameon=False)
    return figure


FIGURES: dict[str, Callable[[Finished], Figure]] = {
    "captions": captions,
    "class_accuracy": class_accuracy,
    "confusion": confusion,
    "descent_path": descent_path,
    "polynomial_fit": polynomial_fit,
}


def draw(figures: Mapping[str, Callable[[Finished], Figure]], run: Finished, folder: Path) -> None:
    """Draw the learning curves and the given figures into a folder, as PNG."""
    for name, function in {"learning_curves": learning_curves, **figures}.items():
        save(function(run), folder / f"{name.rpartition(':')[2]}.png")


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its suffix says in which format.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, bbox_inches="tight")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another") from None


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


def _canvas(panels: int, side: float = 4.0) -> tuple[Figure, Any]:
    # The figure itself: pyplot would take a second to import, and keep every figure alive.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.3 * side * panels, side), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes
