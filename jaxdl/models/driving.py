"""Networks that steer a car: one number, an angle, from what a camera sees."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdl.errors import UserError
from jaxdl.kernels import max_pool
from jaxdl.models.layers import Conv, Dense, check_images, dropout
from jaxdl.models.motion import block_motion
from jaxdl.models.recurrent import Recurrent

# With Flax's own start, for linear layers, the signal shrinks from ReLU to ReLU, and nine of them
# hardly learn (He et al. 2015, "Delving deep into rectifiers", section 2.2).
_he = nn.initializers.he_normal()
_Conv = functools.partial(Conv, kernel_init=_he)
_Dense = functools.partial(Dense, kernel_init=_he)


class PilotNet(nn.Module):
    """NVIDIA's network for images of 66x200 (Bojarski et al. 2016, figure 4).

    252,219 parameters. The paper names neither the nonlinearity, here ReLU, nor how the network
    was kept from overfitting. Its first layer, which normalises and is not learned, is a transform
    here.

    Attributes:
      dropout: probability that an input of a dense layer but the last is dropped in training.
    """

    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *image"], *, train: bool = False
    ) -> Float[Array, " batch"]:
        """(batch, height, width, channels) -> (batch,).

        Raises:
          UserError: the inputs are not images, or are smaller than 61x61.
        """
        x = PilotNetConvolutions(name="convolutions")(x)
        for size in (100, 50, 10):
            x = nn.relu(_Dense(size)(dropout(self.dropout, train)(x)))
        return Dense(1)(x)[:, 0]


class PilotNetConvolutions(nn.Module):
    """PilotNet's five convolutions: three that halve the image, and two that do not."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch *image"]) -> Float[Array, "batch features"]:
        """(batch, height, width, channels) -> (batch, features): 1152 of 66x200."""
        check_images(x, least=61)
        for width in (24, 36, 48):
            x = nn.relu(_Conv(width, (5, 5), 2, "VALID")(x))
        for width in (64, 64):
            x = nn.relu(_Conv(width, (3, 3), 1, "VALID")(x))
        return x.reshape(len(x), -1)


class PilotNetLSTM(nn.Module):
    """PilotNet's convolutions on each frame of a clip, an LSTM over the frames, one number.

    Attributes:
      hidden: size of the LSTM's state.
      dropout: probability that an input of a layer after the convolutions, except the last, is
        dropped in training.
    """

    hidden: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *clip"], *, train: bool = False
    ) -> Float[Array, " batch"]:
        """(batch, time, height, width, channels) -> (batch,), of the last frame.

        Raises:
          UserError: the inputs are not clips, or their images are smaller than 61x61.
        """
        _check_clips(x, least=1)
        frames = PilotNetConvolutions(name="convolutions")(x.reshape(-1, *x.shape[2:]))
        frames = nn.relu(_Dense(100)(dropout(self.dropout, train)(frames)))
        frames = dropout(self.dropout, train)(frames).reshape(*x.shape[:2], -1)
        seen, _ = Recurrent(self.hidden, name="lstm")(frames, train=train)
        return Dense(1)(seen[:, -1])[:, 0]


class MotionLSTM(nn.Module):
    """What moves how from frame to frame of a clip, an LSTM over that, one number.

    It sees no road, only the car's own motion, by `block_motion`: the path that a car takes bends
    as its wheels are turned, however fast it is, forwards or backwards. Images are at half their
    width: what is near moves many pixels aside.

    Attributes:
      hidden: size of the LSTM's state, and of the layer before it.
      dropout: probability that an input of the LSTM is dropped in training.
    """

    hidden: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *clip"], *, train: bool = False
    ) -> Float[Array, " batch"]:
        """(batch, time, height, width, channels), from -1 to 1 -> (batch,), of the last frame.

        Raises:
          UserError: the inputs are not clips of at least two frames, or their images are smaller
            than 32x32.
        """
        _check_clips(x, least=2)
        check_images(x[:, 0], least=32)
        batch, time, height, width, _ = x.shape
        grey = x.astype(jnp.float32).mean(axis=-1)[..., : width // 2 * 2]
        grey = grey.reshape(batch, time, height, width // 2, 2).mean(axis=-1).swapaxes(0, 1)
        # One frame after the other, as of all of them at once little would be in the CPU's cache.
        moved = lax.map(lambda pair: block_motion(*pair), (grey[:-1], grey[1:]))
        moved = lax.stop_gradient(moved).swapaxes(0, 1).reshape(batch, time - 1, -1)
        # How the path bends is in the ratios of the motions, whose size is the car's speed.
        size = jnp.sqrt(jnp.mean(jnp.square(moved), axis=-1, keepdims=True)) + 0.2
        moved = jnp.concatenate([moved / size, jnp.log(size)], axis=-1).astype(x.dtype)
        moved = dropout(self.dropout, train)(nn.relu(_Dense(self.hidden)(moved)))
        seen, _ = Recurrent(self.hidden, name="lstm")(moved, train=train)
        return Dense(1)(seen[:, -1])[:, 0]


class DeepTesla(nn.Module):
    """The network that DeepTeslaJS begins with (Fridman, MIT 6.S094, 2017): 1,417 parameters.

    Images of 66x200; three convolutions, each a third of the size of the one before, and the
    maxima of 4x4 windows. As in ConvNetJS, whose pooling does not pad.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "batch *image"]) -> Float[Array, " batch"]:
        """(batch, height, width, channels) -> (batch,).

        Raises:
          UserError: the inputs are not images, or are smaller than 56x56.
        """
        check_images(x, least=56)
        for _ in range(3):
            x = nn.relu(_Conv(8, (3, 3), 3, padding=2)(x))
        x = max_pool(x, window=4, stride=2)
        return Dense(1)(x.reshape(len(x), -1))[:, 0]


def _check_clips(x: Array, least: int) -> None:
    if x.ndim != 5 or x.shape[1] < least:
        raise UserError(
            "config.model: takes clips (batch, time, height, width, channels) of at least "
            f"{least} frames, got shape {x.shape}; set config.data.clips"
        )
