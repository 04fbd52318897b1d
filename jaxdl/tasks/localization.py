"""Classification and localisation: which object an image shows, and the box around it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdl import boxes as box
from jaxdl.boxes import Located
from jaxdl.data.table import Table
from jaxdl.errors import UserError, check_choices
from jaxdl.metrics import Mean, Metric
from jaxdl.tasks.answer import Answer, class_names
from jaxdl.tasks.base import GivesAnswers
from jaxdl.tasks.classification import Classification
from jaxdl.tasks.objects import boxed_answers, require_objects, to_original

OVERLAP = 0.5  # that a box must have more of
_TOP = 5  # guesses an image


@dataclass(frozen=True)
class Localization(GivesAnswers):
    """Cross-entropy of the class, and 1 - generalised IoU of the box (Rezatofighi et al. 2019).

    The second is of the box of the true class, and has no scale: a small object counts as much as
    a large one. Metrics are those of ILSVRC (Russakovsky et al. 2015, sections 4.1 and 4.2), which
    are errors: an image has up to five guesses, each a class and a box, and is right if one of them
    is of its class and, for localisation, has an intersection over union above ½ with an object of
    that class. The object that is learnt is the image's only one, or its largest; regions marked as
    `crowd` are none.

    Args:
      classes: number of classes, at least 2.
      objects: 'one' refuses images with several objects; 'largest' takes the largest of each.
      box_weight: of the loss of the box, relative to that of the class.
      label_smoothing, auxiliary: see `Classification`.
      confusion: report the confusion matrix of the classes, where they are few.
      input: column of the images.
    """

    classes: int
    objects: Literal["one", "largest"] = "one"
    box_weight: float = 1.0
    label_smoothing: float = 0.0
    auxiliary: float = 0.3
    confusion: bool = True
    input: str = "image"
    label = "labels"  # without annotation, so that it is no setting

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        check_choices(self)
        if not 0 <= self.box_weight < math.inf:
            raise UserError(f"box_weight must be finite and at least 0, got {self.box_weight}")
        _ = self._classification

    @functools.cached_property
    def _classification(self) -> Classification:
        """The half of the task that needs no box."""
        return Classification(
            self.classes,
            label_smoothing=self.label_smoothing,
            auxiliary=self.auxiliary,
            confusion=self.confusion,
            input=self.input,
        )

    @property
    def headline(self) -> tuple[str, ...]:  # type: ignore[override]
        """The two errors of the most guesses."""
        k = _TOP if self.classes > _TOP else 1
        return (f"top{k}_error", f"top{k}_localization_error")

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> Float[Array, " batch"]:
        """The loss of each image; 0 of one whose object an augmentation has moved out."""
        return self.training_metrics(outputs, batch)["loss"]

    def weight(self, batch: Mapping[str, Any]) -> Float[Array, " batch"]:
        """1, and 0 of an image that shows no object, or several where it must be 'one'."""
        count = jnp.sum(_counted(batch), axis=1)
        return jnp.where(count == 1 if self.objects == "one" else count > 0, 1.0, 0.0)

    def training_metrics(
        self, outputs: Any, batch: Mapping[str, Any]
    ) -> dict[str, Float[Array, " batch"]]:
        """The loss of each image, and its parts: of the class, and of the box."""
        if "share" in batch:
            raise UserError(
                "config.data.augment: localization expects one object per image; leave out mixup, "
                "cutmix and mix"
            )
        logits, _ = self._checked(outputs)
        label, _ = truth(batch)
        return self._weighed(self._classification.loss(logits, {"label": label}), outputs, batch)

    def metrics(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Metric]:
        """Losses, errors, the IoU of the box of the true class, and the cells of the tables."""
        logits, boxes = self._checked(outputs)
        label, wanted = truth(batch)
        found = self.predict(outputs, batch)
        shared = box.box_iou(found["boxes"], jnp.asarray(batch["boxes"]))
        same = _counted(batch) & (batch["labels"] == label[:, None])
        of_class = found["labels"] == label[:, None]
        right = of_class & jnp.any((shared > OVERLAP) & same[:, None], axis=-1)
        errors = {}
        for k in {1, found["labels"].shape[1]}:
            for name, hit in (("error", of_class), ("localization_error", right)):
                errors[f"top{k}_{name}"] = 1 - jnp.any(hit[:, :k], axis=1).astype(jnp.float32)
        own = self._on_canvas(_of_class(boxes, label[:, None]), batch)[:, 0]
        shown = self._classification.metrics(logits, {"label": label})
        losses = self._weighed(shown.pop("loss").value, outputs, batch)
        means = {**losses, **errors, "iou": box.paired_iou(own, wanted)}
        del shown["accuracy"]
        return {**{name: Mean(value) for name, value in means.items()}, **shown}

    def _weighed(
        self, class_loss: Float[Array, " batch"], outputs: Any, batch: Mapping[str, Any]
    ) -> dict[str, Float[Array, " batch"]]:
        """The loss of each image and its parts, times the weight."""
        label, wanted = truth(batch)
        own = _of_class(outputs[1], label[:, None])[:, 0]
        box_loss = 1 - box.giou(own, wanted / self._sides(batch))
        parts = {
            "loss": class_loss + self.box_weight * box_loss,
            "class_loss": class_loss,
            "box_loss": box_loss,
        }
        return {name: self.weight(batch) * part for name, part in parts.items()}

    def report(self, means: Mapping[str, Any], table: Table) -> dict[str, Any]:
        """The means, and the tables of `Classification`."""
        return self._classification.report(means, table)

    def predict(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Array]:
        """The guesses of each image, likeliest first: five, or one of up to five classes.

        Args:
          outputs: of the model.
          batch: with `extent`, the height and width of each picture on its canvas.

        Returns:
          `labels` (batch, guesses); `scores`, the probability of each; `boxes`
          (batch, guesses, 4), on the canvas.
        """
        return self._guesses(outputs, batch, _TOP if self.classes > _TOP else 1)

    def to_original(
        self, predictions: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The boxes in pixels of each image as it was, before it was scaled by `scale`."""
        return to_original(predictions, batch)

    def answers(
        self,
        outputs: Any,
        batch: Mapping[str, Any],
        classes: Sequence[str],
        top: int | None = None,
        score: float | None = None,
    ) -> list[list[Answer]]:
        """The likeliest classes of each image, where that object would be, in its pixels.

        Args:
          outputs: of the model.
          batch: with `extent`, and `scale`, which the image was scaled by.
          classes: their names; a class that has none is called by its number.
          top: how many; by default one.
          score: the least probability of what is shown.
        """
        found = self._guesses(outputs, batch, min(top or 1, self.classes))
        found = self.to_original({name: np.asarray(x) for name, x in found.items()}, batch)
        return boxed_answers(found, class_names(classes, self.classes), score or 0)

    def check(self, table: Table) -> None:
        """Refuse missing columns, labels that are no class, and images without their one object."""
        require_objects(table, self.input, self.classes, "drawn_objects")
        labels = np.asarray(table.columns["labels"])
        count = np.sum((labels >= 0) & ~np.asarray(table.columns["crowd"]), axis=1)
        self._refuse(table, count == 0, "no object", "remove it")
        if self.objects == "one":
            several = f"{count[np.argmax(count > 1)]} objects"
            remedy = "set config.task.objects='largest', or detect them all: configs/shapes_fcos.py"
            self._refuse(table, count > 1, several, remedy)

    def _refuse(self, table: Table, wrong: Bool[np.ndarray, " n"], has: str, remedy: str) -> None:
        if wrong.any():
            raise UserError(
                f"{table.where}: image {np.argmax(wrong)} has {has} ({wrong.sum()} such of "
                f"{len(wrong)}), but localization expects one per image; {remedy}"
            )

    def _checked(self, outputs: Any) -> Located:
        """The outputs.

        Raises:
          UserError: they are not logits and boxes of so many classes.
        """
        if not isinstance(outputs, tuple) or len(outputs) != 2:
            raise UserError(
                "config.model: localization needs logits and boxes; set config.model.name to "
                "'localizer', with this model as its trunk"
            )
        logits, boxes = (jnp.shape(part) for part in outputs)
        if logits[-1:] != (self.classes,) or boxes[1:] not in ((1, 4), (self.classes, 4)):
            raise UserError(
                f"config.model.classes: the model gives logits {logits} and boxes {boxes}, but "
                f"config.task.classes is {self.classes}; leave both out, and the data decides"
            )
        return Located(*outputs)

    def _guesses(self, outputs: Any, batch: Mapping[str, Any], top: int) -> dict[str, Array]:
        logits, boxes = self._checked(outputs)
        probabilities = self._classification.probabilities(logits)
        scores, labels = jax.lax.top_k(probabilities, top)
        return {
            "boxes": self._on_canvas(_of_class(boxes, labels), batch),
            "scores": scores,
            "labels": labels,
        }

    def _on_canvas(
        self, boxes: Float[Array, "batch boxes 4"], batch: Mapping[str, Any]
    ) -> Float[Array, "batch boxes 4"]:
        """Shares of the sides as pixels, clipped to the picture."""
        return box.clip(boxes * self._sides(batch), jnp.asarray(batch["extent"]))

    def _sides(self, batch: Mapping[str, Any]) -> Float[Array, "4"]:
        """Width, height, width and height of the canvases."""
        height, width = batch[self.input].shape[1:3]
        return jnp.array([width, height, width, height], jnp.float32)


def _counted(batch: Mapping[str, Any]) -> Bool[Array, "batch objects"]:
    """Which of the objects there is room for exist, and are no crowd."""
    return (jnp.asarray(batch["labels"]) >= 0) & ~jnp.asarray(batch["crowd"])


def truth(
    batch: Mapping[str, Any],
) -> tuple[Int[Array, " batch"], Float[Array, "batch 4"]]:
    """Class and box of the largest object of each image; class 0 where there is none."""
    boxes = jnp.asarray(batch["boxes"])
    place = jnp.argmax(jnp.where(_counted(batch), box.area(boxes), -1), axis=1)[:, None]
    label = jnp.take_along_axis(jnp.asarray(batch["labels"]), place, axis=1)[:, 0]
    return jnp.maximum(label, 0), jnp.take_along_axis(boxes, place[..., None], axis=1)[:, 0]


def _of_class(
    boxes: Float[Array, "batch candidates 4"], labels: Int[Array, "batch guesses"]
) -> Float[Array, "batch guesses 4"]:
    """The box of each of these classes; the same for all where there is one."""
    place = labels if boxes.shape[1] > 1 else jnp.zeros_like(labels)
    return jnp.take_along_axis(boxes, place[..., None], axis=1)
