"""Detection in two stages: regions that may hold an object, and a second look at each.

Modules have torchvision's names, so that its weights fit.
"""

from __future__ import annotations

import functools
import math
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxdl import boxes as box
from jaxdl.boxes import Level, Regions
from jaxdl.errors import UserError
from jaxdl.kernels import channels_first, roi_align
from jaxdl.models.detector import (
    Backbone,
    FeaturePyramid,
    Sequential,
    anchors,
    cell_boxes,
)
from jaxdl.models.layers import Conv, Dense, Module, check_images, draw_for_batch
from jaxdl.models.resnet import Trunk

Images = Float[Array, "batch height width channels"]
Features = Float[Array, "batch rows columns channels"]
Maps = tuple[Float[Array, "batch _ _ _"], ...]

_RATIOS = (0.5, 1.0, 2.0)  # of an anchor's height to its width
_OVERLAP = 0.7  # of two proposals, above which the worse one is dropped
_THINNEST = 1e-3  # side of a proposal, in pixels
_SHARE = 0.25  # of the proposals that are learnt from, those that may be of objects
_SIZE = 7  # bins of a side of a region
_start = nn.initializers.normal(0.01)


class Truth(NamedTuple):
    """The objects of each image, in fixed point (`jaxdl.boxes.to_fixed`).

    Attributes:
      boxes: their corners.
      real: which objects there are.
      crowd: which boxes are of crowds, in which nothing is learnt.
    """

    boxes: Int[Array, "batch objects corners=4"]
    real: Bool[Array, "batch objects"]
    crowd: Bool[Array, "batch objects"]


class FasterRCNN(Module):
    """Faster R-CNN (Ren et al. 2015) on a pyramid of features (Lin et al. 2017, section 4).

    A region proposal network says at each place of a pyramid where an object may be. The features
    under each proposal, 7x7 of the level that is made for its size, go through two dense layers to
    a class and, for each class, a box. Shapes are fixed: an image has as many proposals as there
    is room for, the last of which may not be real. With 90 classes 41,755,286 parameters, beside
    53,120 of the trunk's batch norm, which torchvision freezes and does not count.

    In training it is given the truth, adds it to the proposals, and looks again at a sample of
    them alone, of which a quarter may be of objects.

    Attributes:
      classes: how many, without the background, which is class 0 of what the second stage says.
      depth: layers of the trunk, a `ResNet`.
      width: outputs of the trunk's first convolution.
      pool: if False, the trunk has no max pooling: all levels are twice as fine, at
        four times the work.
      levels: the first and the last of the pyramid; proposals are sought at one more, of twice the
        last one's stride.
      channels: of the pyramid.
      anchor: side of a square anchor, in strides of its level; at each place are two more of the
        same area, half and twice as high as wide.
      hidden: units of the second stage's dense layers.
      candidates: the best of each level that may become proposals, in training and in use.
      proposals: of an image, in training and in use.
      samples: how many of them are learnt from.
      remat: as in `ResNet`, of the trunk.
    """

    classes: int
    depth: Literal[18, 34, 50, 101, 152] = 50
    width: int = 64
    pool: bool = True
    levels: tuple[int, int] = (2, 5)
    channels: int = 256
    anchor: float = 8.0
    hidden: int = 1024
    candidates: tuple[int, int] = (2000, 1000)
    proposals: tuple[int, int] = (2000, 1000)
    samples: int = 512
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: Images,
        extent: Int[Array, "batch 2"] | None = None,
        truth: tuple[Array, Array, Array] | None = None,
        *,
        train: bool = False,
    ) -> Regions:
        """Images, the (height, width) of the picture on each in fixed point -> both stages.

        Args:
          x: (batch, height, width, channels).
          extent: (batch, 2), by `jaxdl.boxes.to_fixed`.
          truth: boxes, which are real, and which of crowds; then proposals are sampled.
          train: whether batch norm takes the statistics of the batch.

        Raises:
          UserError: the inputs are not images, the extent is missing, or a setting is not possible.
        """
        check_images(x)
        first, last = self.levels
        finest = 2**first if self.pool else 2 ** (first - 1)
        pictures = self._checked(extent, finest)
        pyramid = Backbone(
            functools.partial(Trunk, self.depth, self.width, self.pool, last - 1, self.remat),
            functools.partial(FeaturePyramid, self.channels),
            skipped=first - 2,
            name="backbone",
        )(x, train)
        levels = RegionProposals(self.anchor, finest, name="rpn")(
            (*pyramid, pyramid[-1][:, ::2, ::2]), x.shape[1:3]
        )
        use = truth is None
        count = self.candidates[use], self.proposals[use]
        proposals, real = propose(lax.stop_gradient(levels), pictures, *count)
        chance = None
        if truth is not None:
            keys, objects = jax.random.split(self._key()), Truth(*truth)
            counts = (
                sum(len(level.anchors) for level in levels),
                proposals.shape[1] + objects.boxes.shape[1],
            )
            chance, chance_2 = (
                draw_for_batch(functools.partial(jax.random.uniform, key), (len(x), count))
                for key, count in zip(keys, counts, strict=True)
            )
            choose = functools.partial(choose_proposals, count=self.samples)
            proposals, real = jax.vmap(choose)(proposals, real, objects, chance_2)
        inside = jax.vmap(lambda f, boxes: roi_align(f, boxes, finest, _SIZE))(pyramid, proposals)
        logits, deltas = RegionHead(self.classes, self.hidden, name="roi_heads")(inside)
        return Regions(levels, chance, proposals, real, logits, deltas)

    def _key(self) -> Array:
        """What samples are drawn by; one that is fixed where no key is given."""
        return self.make_rng("dropout") if self.has_rng("dropout") else jax.random.key(0)

    def _checked(self, extent: Array | None, finest: int) -> Float[Array, "batch 2"]:
        """The extent in pixels, if that and all settings are possible."""
        first, last = self.levels
        if not 2 <= first <= last <= 5:
            raise UserError(
                "config.model.levels: the first and the last must be 2 to 5, got "
                f"{self.levels}; (2, 5) is usual"
            )
        for name in ("candidates", "proposals"):
            if len(getattr(self, name)) != 2 or min(getattr(self, name)) < 1:
                raise UserError(
                    f"config.model.{name}: give two numbers of at least 1, in training and in "
                    f"use, got {getattr(self, name)}"
                )
        for name, least in (("classes", 1), ("channels", 1), ("hidden", 1), ("samples", 4)):
            if getattr(self, name) < least:
                raise UserError(
                    f"config.model.{name}: must be at least {least}, got {getattr(self, name)}"
                )
        if not 2 <= self.anchor * finest < math.inf:  # less is rounded to no side at all
            raise UserError(
                f"config.model.anchor: must be at least {2 / finest} strides, so that an anchor is "
                f"2 pixels wide, got {self.anchor}"
            )
        if extent is None:
            raise UserError(
                "config.model: faster_rcnn needs the extent of each image; set config.task.name to "
                "'faster_rcnn', or config.model.name to 'detector'"
            )
        return box.from_fixed(extent)


class RegionProposals(nn.Module):
    """The region proposal network (Ren et al. 2015, section 3.1): is something here, and where?

    Attributes:
      anchor: side of a square one, in strides.
      finest: stride of the first level.
    """

    anchor: float
    finest: int

    @nn.compact
    def __call__(self, pyramid: Maps, image: tuple[int, ...]) -> tuple[Level, ...]:
        """(batch, rows, columns, channels) of each level -> a `Level` of one class of each."""
        head = RegionProposalHead(len(_RATIOS), name="head")
        cells = [
            cell_boxes([int(self.anchor * (self.finest << i))], _RATIOS)
            for i in range(len(pyramid))
        ]
        return tuple(
            Level(*head(p), None, anchors(image, p.shape[1:3], cell))
            for p, cell in zip(pyramid, cells, strict=True)
        )


class RegionProposalHead(nn.Module):
    """A 3x3 convolution, and two of 1x1, shared by all levels.

    Attributes:
      anchors: of a place.
    """

    anchors: int

    @nn.compact
    def __call__(self, x: Features) -> tuple[Array, Array]:
        """(batch, rows, columns, channels) -> (batch, anchors, 1) and (batch, anchors, 4)."""
        conv = functools.partial(Conv, kernel_init=_start)
        x = nn.relu(ConvStack(x.shape[-1], name="conv")(x))
        logits = conv(self.anchors, (1, 1), name="cls_logits")(x)
        deltas = conv(4 * self.anchors, (1, 1), name="bbox_pred")(x)
        return logits.reshape(len(x), -1, 1), deltas.reshape(len(x), -1, 4)


class ConvStack(nn.Module):
    """One 3x3 convolution, under the names that torchvision gives to the first of several."""

    features: int

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """(batch, rows, columns, channels) -> (batch, rows, columns, features)."""
        make = functools.partial(Conv, self.features, (3, 3), padding=1, kernel_init=_start)
        return Sequential(make, name="0")(x)


class RegionHead(nn.Module):
    """The second stage: what is in a region, and where exactly.

    Attributes:
      classes: without the background.
      hidden: units of each of the two dense layers.
    """

    classes: int
    hidden: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch regions rows columns channels"]
    ) -> tuple[Float[Array, "batch regions outputs"], Float[Array, "batch regions outputs 4"]]:
        """Features of regions -> a logit of the background and of each class, and a box of each."""
        y = channels_first(x.reshape(-1, *x.shape[2:]))
        y = TwoMLPHead(self.hidden, name="box_head")(y)
        logits, deltas = BoxPredictor(self.classes + 1, name="box_predictor")(y)
        return logits.reshape(*x.shape[:2], -1), deltas.reshape(*x.shape[:2], -1, 4)


class TwoMLPHead(nn.Module):
    """Two dense layers with ReLUs."""

    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "n features"]) -> Float[Array, "n {self.hidden}"]:
        """(n, features) -> (n, hidden)."""
        for name in ("fc6", "fc7"):
            init = nn.initializers.lecun_uniform()
            x = nn.relu(Dense(self.hidden, kernel_init=init, name=name)(x))
        return x


class BoxPredictor(nn.Module):
    """Dense layers for the class, and for a box of each (Ren et al. 2015, section 3.3: starts)."""

    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "n features"]) -> tuple[Array, Array]:
        """(n, features) -> (n, outputs) and (n, 4 outputs)."""
        small = nn.initializers.normal(0.001)
        logits = Dense(self.outputs, kernel_init=_start, name="cls_score")(x)
        return logits, Dense(4 * self.outputs, kernel_init=small, name="bbox_pred")(x)


# ---- Proposals


def propose(
    levels: tuple[Level, ...], extent: Float[Array, "batch 2"], candidates: int, proposals: int
) -> tuple[Float[Array, "batch proposals 4"], Bool[Array, "batch proposals"]]:
    """The likeliest boxes of each image that do not repeat each other, best first.

    Of each level the best candidates, cut off at the edge of the picture, without those that
    overlap a better one of their level by more than 0.7.

    Returns:
      Boxes in pixels, all 0 where there is none, and which of them are real.
    """
    # Of equal scores the first counts: logits are less often equal than probabilities.
    tops = [lax.top_k(each.logits[..., 0], min(candidates, len(each.anchors))) for each in levels]
    kind = jnp.promote_types(jnp.float32, tops[0][0].dtype)  # bfloat16 has no pixel 1001
    score = jnp.concatenate([score for score, _ in tops], axis=1).astype(kind)
    found = [
        box.decode_offsets(
            jnp.take_along_axis(each.deltas, index[..., None], axis=1).astype(kind),
            each.anchors[index],
        )
        for each, (_, index) in zip(levels, tops, strict=True)
    ]
    boxes = box.clip(jnp.concatenate(found, axis=1), extent)
    thin = jnp.min(boxes[..., 2:] - boxes[..., :2], axis=-1) < _THINNEST
    score = jnp.where(thin, -jnp.inf, score)
    level = jnp.concatenate([jnp.full(s.shape[1], i) for i, (s, _) in enumerate(tops)])

    def one(boxes: Array, score: Array) -> tuple[Array, Array]:
        kept, real = box.nms(boxes, score, _OVERLAP, min(proposals, len(score)), level)
        return jnp.where(real[:, None], boxes[kept], 0), real

    return jax.vmap(one)(boxes, score)


def choose_proposals(
    proposals: Float[Array, "proposals 4"],
    real: Bool[Array, " proposals"],
    truth: Truth,
    chance: Float[Array, " boxes"],
    count: int,
) -> tuple[Float[Array, "samples 4"], Bool[Array, " samples"]]:
    """A sample of the proposals of an image and of the true boxes, a quarter of it of objects.

    As Fast R-CNN samples (Girshick 2015, section 2.3).
    """
    truth = truth._replace(boxes=box.from_fixed(truth.boxes))
    boxes = jnp.concatenate([proposals, truth.boxes])
    real = jnp.concatenate([real, truth.real])
    found = box.match(boxes, truth.boxes, truth.real, box.FOREGROUND)
    crowded = jnp.any(box.centred_in(boxes, truth.boxes) & truth.crowd, axis=1)
    negative = real & ~found.positive & ~crowded
    index, taken = box.sample(chance, real & found.positive, negative, count, _SHARE)
    return jnp.where(taken[:, None], boxes[index], 0), taken
