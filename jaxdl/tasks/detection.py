"""Detection: what is in an image, and in which boxes, by one dense pass over it.

A detector says at each of many places, the anchors, which class is there and where its box is.
Training decides for each anchor which object it is to find; that, and how a box is written as four
numbers, is what `FCOS` and `RetinaNet` differ in.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdl import boxes as box
from jaxdl.boxes import Level, Matches
from jaxdl.errors import UserError
from jaxdl.tasks.detection_base import Detection

Levels = tuple[Level, ...]


@dataclass(frozen=True)
class DenseDetection(Detection):
    """Focal loss of the classes, and a loss of the boxes (Lin et al. 2017, "Focal loss").

    The loss of an image is summed over its anchors and divided by how many of them are to find an
    object, or 1; that of a batch is the mean over images. Regions marked as `crowd` teach nothing.

    Args:
      alpha: weight of the anchors that are of a class; 1 - alpha is that of the others.
      gamma: how much less an anchor counts that is right already.
      candidates: how many detections of a level are looked at.
    """

    alpha: float = 0.25
    gamma: float = 2.0
    candidates: int = 1000

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        self._check_settings(("classes", "candidates", "limit"), ("alpha", "threshold", "overlap"))
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

    def training_metrics(
        self, outputs: Any, batch: Mapping[str, Any]
    ) -> dict[str, Float[Array, " batch"]]:
        """The loss of each image, and its parts: of the classes, and of the boxes."""
        if not all(isinstance(level, Level) for level in outputs):
            raise UserError("config.task: needs a detector; set config.model.name to 'detector'")
        if any(level.logits.shape[-1] != self.classes for level in outputs):
            raise UserError(
                f"config.model.classes: the model has {outputs[0].logits.shape[-1]}, but "
                f"config.task has {self.classes}; leave both out, and the data decides"
            )
        anchors, logits, deltas, quality = joined(outputs)

        def one(logits: Any, deltas: Any, quality: Any, boxes: Any, labels: Any, crowd: Any) -> Any:
            found, positive, ignored = self.match(outputs, boxes, (labels >= 0) & ~crowd)
            ignored |= ~positive & jnp.any(box.centred_in(anchors, boxes) & crowd, axis=1)
            wanted = jax.nn.one_hot(jnp.where(positive, labels[found], -1), self.classes)
            focal = jnp.sum(focal_loss(logits, wanted, self.alpha, self.gamma), axis=-1)
            place = self.distance(deltas, quality, anchors, boxes[found])
            class_loss = jnp.sum(jnp.where(ignored, 0, focal))
            box_loss = jnp.sum(jnp.where(positive, place, 0))
            parts = {"loss": class_loss + box_loss, "class_loss": class_loss, "box_loss": box_loss}
            return {name: part / jnp.maximum(1, jnp.sum(positive)) for name, part in parts.items()}

        truth = (batch["boxes"], batch["labels"], batch["crowd"])
        return jax.vmap(one)(logits, deltas, quality, *truth)

    def candidates_of(self, outputs: Levels) -> tuple[Array, Array, Array]:
        """The best of each level, with scores above the threshold."""
        parts = [
            jax.vmap(self._best, in_axes=(0, 0, None))(_scores(level), level.deltas, level.anchors)
            for level in outputs
        ]
        score, boxes, label = (jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return score, boxes, label

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
class FCOS(DenseDetection):
    """Every place in the middle of an object is to find its box (Tian et al. 2019, "FCOS").

    The box is four distances from the place, learnt by generalised intersection over union
    (Rezatofighi et al. 2019). Places far from the middle are to say so, by their centre-ness.

    Args:
      radius: how far from an object's middle, in strides, a place may be.
      overlap: see `Detection`.
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

    def taught(self, outputs: Levels, boxes: Float[Array, "objects 4"]) -> Bool[Array, " objects"]:
        """Those that are assigned to a place."""
        matches = self.match(outputs, boxes, jnp.ones(len(boxes), bool))
        return jnp.zeros(len(boxes), bool).at[matches.found].max(matches.positive)

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
class RetinaNet(DenseDetection):
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
        return box.match(anchors, boxes, real, self.positive, self.negative, rescue=True)

    def taught(self, outputs: Levels, boxes: Float[Array, "objects 4"]) -> Bool[Array, " objects"]:
        """Those that an anchor overlaps by at least `negative`."""
        return overlapped(outputs, boxes, self.negative)

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
            raise UserError(
                "config.task: this model gives centre-ness; set config.task.name to fcos"
            )
        return jnp.sum(jnp.abs(deltas - box.encode_offsets(wanted, anchors)), axis=-1)


def overlapped(
    levels: Levels, boxes: Float[Array, "objects 4"], least: float
) -> Bool[Array, " objects"]:
    """Whether an anchor overlaps each box by at least this intersection over union.

    If the best anchor of an object overlaps it by less than what makes an anchor a negative, it is
    taught as a positive while its neighbours, which look alike, are taught as negatives.
    """
    anchors = jnp.concatenate([level.anchors for level in levels])
    return jnp.max(box.box_iou(anchors, boxes), axis=0) >= least


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
