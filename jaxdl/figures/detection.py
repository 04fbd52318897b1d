"""Boxes on images, and how sure a detector may be of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int, Num

from jaxdl.errors import UserError, printable
from jaxdl.figures.canvas import BLUE, GREY, NAME, canvas, grid
from jaxdl.figures.finished import Finished
from jaxdl.tasks.answer import Answer, class_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGES = 9
_LEAST = 0.3  # score of what is shown
_SIDE = 3.2  # inches that an image is wide
_FONT = 7  # points
_NAMED = 10  # as many classes have colors that can be told apart
_COLUMNS = ("image", "boxes", "labels", "crowd", "extent")


def detections(run: Finished) -> Figure:
    """What is found in the first images of the last evaluated split, as `show_detections`."""
    return show_detections(run.experiment, run.state)


def show_detections(experiment: Any, state: Any) -> Figure:
    """The first images of the last evaluated split, with the objects and what is found of them.

    The truth is thin and pale, dashed where it is crowd; what is found with a score of at least 0.3
    has the color, the name and the score of its class.

    Args:
      experiment: a `jaxdl.training.experiment.Experiment` of a detection task.
      state: of it, at any step.

    Raises:
      UserError: the task detects nothing.
    """
    import jax

    split = ("train", *experiment.evaluated)[-1]
    table = experiment.splits[split]
    if not {*_COLUMNS} <= {*table.columns}:
        raise UserError("config.figures: 'detections' needs a detection task, on a source of boxes")
    batch = table[np.arange(min(_IMAGES, len(table)))]
    found = jax.jit(experiment.prediction)(state, experiment.devices.replicate(batch))
    if not isinstance(found, dict) or not {"boxes", "labels", "scores"} <= {*found}:
        raise UserError("config.figures: 'detections' needs a detection task, on a source of boxes")
    found = {name: np.asarray(value) for name, value in found.items()}
    labels = (batch["labels"], found["labels"])
    names = class_names(table.classes, 1 + max(len(table.classes) - 1, *map(np.max, labels)))
    extents = batch["extent"].round().astype(int)
    images = [image[:h, :w] for image, (h, w) in zip(batch["image"], extents, strict=True)]
    figure, axes = _sheet(images)
    for i, (ax, image) in enumerate(zip(axes, images, strict=True)):
        real, shown = labels[0][i] >= 0, (labels[1][i] >= 0) & (found["scores"][i] >= _LEAST)
        truth, crowd = batch["boxes"][i, real], batch["crowd"][i, real]
        draw_boxes(ax, image, truth, labels[0][i, real], None, names, crowd)
        boxes, scores = found["boxes"][i, shown], found["scores"][i, shown]
        draw_boxes(ax, None, boxes, labels[1][i, shown], scores, names)
    figure.suptitle(f"{split}: thin and pale the truth, in color what is found", fontsize=9)
    return figure


def precision_recall(run: Finished) -> Figure:
    """Precision against recall of each class, at an intersection over union of .5, on each split.

    Of more than ten classes only their mean is named.

    Raises:
      UserError: the task measured none.
    """
    tables = {k: v for k, v in run.tables.items() if k.endswith("/precision_recall")}
    if not any(tables.values()):
        raise UserError("config.figures: 'precision_recall' needs a detection task, and objects")
    names = list(dict.fromkeys(name for curves in tables.values() for name in curves))
    figure, axes = canvas(len(tables), side=4.5)
    for ax, (name, curves) in zip(axes, tables.items(), strict=True):
        ranked = sorted(curves.items(), key=lambda item: -np.mean(item[1]))
        many = len(ranked) > _NAMED
        for label, curve in ranked:
            if many:
                ax.plot(*_reached(curve), color=GREY, alpha=0.3, lw=0.8)
            else:
                color, named = _color(names.index(label), len(names)), f"AP50 {np.mean(curve):.3f}"
                ax.plot(*_reached(curve), label=f"{printable(label, NAME)}, {named}", color=color)
        if many:
            mean = np.mean([curve for _, curve in ranked], axis=0)
            named = f"mean of {len(ranked)} classes, AP50 {mean.mean():.3f}"
            ax.plot(*_reached(mean), label=named, color=BLUE, lw=2.2)
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        ax.set_title(name.partition("/")[0])
        if ax.lines:
            ax.legend(frameon=False, fontsize=8)
    return figure


def boxes_gallery(images: Sequence[np.ndarray], answers: Sequence[Sequence[Answer]]) -> Figure:
    """Images (height, width, channels) of any size in a grid, with what is found in each.

    Args:
      images: at least one.
      answers: of each image, with boxes in its pixels.
    """
    names = sorted({answer.name for of_image in answers for answer in of_image})
    figure, axes = _sheet(images)
    for ax, image, of_image in zip(axes, images, answers, strict=True):
        found = [answer for answer in of_image if answer.box is not None]
        boxes = np.array([answer.box for answer in found], float).reshape(-1, 4)
        labels = np.array([names.index(answer.name) for answer in found], int)
        draw_boxes(ax, image, boxes, labels, np.array([a.value for a in found]), names)
    return figure


def draw_boxes(
    ax: Any,
    image: np.ndarray | None,
    boxes: Num[np.ndarray, "n 4"],
    labels: Int[np.ndarray, " n"],
    scores: Num[np.ndarray, " n"] | None,
    classes: Sequence[str],
    crowd: Bool[np.ndarray, " n"] | None = None,
) -> None:
    """Draw an image with boxes.

    Args:
      ax: Matplotlib's axes.
      image: (height, width, channels); None to draw over the one that `ax` shows already.
      boxes: (x₁, y₁, x₂, y₂) in its pixels.
      labels: their classes, which are their colors.
      scores: how sure each is. The surest lie on top, and have class and score beside them as long
        as there is room. None for objects that are there, drawn thin and pale.
      classes: the names.
      crowd: which are dashed.
    """
    if image is not None:
        shown = _visible(image)
        ax.imshow(shown, cmap="gray", vmin=0, vmax=255 if shown.dtype == np.uint8 else 1)
    corners = boxes - 0.5  # Matplotlib has whole numbers in the middle of pixels
    if scores is None:
        for i, box in enumerate(corners):
            style = "solid" if crowd is None or not crowd[i] else (0, (4, 3))
            _outline(ax, box, edgecolor="black", lw=1.8, ls=style, alpha=0.55)
            _outline(ax, box, edgecolor="#f5f5dc", lw=0.9, ls=style)
        return
    page = _Page(ax)
    for rank, i in enumerate(np.argsort(-scores, kind="stable")):
        label = int(labels[i])
        color = _color(label, len(classes))
        text = f"{printable(classes[label], NAME)} {scores[i]:.2f}"
        _outline(ax, corners[i], edgecolor=color, lw=1.6, zorder=3 - rank / len(scores))
        place = page.place(text, corners[i].tolist())
        if place is not None:
            light = np.dot(color[:3], (0.3, 0.59, 0.11)) > 0.55
            ground = {"facecolor": color, "edgecolor": "none", "pad": 1.2}
            written = ax.text(*place, text, fontsize=_FONT, va="top", bbox=ground, zorder=4)
            written.set_color("black" if light else "white")


def _sheet(images: Sequence[np.ndarray]) -> tuple[Figure, Any]:
    """A grid whose rows are as high as the images need."""
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    return grid(len(images), least=3, width=_SIDE, height=_SIDE * min(max(tallest, 0.4), 1.5))


class _Page:
    """Where on an image there is room for text that covers no other."""

    def __init__(self, ax: Any) -> None:
        self._height, self._width = ax.images[0].get_array().shape[:2]
        shape = ax.get_subplotspec().get_gridspec()
        wide, high = ax.figure.get_size_inches() / (shape.ncols, shape.nrows)
        self._point = (
            float(max(self._width / wide, self._height / high)) / 72
        )  # in pixels of the image
        self._taken: list[tuple[float, float, float, float]] = []

    def place(self, text: str, box: Sequence[float]) -> tuple[float, float] | None:
        """The left upper corner of the text, beside or in the box, or None if there is no room."""
        wide, high = self._point * 0.62 * _FONT * len(text), self._point * (1.25 * _FONT + 2.4)
        x = min(max(box[0], 0), max(0, self._width - wide))
        clipped = max(0, min(box[1], self._height - high))
        for y in (box[1] - high, box[1], box[3], box[3] - high, clipped):
            area = (x, y, x + wide, y + high)
            inside = -0.5 <= y <= self._height - high
            if inside and not any(_touch(area, other) for other in self._taken):
                self._taken.append(area)
                return x, y
        return None


def _outline(ax: Any, box: np.ndarray, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style))


def _touch(one: Sequence[float], other: Sequence[float]) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]


def _color(label: int, classes: int) -> tuple[float, ...]:
    from matplotlib import colormaps

    palette = colormaps["tab10" if classes <= _NAMED else "tab20"]
    return palette(label % palette.N)


def _visible(image: np.ndarray) -> np.ndarray:
    """The image in a range that can be shown, without a last axis of one channel."""
    image = image[..., 0] if image.shape[-1] == 1 else image
    if image.dtype == np.uint8:
        return image
    least, most = image.min(), image.max()
    return (image - least) / max(most - least, 1e-12)


def _reached(curve: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve to the greatest recall that is reached, and from there down."""
    curve = np.asarray(curve)
    end = np.count_nonzero(curve)
    if not end:
        return np.zeros(1), np.zeros(1)
    recall = np.linspace(0, 1, len(curve))[:end]
    return np.append(recall, recall[-1]), np.append(curve[:end], 0.0)
