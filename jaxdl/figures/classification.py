"""Confusion matrices, the accuracy of each class, and images under titles."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.errors import printable
from jaxdl.figures.canvas import BLUE, GREY, NAME, canvas, grid
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@needs(
    lambda run: run.measures("confusion"),
    "a classification task with confusion, of at most 100 classes, and a split to evaluate",
)
def confusion(run: FinishedRun) -> Figure:
    """The confusion matrix of each evaluated split; only errors are colored.

    Up to 20 classes are named, where the data names them.

    Raises:
      UserError: the task measured no confusion matrix.
    """
    tables = {k: np.array(v) for k, v in run.tables.items() if k.endswith("/confusion")}
    if not tables:
        raise lacking(confusion)
    figure, axes = canvas(len(tables), side=5.0)
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
            known = run.splits[name.partition("/")[0]].classes[: len(matrix)]
            names = [*known, *range(len(known), len(matrix))]
            names = [printable(name, NAME) for name in names]
            ax.set_xticks(range(len(names)), names, rotation=90 * (len(max(names, key=len)) > 2))
            ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="predicted", ylabel="true", title=name)
    return figure


@needs(lambda run: run.measures("class_accuracy"), "a classification task, and a split to evaluate")
def class_accuracy(run: FinishedRun) -> Figure:
    """The accuracy of each class on each evaluated split; of many, the ten worst and ten best.

    Raises:
      UserError: the task measured no accuracy by class.
    """
    tables = {k: v for k, v in run.tables.items() if k.endswith("/class_accuracy")}
    if not any(tables.values()):
        raise lacking(class_accuracy)
    figure, axes = canvas(len(tables), side=5.0)
    for ax, (name, accuracies) in zip(axes, tables.items(), strict=True):
        ranked = sorted(accuracies.items(), key=lambda item: item[1])
        if len(ranked) > 20:
            ranked = ranked[:10] + ranked[-10:]
            ax.axhline(9.5, color=GREY, ls="--", lw=1)
            name += f", the worst and best ten of {len(accuracies)} classes"
        labels, values = zip(*ranked, strict=True)
        ax.barh(range(len(values)), values, color=BLUE)
        ax.set_yticks(range(len(labels)), [printable(x, NAME) for x in labels], fontsize=7)
        ax.invert_yaxis()
        ax.set(xlabel="accuracy", xlim=(0, 1), title=name)
    return figure


def gallery(
    images: Sequence[np.ndarray], titles: Sequence[str], colors: Sequence[str] | None = None
) -> Figure:
    """Images (height, width, channels) in a grid, each under its title, which may have a color."""
    figure, axes = grid(len(images), least=4, width=2.1, height=2.6)
    for i, (ax, image, title) in enumerate(zip(axes, images, titles, strict=True)):
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray")
        wrapped = "\n".join(textwrap.wrap(printable(title), 24))
        ax.set_title(wrapped, fontsize=8, color=colors[i] if colors else "black")
    return figure
