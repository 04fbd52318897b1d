"""VGG: 3x3 convolutions, as deep as they would train."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdl.kernels import adaptive_average_pool, channels_first, max_pool
from jaxdl.models.layers import BatchNorm, Conv, Dense, Module, check_images, dropout

_WIDTHS = (64, 128, 256, 512, 512)
_COUNTS: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(Module):
    """Very deep convolutional networks (Simonyan and Zisserman 2014, table 1: A, B, D and E).

    As torchvision's, whose names its modules bear and as which it starts: 143,667,240 parameters
    with 19 layers. Images may be of any size from 32x32: a mean over 7x7 windows, which at 224x224
    changes nothing, goes before the dense layers.

    Attributes:
      outputs: number of classes.
      depth: layers with weights.
      batch_norm: after every convolution, which the paper predates.
      dropout: probability that a unit of a hidden dense layer is dropped in training.
      hidden: units of each of the two hidden dense layers.
    """

    outputs: int = 1000
    depth: Literal[11, 13, 16, 19] = 16
    batch_norm: bool = False
    dropout: float = 0.5
    hidden: int = 4096

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        Raises:
          UserError: the inputs are not images, or are smaller than 32x32.
        """
        check_images(x, least=32)
        x = VGGFeatures(_COUNTS[self.depth], self.batch_norm, name="features")(x, train)
        x = channels_first(adaptive_average_pool(x, 7))
        return VGGClassifier(self.outputs, self.dropout, self.hidden, name="classifier")(x, train)


class VGGFeatures(nn.Module):
    """Five stages of convolutions, each named by its place in torchvision's sequence."""

    counts: tuple[int, ...]
    batch_norm: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch rows columns 512"]:
        """(batch, height, width, channels) -> (batch, height / 32, width / 32, 512)."""
        start = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        place = 0
        for width, count in zip(_WIDTHS, self.counts, strict=True):
            for _ in range(count):
                x = Conv(width, (3, 3), padding=1, kernel_init=start, name=f"{place}")(x)
                if self.batch_norm:
                    norm = BatchNorm(momentum=0.9, relu=True, name=f"{place + 1}")
                    x = norm(x, train=train)
                else:
                    x = nn.relu(x)
                place += 3 if self.batch_norm else 2
            x = max_pool(x, 2, 2)
            place += 1
        return x


class VGGClassifier(nn.Module):
    """Three dense layers and dropout, each named by its place in torchvision's sequence."""

    outputs: int
    dropout: float
    hidden: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch features"], train: bool
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, features) -> (batch, outputs)."""
        start = nn.initializers.normal(0.01)
        for name in ("0", "3"):
            x = nn.relu(Dense(self.hidden, kernel_init=start, name=name)(x))
            x = dropout(self.dropout, train)(x)
        return Dense(self.outputs, kernel_init=start, name="6")(x)
