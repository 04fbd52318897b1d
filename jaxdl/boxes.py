"""Boxes: their overlaps, their codes relative to anchors, and which of them to keep.

A box is its upper left and its lower right corner, (x₁, y₁, x₂, y₂), x to the right and y down, in
any units. Its sides are the differences, so if corners are the first and last pixel of a box, add
one to the last first. All functions are pure, and run inside `jit` and `vmap`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

Boxes = Float[Array, "*batch boxes corners=4"]
Others = Float[Array, "*batch others corners=4"]
Box = Float[Array, "*#boxes corners=4"]
Number = Float[Array, "*boxes"]

# A box is not shown if its intersection over union with a better one, of any class, is larger.
# Of 308 drawn objects 9 then have two boxes or more, of 0.6 by class all but 13 had.
SHOWN_OVERLAP = 0.4

# From this intersection over union on, the second of two stages should find an object.
FOREGROUND = 0.5

# Factors for the code of a box in the second stage, so that its standard deviation is about 1.
REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

_FIXED = 256  # of a pixel
_LEAST = 1e-12  # an area that is divided by: of a box a millionth wide
_GROWTH = math.log(1000 / 16)  # of a side relative to its anchor's, in R-CNN's code


class Level(NamedTuple):
    """A detector's outputs for the places of one level of its pyramid, row by row.

    Attributes:
      logits: of each class, independent of one another: there is no class for the background.
      deltas: a box relative to its anchor, in the code of the head: of FCOS as `decode_distances`
        takes it, of RetinaNet as `decode_offsets`.
      quality: logit of how good the box is, FCOS's centre-ness; None where the head gives none.
      anchors: boxes in pixels of the inputs, the same for each image.
    """

    logits: Float[Array, "batch anchors classes"]
    deltas: Float[Array, "batch anchors code=4"]
    quality: Float[Array, "batch anchors"] | None
    anchors: Float[Array, "anchors corners=4"]


class Located(NamedTuple):
    """A model's outputs for images with one object each.

    Attributes:
      logits: of each class; several heads of a classifier in training are (batch, heads, classes).
      boxes: of the object, one for each class or one for all, in fractions of the image's sides.
    """

    logits: Float[Array, "batch *heads classes"]
    boxes: Float[Array, "batch candidates corners=4"]


class Regions(NamedTuple):
    """The outputs of a two-stage detector: for its anchors, and for regions in the second stage.

    Attributes:
      levels: of the first stage, with one class, that of any object; code of `decode_offsets`.
      chance: in training a number in [0, 1) of each anchor of all levels, to sample them by.
      proposals: the regions, in pixels; all 0 where there is none. In training a sample.
      real: which of them there are.
      logits: of the background and then of each class.
      deltas: a box of each relative to the region, code of `decode_offsets` times
        `REGION_WEIGHTS`.
    """

    levels: tuple[Level, ...]
    chance: Float[Array, "batch anchors"] | None
    proposals: Float[Array, "batch regions corners=4"]
    real: Bool[Array, "batch regions"]
    logits: Float[Array, "batch regions outputs"]
    deltas: Float[Array, "batch regions outputs code=4"]


class Matches(NamedTuple):
    """The object that each anchor of an image should find.

    Attributes:
      found: (anchors,) the object, 0 if there is none.
      positive: (anchors,) whether there is one.
      ignored: (anchors,) whether the anchor has no part in the loss.
    """

    found: Int[Array, " anchors"]
    positive: Bool[Array, " anchors"]
    ignored: Bool[Array, " anchors"]


# ---- Measures


def area(boxes: Float[Array, "*boxes corners=4"]) -> Number:
    """Of each box; 0 where a side is negative."""
    left, top, right, bottom = _columns(boxes)
    return jnp.maximum(right - left, 0) * jnp.maximum(bottom - top, 0)


def centre(boxes: Float[Array, "*boxes corners=4"]) -> Float[Array, "*boxes 2"]:
    """The middle of each box, (x, y)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def box_iou(boxes: Boxes, others: Others) -> Float[Array, "*batch boxes others"]:
    """Intersection over union of each box with each other one; 0 where both are empty."""
    return paired_iou(boxes[..., :, None, :], others[..., None, :, :])


def paired_iou(boxes: Box, others: Box) -> Number:
    """Intersection over union of each box with its counterpart; 0 where both are empty."""
    shared, union = _overlap(boxes, others)
    return shared / jnp.maximum(union, _LEAST)


def giou(boxes: Box, others: Box) -> Number:
    """Generalized intersection over union of each box with its counterpart, in [-1, 1].

    IoU less the share of the smallest box around both that neither covers (Rezatofighi et al. 2019,
    algorithm 1): so boxes that are apart have a gradient too. It is finite for empty boxes.
    """
    shared, union = _overlap(boxes, others)
    least = jnp.minimum(boxes[..., :2], others[..., :2])
    greatest = jnp.maximum(boxes[..., 2:], others[..., 2:])
    hull = area(jnp.concatenate([least, greatest], -1))
    return shared / jnp.maximum(union, _LEAST) - (hull - union) / jnp.maximum(hull, _LEAST)


def _overlap(boxes: Array, others: Array) -> tuple[Array, Array]:
    """Areas of intersection and union."""
    (left, top, right, bottom), (left2, top2, right2, bottom2) = map(_columns, (boxes, others))
    wide = jnp.maximum(jnp.minimum(right, right2) - jnp.maximum(left, left2), 0)
    high = jnp.maximum(jnp.minimum(bottom, bottom2) - jnp.maximum(top, top2), 0)
    shared = wide * high
    return shared, area(boxes) + area(others) - shared


def clip(boxes: Boxes, extent: Num[Array, "*#batch 2"]) -> Boxes:
    """The part of each box that is inside an image of this (height, width)."""
    height, width = extent[..., None, 0], extent[..., None, 1]
    most = jnp.stack([width, height, width, height], -1)
    return jnp.clip(boxes, 0, most)


def centred_in(
    boxes: Float[Array, "boxes corners=4"], others: Float[Array, "others corners=4"]
) -> Bool[Array, "boxes others"]:
    """Whether the centre of each box lies in each other one."""
    place = centre(boxes)[:, None]
    return jnp.all((place > others[:, :2]) & (place < others[:, 2:]), axis=-1)


def _columns(boxes: Array) -> tuple[Array, ...]:
    """Apart, a CPU computes with them several times as fast."""
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _sides(boxes: Array) -> Array:
    return boxes[..., 2:] - boxes[..., :2]


# ---- Fixed-point coordinates


def to_fixed(x: Num[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Coordinates in 256ths of a pixel, as integers: bfloat16 would round 1001 to 1000."""
    return jnp.round(jnp.asarray(x) * _FIXED).astype(jnp.int32)


def from_fixed(x: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pixels, float32, of what `to_fixed` gives."""
    return x.astype(jnp.float32) / _FIXED


# ---- Codes relative to anchors


def encode_distances(boxes: Box, anchors: Box) -> Box:
    """From the centre of its anchor to the left, top, right and bottom side of each box.

    In sides of the anchor, which are positive (Tian et al. 2019, equations 1 and 4). Of a centre
    outside the box a distance is negative.
    """
    at, units = centre(anchors), _sides(anchors)
    return jnp.concatenate([(at - boxes[..., :2]) / units, (boxes[..., 2:] - at) / units], -1)


def decode_distances(code: Box, anchors: Box) -> Box:
    """The boxes of which `encode_distances` gives this code."""
    at, units = centre(anchors), _sides(anchors)
    return jnp.concatenate([at - code[..., :2] * units, at + code[..., 2:] * units], -1)


def encode_offsets(boxes: Box, anchors: Box) -> Box:
    """Offset of the centre in sides of the anchor, and logarithm of the ratio of sides.

    (dx, dy, dw, dh) of R-CNN (Girshick et al. 2014, appendix C), for boxes and anchors whose sides
    are positive.
    """
    units = _sides(anchors)
    offset = (centre(boxes) - centre(anchors)) / units
    return jnp.concatenate([offset, jnp.log(_sides(boxes) / units)], -1)


def decode_offsets(code: Box, anchors: Box) -> Box:
    """The boxes of which `encode_offsets` gives this code; 62.5 times as wide at most."""
    units = _sides(anchors)
    at = centre(anchors) + code[..., :2] * units
    half = jnp.exp(jnp.minimum(code[..., 2:], _GROWTH)) * units / 2
    return jnp.concatenate([at - half, at + half], -1)


# ---- Matching and sampling


def match(
    anchors: Float[Array, "anchors corners=4"],
    boxes: Float[Array, "objects corners=4"],
    real: Bool[Array, " objects"],
    positive: float,
    negative: float | None = None,
    rescue: bool = False,
) -> Matches:
    """The real object that each anchor overlaps most (Ren et al. 2015, section 3.1.2).

    Args:
      anchors: boxes that are to find objects.
      boxes: of the objects.
      real: which objects there are.
      positive: intersection over union from which an anchor is to find its object.
      negative: that below which it is to find nothing, between the two it is ignored; by default
        `positive`.
      rescue: the best anchors of an object are to find something too, however small the overlap.
    """
    # XLA may compute a value twice, rounded differently; without the barrier no anchor might equal
    # the maximum below.
    shared = lax.optimization_barrier(jnp.where(real, box_iou(anchors, boxes), -1.0))
    found, best = jnp.argmax(shared, axis=1), jnp.max(shared, axis=1)
    finds = best >= positive
    if rescue:
        rescued = (shared == jnp.max(shared, axis=0)) & (shared > 0)
        finds |= jnp.any(rescued, axis=1)
    return Matches(found, finds, ~finds & (best >= (positive if negative is None else negative)))


def sample(
    chance: Float[Array, " boxes"],
    positive: Bool[Array, " boxes"],
    negative: Bool[Array, " boxes"],
    count: int,
    share: float,
) -> tuple[Int[Array, " samples"], Bool[Array, " samples"]]:
    """Some positive and some negative boxes: those of the highest `chance`.

    Args:
      chance: uniform in [0, 1), for a fair sample.
      positive: which boxes are.
      negative: which boxes are; none may be both.
      count: how many are taken, or all if there are fewer.
      share: of these, how much may be positive; negative ones take the place of what is missing.

    Returns:
      Indices, and which of them are real. Positive ones come first.
    """
    parts, left = list[tuple[Array, Array]](), jnp.int32(count)
    for which, most in ((positive, int(count * share)), (negative, count)):
        _, index = lax.top_k(jnp.where(which, chance, -1.0), min(most, len(chance)))
        taken = jnp.minimum(jnp.sum(which), jnp.minimum(left, len(index)))
        parts.append((index, jnp.arange(len(index)) < taken))
        left -= taken
    index, real = (jnp.concatenate(part) for part in zip(*parts, strict=True))
    order = jnp.argsort(~real, stable=True)[: min(count, len(chance))]
    return index[order], real[order]


# ---- Non-maximum suppression


def nms(
    boxes: Float[Array, "boxes corners=4"],
    scores: Float[Array, " boxes"],
    iou_threshold: float | Float[Array, ""],
    limit: int,
    labels: Int[Array, " boxes"] | None = None,
) -> tuple[Int[Array, "{limit}"], Bool[Array, "{limit}"]]:
    """Non-maximum suppression: the best boxes that overlap no better one.

    Greedy: the box of the highest score is kept, those that overlap it are dropped, and so on.

    Args:
      boxes: one at least.
      scores: of each; a box of score -∞ is not there. Of equal scores the first box counts as
        better.
      iou_threshold: boxes overlap where their intersection over union is above it.
      limit: how many are kept at most.
      labels: class of each box; boxes of two classes do not overlap.

    Returns:
      Indices of what is kept, best first, and which of them are real: the others are 0.
    """

    order = jnp.arange(len(boxes), dtype=jnp.int32)

    def going(state: tuple[Array, Array, Array, Array]) -> Array:
        count, _, _, highest = state
        return (count < limit) & (highest > -jnp.inf)

    def keep(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        count, kept, left, highest = state
        # The first of the highest, as `argmax` gives it, for which a CPU takes ten times as long.
        best = jnp.min(jnp.where(left == highest, order, len(boxes)))
        gone = paired_iou(boxes[best], boxes) > iou_threshold
        if labels is not None:
            gone &= labels == labels[best]
        left = jnp.where(gone | (order == best), -jnp.inf, left)
        return count + 1, kept.at[count].set(best), left, jnp.max(left)

    scores = lax.optimization_barrier(scores)  # as in `match`: one of them equals the maximum
    start = jnp.int32(0), jnp.zeros(limit, jnp.int32), scores, jnp.max(scores)
    count, kept, _, _ = lax.while_loop(going, keep, start)
    return kept, jnp.arange(limit) < count
