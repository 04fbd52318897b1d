"""Residual networks: of ImageNet, of CIFAR-10, with pre-activation, and the plain nets without.

Modules have torchvision's names, so that its weights fit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.errors import UserError
from jaxdl.kernels import add_relu, max_pool
from jaxdl.models.layers import BatchNorm, Conv, Dense, Module, check_images

Shortcut = Literal["A", "B"]
Features = Float[Array, "batch height width channels"]
Fewer = Float[Array, "batch rows columns features"]

_BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_norm = functools.partial(BatchNorm, momentum=0.9)


def _conv(features: int, kernel: int, stride: int = 1, *, name: str) -> nn.Module:
    """A convolution before batch norm, started as He et al. 2015b, section 2.2, on outputs."""
    return Conv(
        features,
        (kernel, kernel),
        stride,
        padding=kernel // 2,
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        name=name,
    )


class Projection(nn.Module):
    """Shortcut B where the shape changes: a 1x1 convolution, and batch norm unless `bare`."""

    features: int
    stride: int
    bare: bool = False

    @nn.compact
    def __call__(self, x: Features, train: bool) -> Fewer:
        """(batch, height, width, channels) -> (batch, height / stride, …, features)."""
        x = _conv(self.features, 1, self.stride, name="0")(x)
        return x if self.bare else _norm(name="1")(x, train=train)


class Block(nn.Module):
    """A residual block, x -> relu(F(x) + x) (He et al. 2015, section 3).

    Attributes:
      width: outputs of the 3x3 convolutions.
      stride: of the first 3x3 convolution (in the bottleneck this is v1.5 of the network).
      bottleneck: F is 1x1, 3x3, 1x1 with 4 width outputs, instead of two 3x3.
      shortcut: where the shape changes, 'B' projects x and 'A' skips pixels and adds channels
        of zeros, without parameters. None: no shortcut anywhere, a block of a plain net.
      zero_init: F starts at 0, by the scale of its last batch norm (Goyal et al. 2017, 5.1).
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    shortcut: Shortcut | None = "B"
    zero_init: bool = False

    @nn.compact
    def __call__(self, x: Features, train: bool) -> Fewer:
        """(batch, height, width, channels) -> (batch, height / stride, …, features)."""
        convs = _convs(self.width, self.stride, self.bottleneck)
        y = x
        for i, conv in enumerate(convs, 1):
            last = i == len(convs)
            start = nn.initializers.constant(0.0 if last and self.zero_init else 1.0)
            relu = not last or self.shortcut is None
            y = conv(name=f"conv{i}")(y)
            y = _norm(relu=relu, scale_init=start, name=f"bn{i}")(y, train=train)
        if self.shortcut is None:
            return y
        return add_relu(y, _shortcut(x, y, self.stride, self.shortcut, False, train))


class PreactivationBlock(nn.Module):
    """A residual block, x -> F(x) + x, whose F normalises and applies ReLU first (He et al. 2016).

    Attributes:
      first: the block that follows the activation of the first layer, and needs none of its own.
      width, stride, bottleneck, shortcut: as in `Block`.
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    shortcut: Shortcut | None = "B"
    first: bool = False

    @nn.compact
    def __call__(self, x: Features, train: bool) -> Fewer:
        """(batch, height, width, channels) -> (batch, height / stride, …, features)."""
        convs = _convs(self.width, self.stride, self.bottleneck)
        y = x if self.first else _norm(relu=True, name="bn1")(x, train=train)
        # Where the shape changes, the two paths part after the activation (appendix, figure 4e).
        changes = self.stride != 1 or x.shape[-1] != self.width * (4 if self.bottleneck else 1)
        x = y if changes else x
        for i, conv in enumerate(convs, 1):
            if i > 1:
                y = _norm(relu=True, name=f"bn{i}")(y, train=train)
            y = conv(name=f"conv{i}")(y)
        if self.shortcut is None:
            return y
        return y + _shortcut(x, y, self.stride, self.shortcut, True, train)


def _convs(width: int, stride: int, bottleneck: bool) -> list[Callable[..., nn.Module]]:
    """The convolutions of a block, still to be named."""
    shapes = [(width, 3, stride), (width, 3, 1)]
    if bottleneck:
        shapes = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
    return [functools.partial(_conv, *shape) for shape in shapes]


def _shortcut(x: Array, y: Array, stride: int, kind: Shortcut, bare: bool, train: bool) -> Array:
    """What is added to y: x, made of its shape."""
    if x.shape == y.shape:
        return x
    if kind == "B":
        return Projection(y.shape[-1], stride, bare, name="downsample")(x, train)
    more = y.shape[-1] - x.shape[-1]
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, more)))


class Stage(nn.Module):
    """Blocks in a row, named '0', '1', …"""

    blocks: tuple[Callable[..., nn.Module], ...]

    @nn.compact
    def __call__(self, x: Features, train: bool) -> Fewer:
        """(batch, height, width, channels) -> (batch, rows, columns, features)."""
        for i, block in enumerate(self.blocks):
            x = block(name=str(i))(x, train)
        return x


def _stem(x: Array, train: bool, width: int = 64, *, pool: bool = True) -> Array:
    """The first convolution of ImageNet's networks, and max pooling if `pool`."""
    x = _conv(width, 7, 2, name="conv1")(x)
    x = _norm(relu=True, name="bn1")(x, train=train)
    return max_pool(x, 3, 2, padding=1) if pool else x


def _stages(
    x: Array,
    train: bool,
    width: int,
    counts: tuple[int, ...],
    *,
    preactivation: bool = False,
    remat: bool,
    **options: Any,
) -> tuple[Array, ...]:
    """The outputs of stages 'layer1', …; each has half the size and twice the width of the last.

    Args:
      x: the output of the first layer, after its activation.
      train: whether batch norm takes the statistics of the batch.
      width: of the first stage.
      counts: blocks of each stage.
      preactivation: of `PreactivationBlock` instead of `Block`.
      remat: compute each block again in the backward pass instead of keeping its inner values.
      options: of every block.
    """
    kind: Any = PreactivationBlock if preactivation else Block
    if remat:
        kind = nn.remat(kind, static_argnums=(2,))  # of __call__(self, x, train)
    outputs = []
    for i, count in enumerate(counts):
        strides = [1 if i == 0 else 2] + [1] * (count - 1)
        blocks = [functools.partial(kind, width << i, stride, **options) for stride in strides]
        if i == 0 and preactivation:
            blocks[0] = functools.partial(blocks[0], first=True)
        x = Stage(tuple(blocks), name=f"layer{i + 1}")(x, train)
        outputs.append(x)
    if preactivation:
        outputs[-1] = _norm(relu=True, name="bn")(x, train=train)
    return tuple(outputs)


def _classify(x: Array, outputs: int) -> Array:
    """The mean over the image, and a dense layer that starts as in Goyal et al. 2017, 5.1."""
    start = nn.initializers.normal(0.01)
    return Dense(outputs, kernel_init=start, name="fc")(jnp.mean(x, (1, 2)))


class ResNet(Module):
    """The residual network of ImageNet (He et al. 2015, table 1), on images of any size.

    Version 1.5, as torchvision's: where a bottleneck has a stride, it is the 3x3 convolution's
    (Goyal et al. 2017, section 5.1). 25,557,032 parameters with 50 layers.

    Attributes:
      outputs: number of classes.
      depth: layers with weights; from 50 on the blocks are bottlenecks.
      zero_init: every block starts as the identity (Goyal et al. 2017, section 5.1).
      preactivation: blocks normalise and apply ReLU before each convolution (He et al. 2016).
      remat: keep the inputs of blocks alone for the backward pass, and compute what is inside
        once more: less memory, a third more time.
    """

    outputs: int = 1000
    depth: Literal[18, 34, 50, 101, 152] = 50
    zero_init: bool = False
    preactivation: bool = False
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        Raises:
          UserError: the inputs are not images, or `zero_init` is asked of pre-activation blocks.
        """
        if self.zero_init and self.preactivation:
            raise UserError(
                "config.model.zero_init: pre-activation blocks end in a convolution, not in "
                "a norm whose scale could start at zero; leave one of the two out"
            )
        check_images(x)
        options = {} if self.preactivation else {"zero_init": self.zero_init}
        stages = _stages(
            _stem(x, train),
            train,
            64,
            _BLOCKS[self.depth],
            bottleneck=self.depth >= 50,
            preactivation=self.preactivation,
            remat=self.remat,
            **options,
        )
        return _classify(stages[-1], self.outputs)


class Trunk(Module):
    """The outputs of a `ResNet`'s stages, for networks that use features of several sizes.

    Attributes:
      depth, remat: as in `ResNet`.
      width: outputs of the first convolution, and of the 3x3 convolutions of the first stage.
      pool: if False, there is no max pooling: everything is twice as fine, at four times the work.
      stages: how many of the four.
    """

    depth: Literal[18, 34, 50, 101, 152] = 50
    width: int = 64
    pool: bool = True
    stages: int = 4
    remat: bool = False

    @nn.compact
    def __call__(self, x: Features, train: bool) -> tuple[Float[Array, "batch _ _ _"], ...]:
        """Of each stage (batch, height / stride, …, features), the finest first."""
        return _stages(
            _stem(x, train, self.width, pool=self.pool),
            train,
            self.width,
            _BLOCKS[self.depth][: self.stages],
            bottleneck=self.depth >= 50,
            remat=self.remat,
        )


class CifarResNet(Module):
    """The residual network of CIFAR-10 (He et al. 2015, section 4.2), on images of any size.

    6n + 2 layers: a convolution, three stages of n blocks, of 16, 32 and 64 channels, and a
    dense layer. 269,722 parameters with 20 layers and shortcut A.

    Attributes:
      outputs: number of classes.
      depth: layers with weights, 6n + 2: 20, 32, 44, 56, 110 in the paper.
      shortcut: where the shape changes, 'A' skips pixels and adds channels of zeros, without
        parameters; 'B' projects.
      residual: with shortcuts; without, the plain network of the paper.
      preactivation: blocks normalise and apply ReLU before each convolution (He et al. 2016).
      remat: keep the inputs of blocks alone for the backward pass, and compute what is inside
        once more: less memory, a third more time.
    """

    outputs: int = 10
    depth: int = 20
    shortcut: Shortcut = "A"
    residual: bool = True
    preactivation: bool = False
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        Raises:
          UserError: the depth is not 6n + 2, or the inputs are not images.
        """
        blocks, rest = divmod(self.depth - 2, 6)
        if blocks < 1 or rest:
            raise UserError(
                f"config.model.depth: must be 6n + 2, such as 20, 32, 44, 56 or 110, "
                f"got {self.depth}"
            )
        check_images(x)
        x = _conv(16, 3, name="conv1")(x)
        x = _norm(relu=True, name="bn1")(x, train=train)
        stages = _stages(
            x,
            train,
            16,
            (blocks,) * 3,
            shortcut=self.shortcut if self.residual else None,
            preactivation=self.preactivation,
            remat=self.remat,
        )
        return _classify(stages[-1], self.outputs)
