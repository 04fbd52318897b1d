"""What an autoencoder makes of images, and where it puts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.errors import printable
from jaxdl.figures.canvas import NAME, canvas, grid
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxdl.data.table import Table

_IMAGES, _SAMPLES = 10, 50
_POINTS = 5000


@needs(
    lambda run: run.predicts("reconstruction") and run.has("image"),
    "the task 'reconstruction', of images",
)
def reconstructions(run: FinishedRun) -> Figure:
    """The first images of the last evaluated split, above their reconstructions.

    Raises:
      UserError: the task is not reconstruction, or not of images.
    """
    table, batch, outputs = _outputs(run, _IMAGES, reconstructions)
    if np.ndim(batch.get("image")) != 4 or outputs["reconstruction"].ndim != 4:
        raise lacking(reconstructions)
    pairs = [*batch["image"], *outputs["reconstruction"]]
    figure, axes = grid(len(pairs), least=len(pairs) // 2, width=0.9, height=0.9)
    _show(axes, pairs)
    figure.suptitle(f"{table.where}: images, and below them their reconstructions", fontsize=9)
    return figure


@needs(
    lambda run: run.predicts("reconstruction", "sample") and run.has("image"),
    "a model that makes images, such as 'vae'",
)
def samples(run: FinishedRun) -> Figure:
    """Images that a variational autoencoder makes of codes drawn from the standard normal.

    Raises:
      UserError: the model makes no samples, or none that are images.
    """
    _, _, outputs = _outputs(run, _SAMPLES, samples)
    if np.ndim(drawn := outputs.get("sample")) != 4:
        raise lacking(samples)
    figure, axes = grid(len(drawn), least=_IMAGES, width=0.9, height=0.9)
    _show(axes, drawn)
    return figure


@needs(
    lambda run: run.predicts("reconstruction", "code") and run.outputs()["code"].shape[1:] == (2,),
    "the task 'reconstruction', and codes of two numbers; set config.model.code=2",
)
def codes(run: FinishedRun) -> Figure:
    """The codes of a split, by their first two numbers, in the colors of their classes.

    Raises:
      UserError: the task is not reconstruction, or the model tells no code of two numbers.
    """
    table, batch, outputs = _outputs(run, _POINTS, codes)
    code = outputs.get("code")
    if np.ndim(code) != 2 or code.shape[1] != 2:
        raise lacking(codes)
    figure, (ax,) = canvas(1, side=6.0)
    label = batch.get("label", np.zeros(len(code), int))
    for value in np.unique(label):
        name = table.classes[value] if value < len(table.classes) else str(value)
        points, label_ = code[label == value], printable(name, NAME)
        ax.scatter(*points.T, s=4, alpha=0.6, color=_color(int(value)), label=label_)
    ax.set(title=table.where, xlabel="first number of the code", ylabel="second")
    ax.legend(frameon=False, fontsize=8, markerscale=3)
    return figure


def _show(axes: Iterable[Any], images: Iterable[np.ndarray]) -> None:
    for ax, image in zip(axes, images, strict=True):
        least, most = (0, 255) if image.dtype == np.uint8 else (0, 1)
        image = np.clip((image - np.float32(least)) / (most - least), 0, 1)
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)


def _outputs(run: FinishedRun, most: int, figure: Callable[..., Any]) -> tuple[Table, Any, Any]:
    """The last evaluated split, its first examples, and what the model makes of them."""
    table = run.splits[run.last_split]
    batch = table[np.arange(min(most, len(table)))]
    outputs = run.predict(batch)
    if not isinstance(outputs, dict) or "reconstruction" not in outputs:
        raise lacking(figure)
    return table, batch, outputs


def _color(label: int) -> tuple[float, ...]:
    from matplotlib import colormaps

    return colormaps["tab10"](label % 10)
