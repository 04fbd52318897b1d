"""Images with boxes, as tasks see them: columns, and answers in pixels of the original image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.tasks.answer import Answer

_COLUMNS = ("boxes", "labels", "crowd", "extent", "scale")


def require_objects(table: Table, column: str, classes: int, drawn: str) -> None:
    """Refuse missing columns, and labels that are no class.

    Args:
      table: a split.
      column: of the images.
      classes: how many there are.
      drawn: the source that draws such images, to name beside those that read files.
    """
    remedy = f"A source of boxes has them: coco, voc, yolo, csv_boxes, tfds_boxes, {drawn}"
    table.require((column, *_COLUMNS), remedy)
    labels = np.asarray(table.columns["labels"])
    wrong = np.argwhere(labels >= classes)
    if len(wrong):
        image, place = wrong[0]
        raise UserError(
            f"{table.where}: image {image} has an object of class {labels[image, place]}, but "
            f"config.task.classes is {classes} ({len(wrong)} such)"
        )


def to_original(predictions: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    """Predictions with `boxes` in pixels of each original image, which `scale` had scaled."""
    scale = np.asarray(batch["scale"])[:, None, None]
    return {**predictions, "boxes": predictions["boxes"] / scale}


def boxed_answers(
    found: Mapping[str, Any], names: Sequence[str], least: float
) -> list[list[Answer]]:
    """Of each image, what was found with at least this score, in the order in which it stands.

    Args:
      found: `labels` (batch, n), below 0 where there is none; `scores` (batch, n); `boxes`
        (batch, n, 4).
      names: of the classes.
      least: score of what is shown.
    """
    return [
        [
            Answer(names[label], float(value), tuple(corners.tolist()))
            for label, value, corners in zip(*image, strict=True)
            if label >= 0 and value >= least
        ]
        for image in zip(found["labels"], found["scores"], found["boxes"], strict=True)
    ]
