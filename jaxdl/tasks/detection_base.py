"""What all tasks of boxes share: detections from candidates, their measures, and their words."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdl import boxes as box
from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import Mean, Metric, PerExample
from jaxdl.tasks.answer import Answer, class_names
from jaxdl.tasks.average_precision import average_precision
from jaxdl.tasks.base import GivesAnswers
from jaxdl.tasks.objects import boxed_answers, require_objects, to_original

MEANING = (
    "AP is COCO's average precision, the mean over overlaps (IoU) of .50, .55, …, .95; AP50 and "
    "AP75 are at one of them; mAP50 is Pascal VOC's, at .5"
)


@dataclass(frozen=True)
class Detection(GivesAnswers):
    """What is in an image, and in which boxes.

    Args:
      classes: number of classes.
      threshold: the least score of a detection.
      overlap: intersection over union with a better one of its class that discards a detection.
      limit: how many an image may have.
      input: column of the images.
    """

    classes: int
    threshold: float = 0.05
    overlap: float = 0.5
    limit: int = 100
    input: str = "image"
    label = "labels"  # without annotation, so that it is no setting

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        self._check_settings(("classes", "limit"), ("threshold", "overlap"))

    def _check_settings(self, counts: Sequence[str], shares: Sequence[str]) -> None:
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} must be from 0 to 1, got {getattr(self, name)}")

    @abstractmethod
    def candidates_of(
        self, outputs: Any
    ) -> tuple[Float[Array, "batch n"], Float[Array, "batch n corners=4"], Int[Array, "batch n"]]:
        """Score, box and class of what may be a detection; a score of -∞ where there is none."""

    @abstractmethod
    def taught(
        self, outputs: Any, boxes: Float[Array, "objects corners=4"]
    ) -> Bool[Array, " objects"]:
        """Whether each object of an image has an anchor that training can teach to find it."""

    headline = ("AP", "AP50")

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> Float[Array, " batch"]:
        """The loss of each image."""
        return self.training_metrics(outputs, batch)["loss"]

    def predict(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Array]:
        """The detections of each image, best first.

        Args:
          outputs: of the detector.
          batch: with `extent`, the height and width of each picture on its canvas.

        Returns:
          `boxes` (batch, limit, 4), on the canvas; `scores` (batch, limit), 0 where there is none;
          `labels` (batch, limit), -1 where there is none.
        """
        return self._detect(outputs, batch, self.overlap, by_class=True)

    def to_original(
        self, predictions: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The boxes in pixels of each image as it was, before it was scaled by `scale`."""
        return to_original(predictions, batch)

    def _detect(
        self,
        outputs: Any,
        batch: Mapping[str, Any],
        overlap: float | Float[Array, ""],
        by_class: bool,
    ) -> dict[str, Array]:
        """`predict`, with another `overlap`; `by_class`, boxes of two classes never overlap."""

        def one(score: Array, boxes: Array, label: Array, extent: Array) -> dict[str, Array]:
            boxes = box.clip(boxes, extent)
            score = jnp.where(box.area(boxes) > 0, score, -jnp.inf)  # all of it was outside
            kept, valid = box.nms(boxes, score, overlap, self.limit, label if by_class else None)
            return {
                "boxes": jnp.where(valid[:, None], boxes[kept], 0),
                "scores": jnp.where(valid, score[kept], 0),
                "labels": jnp.where(valid, label[kept], -1),
            }

        return jax.vmap(one)(*self.candidates_of(outputs), batch["extent"])

    def metrics(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Metric]:
        """The loss and the detections of each image."""
        found = self.predict(outputs, batch)
        return {"loss": Mean(self.loss(outputs, batch)), "detections": PerExample(found)}

    def report(self, means: Mapping[str, Any], table: Table) -> dict[str, Any]:
        """The loss, and average precision as `average_precision` reports it."""
        return {
            "loss": float(means["loss"]),
            **average_precision(means["detections"], table),
        }

    @functools.cached_property
    def _detecting(self) -> Callable[..., dict[str, Array]]:
        """`_detect` for a person, compiled once for all batches of a shape."""
        return jax.jit(functools.partial(self._detect, by_class=False))

    def answers(
        self,
        outputs: Any,
        batch: Mapping[str, Any],
        classes: Sequence[str],
        top: int | None = None,
        score: float | None = None,
        overlap: float | None = None,
    ) -> list[list[Answer]]:
        """What is in each image, best first, in pixels of the image as it was.

        Args:
          outputs: of the detector.
          batch: with `extent`, and `scale`, which the image was scaled by.
          classes: their names; a class that has none is called by its number.
          top: how many at most; by default all.
          score: the least of what is shown; by default 0.3.
          overlap: intersection over union with a better one, of any class, that discards a box;
            by default `boxes.SHOWN_OVERLAP`, 0.4. A person wants one box an object; average
            precision, which `predict` is for, loses little by more.
        """
        most = box.SHOWN_OVERLAP if overlap is None else float(overlap)
        found = self._detecting(outputs, batch, most)
        found = self.to_original({name: np.asarray(x) for name, x in found.items()}, batch)
        least, names = 0.3 if score is None else score, class_names(classes, self.classes)
        return [answers[:top] for answers in boxed_answers(found, names, least)]

    def check(self, table: Table) -> None:
        """Refuse missing columns, and labels that are no class."""
        require_objects(table, self.input, self.classes, "drawn_boxes")
