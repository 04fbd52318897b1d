"""The layers that CNNs are made of, fast on a CPU as well as on GPU and TPU."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from jaxdl.errors import UserError, check_choices
from jaxdl.kernels import batch_norm_inference, batch_norm_training, conv, dot_general
from jaxdl.types import DATA_AXIS

# `nn.Conv`, computed by `jaxdl.kernels.conv`: same parameters, same arguments.
Conv = functools.partial(nn.Conv, conv_general_dilated=conv)
# `nn.Dense`, computed by `jaxdl.kernels.dot_general`, likewise.
Dense = functools.partial(nn.Dense, dot_general=dot_general)


class Module(nn.Module):
    """A Flax module that refuses values that its annotations do not name; see `check_choices`."""

    def __post_init__(self) -> None:
        check_choices(self, "config.model.")
        super().__post_init__()


def check_images(x: Array, least: int = 1) -> None:
    """Refuse what is not a batch of images of at least `least` pixels a side.

    Raises:
      UserError: with the shape and what to do.
    """
    if x.ndim != 4:
        raise UserError(
            f"config.model: takes images (batch, height, width, channels), got shape {x.shape}"
        )
    if min(x.shape[1:3]) < least:
        raise UserError(
            f"config.model: takes images of at least {least}x{least} pixels, got "
            f"{x.shape[1]}x{x.shape[2]}; enlarge them in config.data"
        )


class Dropout(nn.Dropout):
    """`nn.Dropout` of inputs whose first axis need not be that of the examples.

    Attributes:
      batch_axis: the axis.
    """

    batch_axis: int = 0


def dropout(rate: float, train: bool) -> nn.Dropout:
    """A layer that, if `train`, drops numbers with this probability.

    Raises:
      UserError: the probability is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise UserError(f"config.model: a dropout probability must be in [0, 1), got {rate}")
    return nn.Dropout(rate, deterministic=not train)


def data_axis() -> str | None:
    """The mapped axis, if any, over which each device computes its share of a batch alone."""
    try:
        lax.axis_size(DATA_AXIS)
    except NameError:
        return None
    return DATA_AXIS


def draw_for_batch(
    draw: Callable[[tuple[int, ...]], Array], shape: tuple[int, ...], axis: int = 0
) -> Array:
    """Random numbers for the examples along an axis, the same on any number of devices.

    Where each device computes its share of a batch alone, it draws for the whole batch and takes
    its share.

    Args:
      draw: gives random numbers of a shape.
      shape: of the numbers for the examples at hand.
      axis: of the examples.
    """
    if not data_axis():
        return draw(shape)
    size = shape[axis]
    whole = draw((*shape[:axis], size * lax.axis_size(DATA_AXIS), *shape[axis + 1 :]))
    return lax.dynamic_slice_in_dim(whole, lax.axis_index(DATA_AXIS) * size, size, axis)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015, algorithm 1).

    As `flax.linen.BatchNorm`, with the ReLU that follows it inside and one gradient for both.
    Parameters are `scale` and `bias`; the collection `batch_stats` holds running averages, `mean`
    and `var`: average = momentum * average + (1 - momentum) * batch. `var` is the biased variance,
    as in Flax; PyTorch's running variance is the unbiased one, n / (n - 1) times it for n values a
    channel, such as 8/7 times after a dense layer in batches, or parts of `accumulate`, of 8.
    In training it normalises by the statistics of the batch: of the whole batch, also where it is
    divided among devices, and of padding too, since it sees no mask; or in groups of so many
    examples, each by its own (Hoffer et al. 2017, "ghost" batch norm). Then running averages take
    the mean of the groups' statistics, and no device waits for another. They are summed in float32
    (float64 for float64 inputs) whatever the inputs are, in one pass, E[x²] - E[x]², which loses
    the variance where the mean is thousands of times the deviation.

    Attributes:
      momentum: weight of the old running average, in [0, 1).
      epsilon: added to the variance.
      use_scale: multiply by a learned scale; useless before a ReLU and a linear layer.
      use_bias: add a learned bias.
      relu: apply max(0, ·) to the result.
      param_dtype: type of the parameters.
      scale_init: initializer of the scale.
      bias_init: initializer of the bias.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    relu: bool = False
    param_dtype: Dtype = jnp.float32
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], *, train: bool, group: int | None = None
    ) -> Float[Array, "batch *space channels"]:
        """Normalise by the batch if `train`, in groups of so many; otherwise by running averages.

        Raises:
          UserError: the batch is not whole groups.
        """
        shape = x.shape[-1:]
        dtype = jnp.promote_types(jnp.float32, x.dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        scale = bias = None
        if self.use_scale:
            scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        options = (scale, bias, self.epsilon, self.relu)
        if not train:
            return batch_norm_inference(x, mean.value, var.value, *options)
        if group and len(x) % group:
            raise UserError(
                f"config.training.ghost_batch_size: {group} does not divide the {len(x)} examples "
                f"that BatchNorm {'/'.join(self.path)!r} sees at once; choose a divisor, or None"
            )
        y, *statistics = batch_norm_training(x, *options, group, data_axis())
        if not self.is_initializing():
            for average, batch in zip((mean, var), statistics, strict=True):
                new = self.momentum * average.value + (1 - self.momentum) * jnp.mean(batch, 0)
                average.value = lax.stop_gradient(new).astype(average.value.dtype)
        return y


class TrainingCalls:
    """What training changes in layers, as an interceptor for `flax.linen.intercept_methods`.

    Norms that take means of a single value are refused. A single value minus its mean is 0,
    whatever it was: nothing before the norm learns, and a running variance decays to 0. Our norms
    and Flax's are refused, as PyTorch refuses its own, unless they normalise by running statistics.
    Where each device computes its share of a batch alone, dropout draws as for the whole batch, so
    that the numbers are the same on any number of devices.

    Args:
      group: of `BatchNorm`.

    Attributes:
      normalised: whether any batch norm was called.
    """

    def __init__(self, group: int | None = None) -> None:
        self.group, self.normalised = group, False

    def __call__(self, next_method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Call a method of a layer.

        Raises:
          UserError: naming the module, the shape of its input, and what to do.
        """
        layer = context.module
        if context.method_name == "__call__":
            if isinstance(layer, nn.Dropout) and data_axis():
                return _share_of_dropout(next_method, layer, *args, **kwargs)
            if isinstance(layer, _NORMS):
                call = inspect.signature(context.orig_method).bind(*args, **kwargs).arguments
                if _from_batch(layer, call):
                    if isinstance(layer, BatchNorm):
                        kwargs = {"group": self.group, **kwargs}
                        self.normalised = True
                    _check_norm(layer, jnp.shape(call["x"]), kwargs.get("group"))
        return next_method(*args, **kwargs)


def _share_of_dropout(
    next_method: Any, layer: nn.Dropout, inputs: Array, *args: Any, **kwargs: Any
) -> Array:
    def draw(shape: tuple[int, ...]) -> Array:
        return next_method(jnp.ones(shape, inputs.dtype), *args, **kwargs)

    scale = draw_for_batch(draw, inputs.shape, getattr(layer, "batch_axis", 0))
    return jnp.where(scale == 0, 0, inputs * scale).astype(inputs.dtype)


def _check_norm(norm: nn.Module, shape: tuple[int, ...], group: int | None) -> None:
    where = f"{type(norm).__name__} {'/'.join(norm.path)!r}"
    if data_axis() and isinstance(norm, nn.BatchNorm) and norm.axis_name is None:
        raise UserError(
            f"config.model: {where} is Flax's, which takes statistics of a device's share; use "
            "jaxdl.models.layers.BatchNorm, or config.parallel='jit' with config.precision.reduce "
            "as config.precision.compute"
        )
    if _values(norm, (group or shape[0], *shape[1:])) > 1:
        return
    place, remedy = "config.model", "give it more values, or leave it out"
    if isinstance(norm, _BATCH_NORMS):
        place = "config.training"
        remedy = (
            "raise batch_size or lower accumulate, so that a batch and each part of it has "
            "2 examples or more, or set freeze_statistics=true"
        )
    raise UserError(
        f"{place}: {where} gets one value per mean, {list(shape)}, from which nothing is learned; "
        f"{remedy}"
    )


_BATCH_NORMS = (BatchNorm, nn.BatchNorm)
_NORMS = (*_BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm)


def _from_batch(norm: nn.Module, call: Any) -> bool:
    """Whether a call of the norm takes means of its input."""
    if isinstance(norm, BatchNorm):
        return call["train"]
    running = call.get("use_running_average")
    if running is None:
        running = getattr(norm, "use_running_average", False)
    return not running


def _values(norm: Any, shape: tuple[int, ...]) -> float:
    """The number of values in each mean of the norm."""
    axes = set(range(len(shape)))

    def named(axis: Any) -> set[int]:
        return {a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)}

    devices, groups = 1, 1
    if isinstance(norm, BatchNorm):
        axes -= {len(shape) - 1}
        devices = lax.axis_size(DATA_AXIS) if data_axis() else 1
    elif isinstance(norm, nn.LayerNorm):
        axes = named(norm.reduction_axes)
    elif isinstance(norm, nn.GroupNorm):
        axes = axes - {0} if norm.reduction_axes is None else named(norm.reduction_axes)
        groups = norm.num_groups or shape[-1] // (norm.group_size or 1)
    elif isinstance(norm, nn.InstanceNorm):
        axes -= {0} | named(norm.feature_axes)
    else:
        axes -= named(getattr(norm, "axis", -1))
    if name := getattr(norm, "axis_name", None):  # means over all devices, or groups of them
        device_groups = norm.axis_index_groups
        devices = len(device_groups[0]) if device_groups else lax.psum(1, name)
    return math.prod(shape[a] for a in axes) * devices / groups
