"""Images of one object, with the true class and box and the predicted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxdl.errors import printable
from jaxdl.figures.canvas import GREEN, NAME, RED, grid
from jaxdl.figures.detection import outline, visible
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs
from jaxdl.tasks.answer import class_names
from jaxdl.tasks.localization import OVERLAP, Localization, truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGES = 12
_ORANGE = "#dd6b20"


@needs(lambda run: run.measures("top1_localization_error"), "the task localization")
def localizations(run: FinishedRun) -> Figure:
    """The first images of the last evaluated split, with the true box and the likeliest guess.

    True boxes are white, edged with black. A guess is green where class and box are right, orange
    where one of the two is, and red where neither is; its class, probability and intersection over
    union with the truth stand above the image, and below them the true class, if it is another.

    Raises:
      UserError: the task is not localisation.
    """
    if not isinstance(run.task, Localization):
        raise lacking(localizations)
    import jax.numpy as jnp

    from jaxdl.boxes import paired_iou

    split = run.last_split
    table = run.splits[split]
    batch = table[np.arange(min(_IMAGES, len(table)))]
    predicted = run.predict(batch)
    labels, wanted = map(np.asarray, truth(batch))
    guesses = np.asarray(predicted["boxes"])[:, 0]
    shared = np.asarray(paired_iou(jnp.asarray(guesses), jnp.asarray(wanted)))
    names = [printable(name, NAME) for name in class_names(table.classes, run.task.classes)]
    extents = batch["extent"].round().astype(int)
    tallest = max(height / width for height, width in extents)
    figure, axes = grid(len(extents), least=4, width=2.4, height=0.5 + 2.4 * min(tallest, 1.5))
    for i, (ax, (height, width)) in enumerate(zip(axes, extents, strict=True)):
        image = visible(batch[run.task.input][i][:height, :width])
        ax.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
        guess, label = int(predicted["labels"][i, 0]), int(labels[i])
        right = int(guess == label) + int(shared[i] > OVERLAP)
        color = (RED, _ORANGE, GREEN)[right]
        # Matplotlib puts whole numbers at the centers of pixels.
        outline(ax, wanted[i] - 0.5, edgecolor="black", lw=3.6)
        outline(ax, wanted[i] - 0.5, edgecolor="white", lw=2.4)
        outline(ax, guesses[i] - 0.5, edgecolor=color, lw=1.8)
        said = f"{names[guess]} {predicted['scores'][i, 0]:.2f}, IoU {shared[i]:.2f}"
        told = "" if guess == label else f"\nnot {names[label]}"
        ax.set_title(said + told, fontsize=7.5, color=color)
    figure.suptitle(
        f"{split}: white the truth; the guess is green where class and box are right, orange where "
        "one is",
        fontsize=9,
    )
    return figure
