"""Detection in two stages: where something is, and then what it is and where exactly."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxdl import boxes as box
from jaxdl.boxes import Regions
from jaxdl.errors import UserError
from jaxdl.tasks.detection import cross_entropy, joined, overlapped
from jaxdl.tasks.detection_base import Detection

Truth = tuple[Array, Array, Array]  # boxes, labels and crowd of the objects of an image

_BETA = 1 / 9  # where the loss of a box turns from squares to absolute values
_WEIGHTS = np.array(box.REGION_WEIGHTS, np.float32)


@dataclass(frozen=True)
class FasterRCNN(Detection):
    """Losses of two stages, each of classes and of boxes (Ren et al. 2015, equation 1).

    The first stage's is the mean over a sample of an image's anchors, half of them such as find an
    object, if there are so many; the second's is the mean over its proposals: in training those
    that the model sampled, in evaluation all. A box costs what its four numbers differ, squared
    where that is less than 1/9 (smooth L1), if it is to find an object. The loss of a batch is
    the mean over its images. What lies in a region marked as `crowd` and finds no object teaches
    nothing.

    Args:
      samples: anchors of an image that are learnt from.
      positive: intersection over union from which an anchor is to find an object.
      negative: that below which it is to find nothing; between the two it teaches nothing.
    """

    samples: int = 256
    positive: float = 0.7
    negative: float = 0.3

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        self._check_settings(
            ("classes", "limit", "samples"), ("threshold", "overlap", "positive", "negative")
        )
        if self.negative > self.positive:
            raise UserError(
                f"negative must be at most positive, {self.positive}, got {self.negative}"
            )

    def inputs(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The images, and how far each picture reaches: proposals end there."""
        return batch[self.input], box.to_fixed(jnp.asarray(batch["extent"]))

    def training_inputs(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """In training the objects too, from which the model samples its proposals."""
        boxes, labels, crowd = (jnp.asarray(batch[name]) for name in ("boxes", "labels", "crowd"))
        truth = box.to_fixed(boxes), (labels >= 0) & ~crowd, crowd
        return (*self.inputs(batch), truth)

    def training_metrics(
        self, outputs: Any, batch: Mapping[str, Any]
    ) -> dict[str, Float[Array, " batch"]]:
        """The loss of each image, and its parts: of classes and boxes, in each stage."""
        self._check_outputs(outputs)
        anchors, logits, deltas, _ = joined(outputs.levels)
        chance = outputs.chance
        if chance is None:  # in evaluation the same anchors each time, and of each image
            chance = jnp.broadcast_to(
                jax.random.uniform(jax.random.key(0), (1, len(anchors))),
                (len(deltas), len(anchors)),
            )
        boxes, labels, crowd = (jnp.asarray(batch[name]) for name in ("boxes", "labels", "crowd"))
        truth = boxes, labels, crowd
        first = functools.partial(self._first_stage, anchors)
        objectness_loss, proposal_loss = jax.vmap(first)(logits[..., 0], deltas, chance, truth)
        class_loss, box_loss = jax.vmap(self._second_stage)(
            outputs.proposals, outputs.real, outputs.logits, outputs.deltas, truth
        )
        return {
            "loss": objectness_loss + proposal_loss + class_loss + box_loss,
            "objectness_loss": objectness_loss,
            "proposal_loss": proposal_loss,
            "class_loss": class_loss,
            "box_loss": box_loss,
        }

    def taught(
        self, outputs: Any, boxes: Float[Array, "objects corners=4"]
    ) -> Bool[Array, " objects"]:
        """Those that an anchor of the first stage overlaps by at least `negative`."""
        return overlapped(outputs.levels, boxes, self.negative)

    def candidates_of(self, outputs: Any) -> tuple[Array, Array, Array]:
        """Each proposal as each class that it scores above the threshold in."""
        self._check_outputs(outputs)
        scores = jax.nn.softmax(outputs.logits)[..., 1:]
        found = (scores > self.threshold) & outputs.real[..., None]
        region = outputs.proposals[:, :, None]
        boxes = box.decode_offsets(outputs.deltas[:, :, 1:] / _WEIGHTS, region)
        labels = jnp.broadcast_to(jnp.arange(self.classes), scores.shape)
        n = len(scores)
        return (
            jnp.where(found, scores, -jnp.inf).reshape(n, -1),
            boxes.reshape(n, -1, 4),
            labels.reshape(n, -1),
        )

    def _first_stage(
        self,
        anchors: Float[Array, "anchors 4"],
        logits: Float[Array, " anchors"],
        deltas: Float[Array, "anchors 4"],
        chance: Float[Array, " anchors"],
        truth: Truth,
    ) -> tuple[Array, Array]:
        """The losses of the anchors of an image: of something or nothing, and of boxes."""
        boxes, labels, crowd = truth
        found, positive, ignored = box.match(
            anchors, boxes, (labels >= 0) & ~crowd, self.positive, self.negative, rescue=True
        )
        ignored |= _crowded(anchors, boxes, crowd)
        index, real = box.sample(chance, positive, ~positive & ~ignored, self.samples, 0.5)
        finds, anchors = real & positive[index], anchors[index]
        wanted = jnp.where(finds[:, None], boxes[found[index]], anchors)
        apart = smooth_l1(deltas[index] - box.encode_offsets(wanted, anchors))
        classes = cross_entropy(logits[index], finds.astype(logits.dtype))
        return _mean(classes, real, real), _mean(apart, finds, real)

    def _second_stage(
        self,
        proposals: Float[Array, "regions 4"],
        real: Bool[Array, " regions"],
        logits: Float[Array, "regions outputs"],
        deltas: Float[Array, "regions outputs 4"],
        truth: Truth,
    ) -> tuple[Array, Array]:
        """The losses of the proposals of an image: of their classes, and of their boxes."""
        boxes, labels, crowd = truth
        found, positive, _ = box.match(proposals, boxes, (labels >= 0) & ~crowd, box.FOREGROUND)
        finds = real & positive
        real &= positive | ~_crowded(proposals, boxes, crowd)
        label = jnp.where(finds, labels[found] + 1, 0)
        # What is not there has no sides to divide by, and 0 times infinity is not 0.
        proposals = jnp.where(finds[:, None], proposals, jnp.float32([0, 0, 1, 1]))
        wanted = jnp.where(finds[:, None], boxes[found], proposals)
        code = jnp.take_along_axis(deltas, label[:, None, None], axis=1)[:, 0]
        apart = smooth_l1(code - box.encode_offsets(wanted, proposals) * _WEIGHTS)
        likely = jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=1)[:, 0]
        return _mean(-likely, real, real), _mean(apart, finds, real)

    def _check_outputs(self, outputs: Any) -> None:
        if not isinstance(outputs, Regions):
            raise UserError("config.task: faster_rcnn needs config.model.name 'faster_rcnn'")
        classes = outputs.logits.shape[-1] - 1
        if classes != self.classes:
            raise UserError(
                f"config.model.classes: the model has {classes}, but config.task has "
                f"{self.classes}; leave both out, and the data decides"
            )


def smooth_l1(difference: Float[Array, "*boxes code"]) -> Float[Array, "*boxes"]:
    """The sum of |d|, and near 0 of a parabola in its place (Girshick 2015, equation 3).

    The two meet where |d| is 1/9, as in the code of Faster R-CNN.
    """
    size = jnp.abs(difference)
    each = jnp.where(size < _BETA, size**2 / (2 * _BETA), size - _BETA / 2)
    return jnp.sum(each, axis=-1)


def _crowded(
    boxes: Float[Array, "n 4"], others: Float[Array, "objects 4"], crowd: Bool[Array, " objects"]
) -> Bool[Array, " n"]:
    """Whether the centre of a box lies in a region marked as a crowd."""
    return jnp.any(box.centred_in(boxes, others) & crowd, axis=1)


def _mean(
    values: Float[Array, " n"], counts: Bool[Array, " n"], real: Bool[Array, " n"]
) -> Float[Array, ""]:
    """The sum of the values that count, over how many are real, or 1."""
    return jnp.sum(jnp.where(counts, values, 0)) / jnp.maximum(1, jnp.sum(real))
