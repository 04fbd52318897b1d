"""Convolutional networks for small images."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdl.errors import UserError
from jaxdl.models.layers import BatchNorm, Conv, Dense


class MnistCNN(nn.Module):
    """Convolutions, a dense layer and an output layer, with batch norm and dropout.

    By default the network of Görner's "TensorFlow without a PhD" (tensorflow-mnist-tutorial,
    mnist_4.2_batchnorm_convolutional.py): 708,362 parameters on 28x28 images. Every layer but the
    last is normalised, without a scale, since after the ReLU the next layer is linear.

    Attributes:
      outputs: number of classes.
      widths: outputs of each convolution.
      kernels: side of each convolution's square kernel.
      strides: stride of each convolution; padding keeps size / stride.
      dense: size of the dense layer.
      dropout: probability that a unit of the dense layer is dropped in training.
      momentum: of the running averages of batch norm.
    """

    outputs: int = 10
    widths: tuple[int, ...] = (24, 48, 64)
    kernels: tuple[int, ...] = (6, 5, 4)
    strides: tuple[int, ...] = (1, 2, 2)
    dense: int = 200
    dropout: float = 0.25
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch {self.outputs}"]:
        """(batch, height, width, channels) -> (batch, outputs), logits.

        Raises:
          UserError: the convolutions are not told alike in number.
        """
        if not len(self.widths) == len(self.kernels) == len(self.strides):
            raise UserError(
                "config.model: widths, kernels and strides must have the same length, "
                f"got {len(self.widths)}, {len(self.kernels)} and {len(self.strides)}"
            )

        def normalised(x: Array) -> Array:
            return BatchNorm(momentum=self.momentum, use_scale=False, relu=True)(x, train=train)

        for width, kernel, stride in zip(self.widths, self.kernels, self.strides, strict=True):
            x = normalised(Conv(width, (kernel, kernel), stride, use_bias=False)(x))
        x = x.reshape(len(x), -1)
        x = normalised(Dense(self.dense, use_bias=False)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.outputs)(x)
