"""Boxes on images, and curves of precision against recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int, Num

from jaxdl.errors import printable
from jaxdl.figures.canvas import BLUE, GREY, NAME, canvas, grid
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import PlannedRun, lacking, needs
from jaxdl.tasks.answer import Answer, class_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGES = 9
_LEAST = 0.3  # score of a detection that is shown
_SIDE = 3.2  # width of an image, in inches
_FONT = 7  # points
_NAMED = 10  # classes whose colors can be told apart
_COLUMNS = ("image", "boxes", "labels", "crowd", "extent")


@needs(
    lambda run: run.has("boxes", "extent", "scale") and run.predicts("boxes", "scores"),
    "a detection task, on a source of boxes",
)
def detections(run: FinishedRun) -> Figure:
    """The first images of the last evaluated split, with the true boxes and the detections.

    True boxes are white, edged with black, and dashed where they mark a crowd; detections with a
    score of at least 0.3, one an object, are in the color of their class, with its name and their
    score.

    Raises:
      UserError: the task is not detection.
    """
    split = run.last_split
    table = run.splits[split]
    batch = table[np.arange(min(_IMAGES, len(table)))]
    predicted = run.predict(batch) if {*_COLUMNS} <= {*batch} else None
    if not isinstance(predicted, dict) or not {"boxes", "labels", "scores"} <= {*predicted}:
        raise lacking(detections)
    labels = (batch["labels"], predicted["labels"])
    names = class_names(table.classes, 1 + max(len(table.classes) - 1, *map(np.max, labels)))
    extents = batch["extent"].round().astype(int)
    images = [image[:h, :w] for image, (h, w) in zip(batch["image"], extents, strict=True)]
    figure, axes = _sheet(images)
    for i, (ax, image) in enumerate(zip(axes, images, strict=True)):
        real, sure = labels[0][i] >= 0, (labels[1][i] >= 0) & (predicted["scores"][i] >= _LEAST)
        truth, crowd = batch["boxes"][i, real], batch["crowd"][i, real]
        draw_boxes(ax, image, truth, labels[0][i, real], None, names, crowd)
        boxes, scores = predicted["boxes"][i, sure], predicted["scores"][i, sure]
        one = _distinct(boxes, scores)
        draw_boxes(ax, None, boxes[one], labels[1][i, sure][one], scores[one], names)
    figure.suptitle(f"{split}: white the truth, in color what is found", fontsize=9)
    return figure


@needs(
    lambda run: run.measures("precision_recall") and _has_objects(run),
    "a detection task, and a split to evaluate that has objects",
)
def precision_recall(run: FinishedRun) -> Figure:
    """Precision against recall of each class, at an intersection over union of .5, on each split.

    Of more than ten classes only their mean is named.

    Raises:
      UserError: the task measured no precision.
    """
    tables = {k: v for k, v in run.tables.items() if k.endswith("/precision_recall")}
    if not any(tables.values()):
        raise lacking(precision_recall)
    names = list(dict.fromkeys(name for curves in tables.values() for name in curves))
    figure, axes = canvas(len(tables), side=4.5)
    for ax, (name, curves) in zip(axes, tables.items(), strict=True):
        ranked = sorted(curves.items(), key=lambda item: -np.mean(item[1]))
        crowded = len(ranked) > _NAMED
        for label, curve in ranked:
            if crowded:
                ax.plot(*_reached(curve), color=GREY, alpha=0.3, lw=0.8)
            else:
                text = f"{printable(label, NAME)}, AP50 {np.mean(curve):.3f}"
                ax.plot(*_reached(curve), label=text, color=_color(names.index(label), len(names)))
        if crowded:
            mean = np.mean([curve for _, curve in ranked], axis=0)
            text = f"mean of {len(ranked)} classes, AP50 {mean.mean():.3f}"
            ax.plot(*_reached(mean), label=text, color=BLUE, lw=2.2)
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        ax.set_title(name.partition("/")[0])
        if ax.lines:
            ax.legend(frameon=False, fontsize=8)
    return figure


def _has_objects(run: PlannedRun) -> bool:
    tables = [run.splits[name] for name in run.eval_splits]
    return any((np.asarray(table.columns["labels"]) >= 0).any() for table in tables)


def boxes_gallery(images: Sequence[np.ndarray], answers: Sequence[Sequence[Answer]]) -> Figure:
    """Images (height, width, channels) of any size in a grid, with the detections in each.

    Args:
      images: at least one.
      answers: of each image, with boxes in its pixels.
    """
    names = sorted({answer.name for of_image in answers for answer in of_image})
    figure, axes = _sheet(images)
    for ax, image, of_image in zip(axes, images, answers, strict=True):
        boxed = [answer for answer in of_image if answer.box is not None]
        boxes = np.array([answer.box for answer in boxed], float).reshape(-1, 4)
        labels = np.array([names.index(answer.name) for answer in boxed], int)
        draw_boxes(ax, image, boxes, labels, np.array([a.value for a in boxed]), names)
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
      image: (height, width, channels); None to draw over the one that `ax` already shows.
      boxes: (x₁, y₁, x₂, y₂) in its pixels.
      labels: the class of each box, which gives its color.
      scores: the confidence of each box. The highest lie on top, and are labelled with class and
        score as long as there is room. None for true boxes, which are drawn in white.
      classes: the names of the classes.
      crowd: which boxes are dashed.
    """
    if image is not None:
        pixels = visible(image)
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1)
    corners = boxes - 0.5  # Matplotlib puts whole numbers at the centers of pixels
    if scores is None:
        for i, box in enumerate(corners):
            style = "solid" if crowd is None or not crowd[i] else (0, (4, 3))
            # Wider than a detection, so that it shows on either side of one that is right.
            outline(ax, box, edgecolor="black", lw=3.6, ls=style)
            outline(ax, box, edgecolor="white", lw=2.4, ls=style)
        return
    from matplotlib.patheffects import withStroke

    page = _Page(ax)
    for rank, i in enumerate(np.argsort(-scores, kind="stable")):
        label = int(labels[i])
        color = _color(label, len(classes))
        text = f"{printable(classes[label], NAME)} {scores[i]:.2f}"
        cased = [withStroke(linewidth=2.2, foreground="black", alpha=0.6)]
        height = 3 - rank / len(scores)
        outline(ax, corners[i], edgecolor=color, lw=1.5, zorder=height, path_effects=cased)
        place = page.place(text, corners[i].tolist())
        if place is not None:
            light = np.dot(color[:3], (0.3, 0.59, 0.11)) > 0.55
            patch = {"facecolor": color, "edgecolor": "none", "pad": 1.2}
            tag = ax.text(*place, text, fontsize=_FONT, va="top", bbox=patch, zorder=4)
            tag.set_color("black" if light else "white")


def _distinct(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """The indices of the boxes that repeat no better one."""
    import jax.numpy as jnp

    from jaxdl.boxes import SHOWN_OVERLAP, box_iou

    corners, kept = jnp.asarray(boxes), list[int]()
    shared = np.asarray(box_iou(corners, corners))
    for i in np.argsort(-scores, kind="stable").tolist():
        if not kept or shared[i, kept].max() <= SHOWN_OVERLAP:
            kept.append(i)
    return kept


def _sheet(images: Sequence[np.ndarray]) -> tuple[Figure, Any]:
    """A grid with rows high enough for the tallest image."""
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    return grid(len(images), least=3, width=_SIDE, height=_SIDE * min(max(tallest, 0.4), 1.5))


class _Page:
    """Finds room on an image for labels that do not cover one another."""

    def __init__(self, ax: Any) -> None:
        self._height, self._width = ax.images[0].get_array().shape[:2]
        shape = ax.get_subplotspec().get_gridspec()
        wide, high = ax.figure.get_size_inches() / (shape.ncols, shape.nrows)
        self._point = float(max(self._width / wide, self._height / high)) / 72  # in pixels
        self._taken: list[tuple[float, float, float, float]] = []

    def place(self, text: str, box: Sequence[float]) -> tuple[float, float] | None:
        """The upper left corner of the text, beside or in the box; None if there is no room."""
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


def outline(ax: Any, box: np.ndarray, **style: Any) -> None:
    """Draw the outline of a box, (x₁, y₁, x₂, y₂) as Matplotlib counts."""
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


def visible(image: np.ndarray) -> np.ndarray:
    """The image as uint8, or scaled to 0 … 1; without a last axis of one channel."""
    image = image[..., 0] if image.shape[-1] == 1 else image
    if image.dtype == np.uint8:
        return image
    least, most = image.min(), image.max()
    return (image - least) / max(most - least, 1e-12)


def _reached(curve: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision up to the greatest recall that is reached, and from there down to 0."""
    curve = np.asarray(curve)
    end = np.count_nonzero(curve)
    if not end:
        return np.zeros(1), np.zeros(1)
    recall = np.linspace(0, 1, len(curve))[:end]
    return np.append(recall, recall[-1]), np.append(curve[:end], 0.0)
