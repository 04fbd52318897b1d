"""Dense detectors: a residual network, a pyramid of its features, and a head at every place.

Modules have torchvision's names, so that its weights fit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.boxes import Level
from jaxdl.errors import UserError
from jaxdl.models.layers import Conv, Module, check_images
from jaxdl.models.resnet import Trunk

Images = Float[Array, "batch height width channels"]
Features = Float[Array, "batch rows columns channels"]
Outputs = Float[Array, "batch rows columns features"]
Maps = tuple[Float[Array, "batch _ _ _"], ...]  # features of several sizes, the finest first
HeadOutput = tuple[Array, Array, Array | None]  # logits, deltas and quality of a `Level`
Cell = Float[np.ndarray, "shapes corners=4"]

_DEEPEST = 5  # the level of the trunk's last stage
_PRIOR = 0.01  # probability of each class at each place, at the start
# Deviation 0.01 with 256 channels, as in both papers, and outputs of the same size with fewer.
_start = nn.initializers.variance_scaling(0.01**2 * 9 * 256, "fan_in", "normal")


class Detector(Module):
    """A one-stage detector: FCOS (Tian et al. 2019) or RetinaNet (Lin et al. 2017, "Focal loss").

    A trunk, a pyramid of features of several sizes that all share the coarsest one's meaning, and a
    head that predicts a class and a box at each place of each. The places of level i
    are 2^i pixels apart. With 91 classes 32,269,600 parameters, or 34,014,999 with RetinaNet's
    head, beside 53,120 of the trunk's batch norm, which torchvision freezes and does not count.

    Attributes:
      classes: how many, without one for the background.
      head: FCOS's has an anchor a place, RetinaNet's nine.
      depth: layers of the trunk, a `ResNet`.
      width: outputs of the trunk's first convolution.
      pool: if False, the trunk has no max pooling: all levels are twice as fine, at
        four times the work.
      levels: the first and the last of the pyramid; 6 and 7 are made of level 5.
      channels: of the pyramid, and of the heads.
      convolutions: of a head, before its last.
      remat: as in `ResNet`, of the trunk.
    """

    classes: int
    head: Literal["fcos", "retinanet"] = "fcos"
    depth: Literal[18, 34, 50, 101, 152] = 50
    width: int = 64
    pool: bool = True
    levels: tuple[int, int] = (3, 7)
    channels: int = 256
    convolutions: int = 4
    remat: bool = False

    @nn.compact
    def __call__(self, x: Images, *others: Any, train: bool = False) -> tuple[Level, ...]:
        """(batch, height, width, channels) -> the outputs of each level, first to last.

        Raises:
          UserError: the inputs are not images alone, or the levels are not possible.
        """
        check_images(x)
        if others:
            raise UserError(
                "config.model.name: a 'detector' has one stage and takes only images; set it to "
                "'faster_rcnn', or set config.task.name to config.model.head"
            )
        first, last = self.levels
        if not 2 <= first <= _DEEPEST or not first <= last <= 7:
            raise UserError(
                f"config.model.levels: the first must be 2 to 5 and the last at most 7, got "
                f"{self.levels}; (3, 7) is usual"
            )
        stages, more = min(last, _DEEPEST) - 1, max(0, last - _DEEPEST)
        head = _HEADS[self.head]
        features = Backbone(
            functools.partial(Trunk, self.depth, self.width, self.pool, stages, self.remat),
            functools.partial(FeaturePyramid, self.channels, more),
            skipped=first - 2,
            name="backbone",
        )(x, train)
        predict = head(self.classes, self.convolutions, name="head")
        finest = 2**first if self.pool else 2 ** (first - 1)
        return tuple(
            Level(*predict(p), anchors(x.shape[1:3], p.shape[1:3], head.cell(finest << i)))
            for i, p in enumerate(features)
        )


class Backbone(nn.Module):
    """A pyramid on a trunk.

    Attributes:
      body: makes the trunk.
      fpn: makes the pyramid.
      skipped: how many of the trunk's stages are too fine for it.
    """

    body: Callable[..., nn.Module]
    fpn: Callable[..., nn.Module]
    skipped: int

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Maps:
        """(batch, height, width, channels) -> (batch, rows, columns, channels) of each level."""
        stages = self.body(name="body")(x, train)
        return self.fpn(name="fpn")(stages[self.skipped :])


class FeaturePyramid(nn.Module):
    """Features of several sizes, to each of which the coarser ones are added.

    Lin et al. 2017, "Feature pyramid networks", section 3; levels beyond the trunk are made of the
    pyramid's last (Tian et al. 2019, section 3.2), not of the trunk's.

    Attributes:
      channels: of all levels.
      more: levels beyond those of the trunk, 0 to 2.
    """

    channels: int
    more: int = 0

    @nn.compact
    def __call__(self, stages: Maps) -> Maps:
        """(batch, rows, columns, features) of each stage -> (…, channels) of each level."""
        sums = [*Convs(self.channels, 1, name="inner_blocks")(stages)]
        for i in reversed(range(len(sums) - 1)):
            sums[i] += _doubled(sums[i + 1], sums[i])
        levels = Convs(self.channels, 3, name="layer_blocks")(tuple(sums))
        if not self.more:
            return levels
        return (*levels, *LastLevelP6P7(self.channels, self.more, name="extra_blocks")(levels[-1]))


class Convs(nn.Module):
    """A convolution of each of several features, '0', '1', …"""

    features: int
    kernel: int

    @nn.compact
    def __call__(self, xs: Maps) -> Maps:
        """(batch, rows, columns, channels) of each -> (batch, rows, columns, features)."""
        make = functools.partial(_conv, self.features, self.kernel)
        return tuple(Sequential(make, name=str(i))(x) for i, x in enumerate(xs))


class Sequential(nn.Module):
    """A layer under the name '0', as in torchvision's sequences of a layer and a norm."""

    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Features) -> Outputs:
        """What the layer gives."""
        return self.layer(name="0")(x)


class LastLevelP6P7(nn.Module):
    """Levels 'p6' and 'p7', each of half the size of the one below.

    Attributes:
      features: of each.
      count: 1 or 2.
    """

    features: int
    count: int

    @nn.compact
    def __call__(self, x: Features) -> Maps:
        """(batch, rows, columns, channels) -> (batch, rows / 2, columns / 2, features), …"""
        levels = [_conv(self.features, 3, 2, name="p6")(x)]
        if self.count == 2:
            levels.append(_conv(self.features, 3, 2, name="p7")(nn.relu(levels[0])))
        return tuple(levels)


def _conv(features: int, kernel: int, stride: int = 1, *, name: str) -> nn.Module:
    """A convolution of the pyramid, initialised as torchvision's."""
    return Conv(
        features,
        (kernel, kernel),
        stride,
        padding=kernel // 2,
        kernel_init=nn.initializers.lecun_uniform(),
        name=name,
    )


def _doubled(x: Array, like: Array) -> Array:
    """Each place repeated as 2x2, cropped to the rows and columns of `like`."""
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return x[:, : like.shape[1], : like.shape[2]]


# ---- Heads


class FCOSHead(nn.Module):
    """The head of FCOS (section 3.2; group norm as in its "improvements"): one anchor a place.

    Distances are never negative, by a ReLU, as torchvision's; the paper has an exponential.

    Attributes:
      classes: how many.
      convolutions: before the last.
    """

    classes: int
    convolutions: int = 4

    @nn.compact
    def __call__(self, x: Features) -> HeadOutput:
        """(batch, rows, columns, channels) -> (batch, places, …), row by row."""
        tower = functools.partial(Branch, convolutions=self.convolutions, norm=True)
        (logits,) = tower((("cls_logits", self.classes),), name="classification_head")(x)
        last = (("bbox_reg", 4), ("bbox_ctrness", 1))
        deltas, quality = tower(last, name="regression_head")(x)
        n = len(x)
        return (
            logits.reshape(n, -1, self.classes),
            nn.relu(deltas).reshape(n, -1, 4),
            quality.reshape(n, -1),
        )

    @staticmethod
    def cell(stride: int) -> Cell:
        """A square around the place that reaches half-way to the next."""
        return cell_boxes([stride], [1.0])


class RetinaNetHead(nn.Module):
    """The head of RetinaNet ("Focal loss", section 4): anchors of three sizes and three shapes.

    Attributes:
      classes: how many.
      convolutions: before the last.
    """

    classes: int
    convolutions: int = 4

    @nn.compact
    def __call__(self, x: Features) -> HeadOutput:
        """(batch, rows, columns, channels) -> (batch, 9 places, …), row by row."""
        tower = functools.partial(Branch, convolutions=self.convolutions, norm=False)
        (logits,) = tower((("cls_logits", 9 * self.classes),), name="classification_head")(x)
        (deltas,) = tower((("bbox_reg", 9 * 4),), name="regression_head")(x)
        n = len(x)
        return logits.reshape(n, -1, self.classes), deltas.reshape(n, -1, 4), None

    @staticmethod
    def cell(stride: int) -> Cell:
        """Areas of 4, 5 and 6.3 strides squared; as high as wide, twice and half."""
        return cell_boxes([int(4 * stride * 2 ** (i / 3)) for i in range(3)], [0.5, 1.0, 2.0])


_HEADS: dict[str, type[FCOSHead] | type[RetinaNetHead]] = {
    "fcos": FCOSHead,
    "retinanet": RetinaNetHead,
}


class Branch(nn.Module):
    """Convolutions with ReLUs, and then several last ones side by side.

    Attributes:
      last: name and outputs of each of those.
      convolutions: how many come before.
      norm: with group norm.
    """

    last: tuple[tuple[str, int], ...]
    convolutions: int
    norm: bool

    @nn.compact
    def __call__(self, x: Features) -> tuple[Array, ...]:
        """(batch, rows, columns, channels) -> (batch, rows, columns, outputs) of each last one."""
        x = Tower(self.convolutions, self.norm, name="conv")(x)
        return tuple(_head_conv(outputs, name=name)(x) for name, outputs in self.last)


class Tower(nn.Module):
    """3x3 convolutions with ReLUs, and group norm between the two if asked, that keep the shape."""

    convolutions: int
    norm: bool

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """(batch, rows, columns, channels) -> the same shape."""
        channels = x.shape[-1]
        groups = math.gcd(32, max(1, channels // 8))  # of 8 channels, and at most 32
        for i in range(self.convolutions):
            if self.norm:  # a place for each of the three layers
                x = _head_conv(channels, name=f"{3 * i}")(x)
                x = nn.GroupNorm(groups, epsilon=1e-5, name=f"{3 * i + 1}")(x)
            else:
                x = Sequential(functools.partial(_head_conv, channels), name=f"{i}")(x)
            x = nn.relu(x)
        return x


def _head_conv(features: int, *, name: str) -> nn.Module:
    prior = -math.log((1 - _PRIOR) / _PRIOR) if name == "cls_logits" else 0.0
    bias = nn.initializers.constant(prior)
    return Conv(features, (3, 3), padding=1, kernel_init=_start, bias_init=bias, name=name)


# ---- Anchors


def anchors(
    image: tuple[int, ...], places: tuple[int, ...], cell: Cell
) -> Float[Array, "anchors corners=4"]:
    """The cell at each place, row by row, in pixels; the first place is at (0, 0).

    Args:
      image: (height, width) of the images, in pixels.
      places: (rows, columns) of a level.
      cell: boxes around (0, 0).
    """
    down, across = (size // count for size, count in zip(image, places, strict=True))
    y, x = np.mgrid[: places[0], : places[1]]
    shift = np.stack([x * across, y * down] * 2, -1)
    return jnp.asarray((shift[:, :, None] + cell).reshape(-1, 4), jnp.float32)


def cell_boxes(sizes: Sequence[int], ratios: Sequence[float]) -> Cell:
    """Boxes around (0, 0) with sides of whole pixels: of each ratio of height to width, each size.

    A size is the square root of the area.
    """
    root = np.sqrt(np.asarray(ratios, np.float32))[:, None]
    wide, high = ((r * np.asarray(sizes, np.float32)).reshape(-1) for r in (1 / root, root))
    return np.round(np.stack([-wide, -high, wide, high], -1) / 2)
