"""GoogLeNet: convolutions of several sizes side by side."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.kernels import adaptive_average_pool, channels_first, local_response_norm, max_pool
from jaxdl.models.layers import BatchNorm, Conv, Dense, check_images, dropout

# Table 1 of the paper: outputs of the 1x1, the 3x3 (reduced to, outputs), the 5x5 (likewise) and
# the pooling branch; a row is a stage, after which max pooling halves the image.
_STAGES: tuple[dict[str, tuple[int, ...]], ...] = (
    {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
    },
    {
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
    },
    {
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    },
)
_HEADS = {"4a": "aux1", "4d": "aux2"}

Images = Float[Array, "batch height width channels"]
Features = Float[Array, "batch rows columns features"]


class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al. 2014, table 1): 6,998,552 parameters, 13,378,280 with heads.

    With `batch_norm` it is torchvision's, of 6,624,904 or 13,004,888: batch norm for biases and
    for local response norm, 3x3 for 5x5 convolutions, a maximum over 2x2 for the last over 3x3,
    and heads on images of any size. Modules have torchvision's names either way.

    Attributes:
      outputs: number of classes.
      batch_norm: torchvision's network instead of the paper's.
      auxiliary: in training, two more classifiers (section 5) on what blocks 4a and 4d give.
      dropout: probability that an input of the last layer is dropped in training; 0.4 in the
        paper, 0.2 in torchvision.
      auxiliary_dropout: that of a hidden unit of the auxiliary classifiers.
    """

    outputs: int = 1000
    batch_norm: bool = False
    auxiliary: bool = True
    dropout: float = 0.4
    auxiliary_dropout: float = 0.7

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"] | Float[Array, "batch 3 {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        In training with auxiliary classifiers: (batch, 3, outputs), where the last layer's come
        first, and then those of the classifiers at 4a and 4d.

        Raises:
          UserError: the inputs are not images, or smaller than 15x15 with batch norm, 31x31
            without, and 79x79 without but with auxiliary classifiers.
        """
        check_images(x, least=15 if self.batch_norm else 79 if self.auxiliary else 31)
        x = ConvNorm(64, 7, self.batch_norm, stride=2, name="conv1")(x, train)
        x = self._norm(max_pool(x, 3, 2, ceil=True))
        x = ConvNorm(64, 1, self.batch_norm, name="conv2")(x, train)
        x = self._norm(ConvNorm(192, 3, self.batch_norm, name="conv3")(x, train))
        x = max_pool(x, 3, 2, ceil=True)
        heads = []
        for stage, blocks in enumerate(_STAGES):
            if stage:
                x = max_pool(x, 2 if stage == 2 and self.batch_norm else 3, 2, ceil=True)
            for block, widths in blocks.items():
                x = Inception(widths, self.batch_norm, name=f"inception{block}")(x, train)
                if self._has_head(block, train):
                    head = Auxiliary(
                        self.outputs,
                        self.batch_norm,
                        self.auxiliary_dropout,
                        name=_HEADS[block],
                    )
                    heads.append(head(x, train))
        x = dropout(self.dropout, train)(jnp.mean(x, (1, 2)))
        x = Dense(self.outputs, name="fc")(x)
        return jnp.stack([x, *heads], 1) if train and self.auxiliary else x

    def _has_head(self, block: str, train: bool) -> bool:
        # Initialisation does not train, and yet gives all parameters.
        return self.auxiliary and block in _HEADS and (train or self.is_initializing())

    def _norm(self, x: Array) -> Array:
        return x if self.batch_norm else local_response_norm(x)


class ConvNorm(nn.Module):
    """A convolution, batch norm or else a bias, and a ReLU."""

    features: int
    kernel: int
    batch_norm: bool
    stride: int = 1

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Features:
        """(batch, height, width, channels) -> (batch, height / stride, …, features)."""
        # Without batch norm the depth needs a start at the right scale, on the linear side of the
        # ReLU: this is the one of Caffe's reference, whose "xavier" is LeCun's.
        x = Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            padding=self.kernel // 2,
            use_bias=not self.batch_norm,
            kernel_init=nn.initializers.lecun_uniform(),
            bias_init=nn.initializers.constant(0.2),
            name="conv",
        )(x)
        if not self.batch_norm:
            return nn.relu(x)
        return BatchNorm(momentum=0.9, epsilon=1e-3, relu=True, name="bn")(x, train=train)


class Inception(nn.Module):
    """Four branches side by side, their channels concatenated (figure 2b).

    Attributes:
      widths: a row of table 1, from "#1x1" to "pool proj".
      batch_norm: as in `GoogLeNet`.
    """

    widths: tuple[int, ...]
    batch_norm: bool

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Features:
        """(batch, height, width, channels) -> (batch, height, width, features)."""
        one, reduce3, three, reduce5, five, pool = self.widths
        large = 3 if self.batch_norm else 5
        pooled = max_pool(x, 3, 1, padding=1)

        def branch(x: Array, *layers: tuple[str, int, int], name: str) -> Array:
            return Branch(layers, self.batch_norm, name=name)(x, train)

        parts = [
            ConvNorm(one, 1, self.batch_norm, name="branch1")(x, train),
            branch(x, ("0", reduce3, 1), ("1", three, 3), name="branch2"),
            branch(x, ("0", reduce5, 1), ("1", five, large), name="branch3"),
            branch(pooled, ("1", pool, 1), name="branch4"),
        ]
        return jnp.concatenate(parts, -1)


class Branch(nn.Module):
    """Convolutions in a row, each told by its name, outputs and kernel."""

    layers: tuple[tuple[str, int, int], ...]
    batch_norm: bool

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Features:
        """(batch, height, width, channels) -> (batch, height, width, features)."""
        for name, features, kernel in self.layers:
            x = ConvNorm(features, kernel, self.batch_norm, name=name)(x, train)
        return x


class Auxiliary(nn.Module):
    """A classifier in the middle of the network, for the gradient that it brings (section 5)."""

    outputs: int
    batch_norm: bool
    dropout: float

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs)."""
        x = adaptive_average_pool(x, 4) if self.batch_norm else nn.avg_pool(x, (5, 5), (3, 3))
        x = channels_first(ConvNorm(128, 1, self.batch_norm, name="conv")(x, train))
        x = nn.relu(Dense(1024, name="fc1")(x))
        x = dropout(self.dropout, train)(x)
        return Dense(self.outputs, name="fc2")(x)
