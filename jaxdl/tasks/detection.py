"""Detection: what is in an image, and in which boxes, by one dense pass over it.

A detector says at each of many places, the anchors, which class is there and where its box is.
Training decides for each anchor which object it is to find; that, and how a box is written as four
numbers, is what `FCOS` and `RetinaNet` differ in.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdl import boxes as box
from jaxdl.boxes import Level
from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import Mean, Metric, PerExample
from jaxdl.tasks.answer import Answer, class_names
from jaxdl.tasks.average_precision import average_precision
from jaxdl.tasks.base import GivesAnswers

Levels = tuple[Level, ...]
MEANING = (
    "AP is COCO's average precision, the mean over overlaps (IoU) of .50, .55, …, .95; AP50 and "
    "AP75 are at one of them; mAP50 is Pascal VOC's, at .5"
)
_COLUMNS = ("boxes", "labels", "crowd", "extent", "scale")


class Matches(NamedTuple):
    """What each anchor of an image is to find.

    Attributes:
      found: (anchors,) the object, 0 where there is none.
      positive: (anchors,) whether there is one.
      ignored: (anchors,) whether the anchor is neither to find anything nor to find nothing.
    """

    found: Int[Array, " anchors"]
    positive: Bool[Array, " anchors"]
    ignored: Bool[Array, " anchors"]


@dataclass(frozen=True)
class Detection(GivesAnswers):
    """Focal loss of the classes, and a loss of the boxes (Lin et al. 2017, "Focal loss").

    The loss of an image is summed over its anchors and divided by how many of them are to find an
    object, or 1; that of a batch is the mean over images. Regions marked as `crowd` teach nothing.

    Args:
      classes: number of classes.
      alpha: weight of the anchors that are of a class; 1 - alpha is that of the others.
      gamma: how much less an anchor counts that is right already.
      threshold: the least score of a detection.
      overlap: intersection over union with a better one of its class that discards a detection.
      candidates: how many detections of a level are looked at.
      limit: how many an image may have.
      input: column of the images.
    """

    classes: int
    alpha: float = 0.25
    gamma: float = 2.0
    threshold: float = 0.05
    overlap: float = 0.5
    candidates: int = 1000
    limit: int = 100
    input: str = "image"
    label = "labels"  # without annotation, so that it is no setting

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        for name in ("classes", "candidates", "limit"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("alpha", "threshold", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.gamma < math.inf:
            raise UserError(f"gamma must be finite and at least 0, got {self.gamma}")

    @abstractmethod
    def match(
        self,
        levels: Levels,
        boxes: Float[Array, "objects 4"],
        real: Bool[Array, " objects"],
    ) -> Matches:
        """Which of the real boxes of an image each anchor is to find."""

    @abstractmethod
    def decode(
        self, deltas: Float[Array, "*anchors 4"], anchors: Float[Array, "*anchors 4"]
    ) -> Float[Array, "*anchors 4"]:
        """The boxes that a detector's numbers stand for."""

    @abstractmethod
    def distance(
        self, deltas: Array, quality: Array | None, anchors: Array, wanted: Array
    ) -> Float[Array, " anchors"]:
        """The loss of each anchor of an image, were it to find the wanted box of that anchor."""

    headline = ("AP", "AP50")

    def loss(self, outputs: Levels, batch: Mapping[str, Any]) -> Float[Array, " batch"]:
        """The loss of each image."""
        return self.training_metrics(outputs, batch)["loss"]

    def training_metrics(
        self, outputs: Levels, batch: Mapping[str, Any]
    ) -> dict[str, Float[Array, " batch"]]:
        """The loss of each image, and its parts: of the classes, and of the boxes."""
        if not all(hasattr(level, "anchors") for level in outputs):
            raise UserError("config.model: detection needs anchors; name the model detector")
        if any(level.logits.shape[-1] != self.classes for level in outputs):
            raise UserError(
                f"config.model.classes: the model has {outputs[0].logits.shape[-1]}, config.task "
                f"{self.classes}; leave both out, and the data says how many"
            )
        anchors, logits, deltas, quality = joined(outputs)

        def one(logits: Any, deltas: Any, quality: Any, boxes: Any, labels: Any, crowd: Any) -> Any:
            found, positive, ignored = self.match(outputs, boxes, (labels >= 0) & ~crowd)
            ignored |= ~positive & jnp.any(_within(anchors, boxes) & crowd, axis=1)
            wanted = jax.nn.one_hot(jnp.where(positive, labels[found], -1), self.classes)
            focal = jnp.sum(focal_loss(logits, wanted, self.alpha, self.gamma), axis=-1)
            place = self.distance(deltas, quality, anchors, boxes[found])
            class_loss = jnp.sum(jnp.where(ignored, 0, focal))
            box_loss = jnp.sum(jnp.where(positive, place, 0))
            parts = {"loss": class_loss + box_loss, "class_loss": class_loss, "box_loss": box_loss}
            return {name: part / jnp.maximum(1, jnp.sum(positive)) for name, part in parts.items()}

        truth = (batch["boxes"], batch["labels"], batch["crowd"])
        return jax.vmap(one)(logits, deltas, quality, *truth)

    def predict(self, outputs: Levels, batch: Mapping[str, Any]) -> dict[str, Array]:
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
        scale = np.asarray(batch["scale"])[:, None, None]
        return {**predictions, "boxes": predictions["boxes"] / scale}

    def _detect(
        self,
        outputs: Levels,
        batch: Mapping[str, Any],
        overlap: float | Float[Array, ""],
        by_class: bool,
    ) -> dict[str, Array]:
        """`predict`, with another `overlap`; `by_class`, boxes of two classes never overlap."""

        def one(scores: list[Array], deltas: list[Array], extent: Array) -> dict[str, Array]:
            anchors = [level.anchors for level in outputs]
            parts = [self._best(*level) for level in zip(scores, deltas, anchors, strict=True)]
            score, boxes, label = (jnp.concatenate(part) for part in zip(*parts, strict=True))
            boxes = box.clip(boxes, extent)
            score = jnp.where(box.area(boxes) > 0, score, -jnp.inf)  # all of it was outside
            kept, valid = box.nms(boxes, score, overlap, self.limit, label if by_class else None)
            return {
                "boxes": jnp.where(valid[:, None], boxes[kept], 0),
                "scores": jnp.where(valid, score[kept], 0),
                "labels": jnp.where(valid, label[kept], -1),
            }

        deltas = [level.deltas for level in outputs]
        return jax.vmap(one)([_scores(level) for level in outputs], deltas, batch["extent"])

    def metrics(self, outputs: Levels, batch: Mapping[str, Any]) -> dict[str, Metric]:
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
        outputs: Levels,
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
        return [
            [
                Answer(names[label], float(value), tuple(corners.tolist()))
                for label, value, corners in zip(*image, strict=True)
                if label >= 0 and value >= least
            ][:top]
            for image in zip(found["labels"], found["scores"], found["boxes"], strict=True)
        ]

    def check(self, table: Table) -> None:
        """Refuse missing columns, and labels that are no class."""
        remedy = "A source of boxes has them: coco, voc, yolo, tfds_boxes, drawn_boxes"
        table.require((self.input, *_COLUMNS), remedy)
        labels = np.asarray(table.columns["labels"])
        wrong = np.argwhere(labels >= self.classes)
        if len(wrong):
            image, place = wrong[0]
            raise UserError(
                f"{table.where}: image {image} has an object of class {labels[image, place]}, but "
                f"config.task.classes is {self.classes} ({len(wrong)} such)"
            )

    def _best(
        self,
        scores: Float[Array, "n classes"],
        deltas: Float[Array, "n 4"],
        anchors: Float[Array, "n 4"],
    ) -> tuple[Array, Array, Array]:
        """Score, box and class of the best anchors of a level; a score of -∞ where none is left."""
        flat = jnp.where(scores > self.threshold, scores, -jnp.inf).reshape(-1)
        score, place = jax.lax.top_k(flat, min(self.candidates, flat.size))
        anchor, label = jnp.divmod(place, self.classes)
        return score, self.decode(deltas[anchor], anchors[anchor]), label


@dataclass(frozen=True)
class FCOS(Detection):
    """Every place in the middle of an object is to find its box (Tian et al. 2019, "FCOS").

    The box is four distances from the place, learnt by generalised intersection over union
    (Rezatofighi et al. 2019). Places far from the middle are to say so, by their centre-ness.

    Args:
      radius: how far from an object's middle, in strides, a place may be.
      overlap: as of `Detection`.
    """

    radius: float = 1.5
    overlap: float = 0.6

    def match(
        self,
        levels: Levels,
        boxes: Float[Array, "objects 4"],
        real: Bool[Array, " objects"],
    ) -> Matches:
        """The smallest object around an anchor that is of its level's size.

        A level with stride s finds objects whose farthest side is 4s to 8s away (section 3.2); the
        first finds what is smaller, and the last what is larger.
        """
        anchors = jnp.concatenate([level.anchors for level in levels])
        sides, order = anchors[:, 2] - anchors[:, 0], jnp.arange(len(anchors))
        near = jnp.where(order < len(levels[0].anchors), 0, 4 * sides)
        far = jnp.where(order >= len(anchors) - len(levels[-1].anchors), jnp.inf, 8 * sides)
        place, middle = box.centre(anchors)[:, None], box.centre(boxes)
        distances = jnp.concatenate([place - boxes[:, :2], boxes[:, 2:] - place], axis=-1)
        reach = jnp.max(distances, axis=-1)
        fits = jnp.max(jnp.abs(place - middle), axis=-1) < self.radius * sides[:, None]
        fits &= jnp.min(distances, axis=-1) > 0
        fits &= (reach > near[:, None]) & (reach < far[:, None]) & real
        size = jnp.where(fits, box.area(boxes), jnp.inf)
        positive = jnp.any(fits, axis=1)
        return Matches(jnp.argmin(size, axis=1), positive, jnp.zeros_like(positive))

    def decode(
        self, deltas: Float[Array, "*anchors 4"], anchors: Float[Array, "*anchors 4"]
    ) -> Float[Array, "*anchors 4"]:
        """Distances to the left, top, right and bottom, in strides."""
        return box.decode_distances(deltas, anchors)

    def distance(
        self, deltas: Array, quality: Array | None, anchors: Array, wanted: Array
    ) -> Float[Array, " anchors"]:
        """1 - generalised intersection over union, and cross-entropy of the centre-ness."""
        if quality is None:
            raise UserError("config.task: fcos needs centre-ness; set config.model.head to fcos")
        sides = box.encode_distances(wanted, anchors)
        ratios = [
            jnp.clip(jnp.min(s, axis=1) / jnp.maximum(jnp.max(s, axis=1), 1e-6), 0, 1)
            for s in (sides[:, ::2], sides[:, 1::2])  # across and down; 0 outside the box
        ]
        centred = jax.lax.stop_gradient(jnp.sqrt(ratios[0] * ratios[1]))
        return 1 - box.giou(self.decode(deltas, anchors), wanted) + cross_entropy(quality, centred)


@dataclass(frozen=True)
class RetinaNet(Detection):
    """Anchors that overlap an object are to find it (Lin et al. 2017, "Focal loss").

    Args:
      positive: intersection over union from which an anchor is to find an object.
      negative: that below which it is to find nothing; between the two it teaches nothing.
    """

    positive: float = 0.5
    negative: float = 0.4

    def match(
        self,
        levels: Levels,
        boxes: Float[Array, "objects 4"],
        real: Bool[Array, " objects"],
    ) -> Matches:
        """The object that an anchor overlaps most; and of each object its best anchors."""
        anchors = jnp.concatenate([level.anchors for level in levels])
        shared = jnp.where(real, box.box_iou(anchors, boxes), -1.0)
        found, best = jnp.argmax(shared, axis=1), jnp.max(shared, axis=1)
        rescued = (shared == jnp.max(shared, axis=0)) & (shared > 0)
        positive = (best >= self.positive) | jnp.any(rescued, axis=1)
        return Matches(found, positive, ~positive & (best >= self.negative))

    def decode(
        self, deltas: Float[Array, "*anchors 4"], anchors: Float[Array, "*anchors 4"]
    ) -> Float[Array, "*anchors 4"]:
        """Offsets of the centre in sides of the anchor, and logarithms of the ratios of sides."""
        return box.decode_offsets(deltas, anchors)

    def distance(
        self, deltas: Array, quality: Array | None, anchors: Array, wanted: Array
    ) -> Float[Array, " anchors"]:
        """The sum of the absolute differences of the four numbers."""
        if quality is not None:
            raise UserError("config.task: retinanet has no use for centre-ness; the task is fcos")
        return jnp.sum(jnp.abs(deltas - box.encode_offsets(wanted, anchors)), axis=-1)


def focal_loss(
    logits: Float[Array, "*shape"], wanted: Float[Array, "*shape"], alpha: float, gamma: float
) -> Float[Array, "*shape"]:
    """Cross-entropy that counts little where it is small (Lin et al. 2017, section 3.2)."""
    p = jax.nn.sigmoid(logits)
    wrong = wanted * (1 - p) + (1 - wanted) * p
    weight = wanted * alpha + (1 - wanted) * (1 - alpha)
    return weight * wrong**gamma * cross_entropy(logits, wanted)


def cross_entropy(
    logits: Float[Array, "*shape"], wanted: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Of a Bernoulli variable with probability `wanted`, in nats."""
    return jnp.maximum(logits, 0) - logits * wanted + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def joined(levels: Levels) -> tuple[Array, Array, Array, Array | None]:
    """Anchors, logits, code and quality of all levels together."""
    quality = [level.quality for level in levels if level.quality is not None]
    return (
        jnp.concatenate([level.anchors for level in levels]),
        jnp.concatenate([level.logits for level in levels], axis=1),
        jnp.concatenate([level.deltas for level in levels], axis=1),
        jnp.concatenate(quality, axis=1) if quality else None,
    )


def _scores(level: Level) -> Float[Array, "batch n classes"]:
    scores = jax.nn.sigmoid(level.logits)
    if level.quality is None:
        return scores
    return jnp.sqrt(scores * jax.nn.sigmoid(level.quality)[..., None])


def _within(
    anchors: Float[Array, "anchors 4"], boxes: Float[Array, "objects 4"]
) -> Bool[Array, "anchors objects"]:
    """Whether the centre of an anchor lies in a box."""
    place = box.centre(anchors)[:, None]
    return jnp.all((place > boxes[:, :2]) & (place < boxes[:, 2:]), axis=-1)
