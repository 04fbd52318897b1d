"""AlexNet: the network of 2012 in its two halves, and the single column that followed."""

from __future__ import annotations

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdl.kernels import adaptive_average_pool, channels_first, local_response_norm, max_pool
from jaxdl.models.layers import Conv, Dense, check_images, dropout

_pool = functools.partial(max_pool, window=3, stride=2)

# U(±1/√inputs), from which torchvision trains the single column to its published accuracy.
_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class AlexNet(nn.Module):
    """AlexNet in a single column (Krizhevsky 2014, "One weird trick", footnote 1).

    As torchvision's, whose names its modules bear: 61,100,840 parameters. Images may be of any
    size from 63x63: a mean over 6x6 windows, which at 224x224 changes nothing, goes before the
    dense layers.

    Attributes:
      outputs: number of classes.
      dropout: probability that an input of a hidden dense layer is dropped in training.
      hidden: units of each of the two hidden dense layers.
    """

    outputs: int = 1000
    dropout: float = 0.5
    hidden: int = 4096

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        Raises:
          UserError: the inputs are not images, or are smaller than 63x63.
        """
        check_images(x, least=63)
        x = AlexNetFeatures(name="features")(x)
        x = channels_first(adaptive_average_pool(x, 6))
        return AlexNetClassifier(self.outputs, self.dropout, self.hidden, name="classifier")(
            x, train
        )


class AlexNetFeatures(nn.Module):
    """The five convolutions, each named by its place in torchvision's sequence."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch rows columns 256"]:
        """(batch, height, width, channels) -> (batch, height / 37, width / 37, 256), about."""

        def conv(x: Array, features: int, kernel: int, name: str, stride: int = 1) -> Array:
            padding = 2 if kernel > 3 else 1
            size = (kernel, kernel)
            layer = Conv(features, size, stride, padding, kernel_init=_uniform, name=name)
            return nn.relu(layer(x))

        x = _pool(conv(x, 64, 11, "0", stride=4))
        x = _pool(conv(x, 192, 5, "3"))
        x = conv(x, 384, 3, "6")
        x = conv(x, 256, 3, "8")
        return _pool(conv(x, 256, 3, "10"))


class AlexNetClassifier(nn.Module):
    """Dropout and three dense layers, each named by its place in torchvision's sequence."""

    outputs: int
    dropout: float
    hidden: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch features"], train: bool
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, features) -> (batch, outputs)."""
        dense = functools.partial(Dense, kernel_init=_uniform)
        for name in ("1", "4"):
            x = dropout(self.dropout, train)(x)
            x = nn.relu(dense(self.hidden, name=name)(x))
        return dense(self.outputs, name="6")(x)


class AlexNetGrouped(nn.Module):
    """AlexNet of ILSVRC 2012, which two GPUs shared (Krizhevsky et al. 2012, figure 2).

    The second, fourth and fifth convolution see the half of the channels that is on their own
    GPU. 60,965,224 parameters, 659,272 neurons. The first layer pads 224x224 images by 2, which
    gives the 55x55 positions of the paper. Images may be of any size from 63x63, as in `AlexNet`.

    Attributes:
      outputs: number of classes.
      dropout: probability that a unit of a hidden dense layer is dropped in training.
    """

    outputs: int = 1000
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        Raises:
          UserError: the inputs are not images, or are smaller than 63x63.
        """
        check_images(x, least=63)
        # Section 5: ones for the biases that start units on the linear side of their ReLU.
        normal, one, zero = (
            nn.initializers.normal(0.01),
            nn.initializers.ones_init(),
            nn.initializers.zeros_init(),
        )

        def conv(x: Array, features: int, kernel: int, groups: int, name: str) -> Array:
            layer = Conv(
                features,
                (kernel, kernel),
                4 if kernel == 11 else 1,
                padding=2 if kernel > 3 else 1,
                feature_group_count=groups,
                kernel_init=normal,
                bias_init=one if groups == 2 else zero,
                name=name,
            )
            return nn.relu(layer(x))

        x = _pool(local_response_norm(conv(x, 96, 11, 1, "conv1")))
        x = _pool(local_response_norm(conv(x, 256, 5, 2, "conv2")))
        x = conv(x, 384, 3, 1, "conv3")
        x = conv(x, 384, 3, 2, "conv4")
        x = _pool(conv(x, 256, 3, 2, "conv5"))
        x = channels_first(adaptive_average_pool(x, 6))
        for name in ("fc6", "fc7"):
            x = nn.relu(Dense(4096, kernel_init=normal, bias_init=one, name=name)(x))
            x = dropout(self.dropout, train)(x)
        return Dense(self.outputs, kernel_init=normal, name="fc8")(x)
