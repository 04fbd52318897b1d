"""The layers that CNNs are made of, fast on a CPU as well as on GPU and TPU."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from jaxdl.errors import UserError
from jaxdl.models.convolution import conv

# nn.Conv, computed by `jaxdl.models.convolution.conv`: same parameters, same arguments.
Conv = functools.partial(nn.Conv, conv_general_dilated=conv)


def dropout(rate: float, train: bool) -> nn.Dropout:
    """A layer that drops numbers with this probability where `train`.

    Raises:
      UserError: the probability is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise UserError(f"config.model: a probability to drop must be in [0, 1), got {rate}")
    return nn.Dropout(rate, deterministic=not train)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015, algorithm 1).

    As `flax.linen.BatchNorm`, with the ReLU that follows it inside and one gradient for both.
    Parameters are `scale` and `bias`; `mean` and `var` in the collection `batch_stats` follow
    the batches, average = momentum * average + (1 - momentum) * batch, where `var` is the biased
    variance, as in Flax; PyTorch's running variance is the unbiased one, n / (n - 1) times it for n
    values a channel, so 8/7 times behind a dense layer in batches, or parts of `accumulate`, of 8.
    In training it normalises by the statistics of the batch: of the whole batch, also where `jit`
    spreads it over devices, and of padding too, since it sees no mask. They are summed in float32
    (float64 for float64 inputs) whatever the inputs are, in one pass, E[x²] - E[x]², which loses
    the variance where the mean is some thousand times the deviation.

    Attributes:
      momentum: how much of the running average a batch leaves, in [0, 1).
      epsilon: added to the variance.
      use_scale: multiply by a learnt scale; without use before a ReLU and a linear layer.
      use_bias: add a learnt bias.
      relu: apply max(0, ·) to the result.
      param_dtype: type of the parameters.
      scale_init: what the scale starts from.
      bias_init: what the bias starts from.
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
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> Float[Array, "batch *space channels"]:
        """Normalise by the batch where `train`, else by the running averages."""
        shape = x.shape[-1:]
        kind = jnp.promote_types(jnp.float32, x.dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, kind)
        var = self.variable("batch_stats", "var", jnp.ones, shape, kind)
        scale = self._learnt("scale", self.use_scale, self.scale_init, shape)
        bias = self._learnt("bias", self.use_bias, self.bias_init, shape)
        if not train:
            a, c = _line(mean.value, var.value, scale, bias, self.epsilon)
            return _affine(x, a, c, self.relu)
        y, *found = normalise(x, scale, bias, self.epsilon, self.relu)
        if not self.is_initializing():
            for average, batch in zip((mean, var), found, strict=True):
                kept = self.momentum * average.value + (1 - self.momentum) * batch
                average.value = lax.stop_gradient(kept).astype(average.value.dtype)
        return y

    def _learnt(self, name: str, used: bool, init: Any, shape: tuple[int, ...]) -> Any:
        return self.param(name, init, shape, self.param_dtype) if used else None


def refuse_single_values(next_method: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Refuses norms whose means are of one value each; for `flax.linen.intercept_methods`.

    Such a value less its mean is 0, whatever it was: nothing before the norm learns, and a running
    variance decays to 0. Ours and Flax's are refused, as PyTorch refuses its own, unless they
    normalise by running statistics.

    Raises:
      UserError: naming the module, the shape of its input, and what to do.
    """
    norm = context.module
    if context.method_name == "__call__" and isinstance(norm, _NORMS):
        call = inspect.signature(context.orig_method).bind(*args, **kwargs).arguments
        shape = jnp.shape(call["x"])
        if _from_batch(norm, call) and _values(norm, shape) == 1:
            where, remedy = "config.model", "give it more values, or leave it out"
            if isinstance(norm, _BATCH_NORMS):
                where = "config.training"
                remedy = (
                    "raise batch_size or lower accumulate, so that a batch and each part of it has "
                    "2 examples or more, or set freeze_statistics=true"
                )
            raise UserError(
                f"{where}: {type(norm).__name__} {'/'.join(norm.path)!r} gets one value a mean, "
                f"{list(shape)}, from which nothing is learnt; {remedy}"
            )
    return next_method(*args, **kwargs)


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
    """How many values each mean of the norm is of."""
    axes = set(range(len(shape)))

    def named(axis: Any) -> set[int]:
        return {a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)}

    devices, groups = 1, 1
    if isinstance(norm, nn.LayerNorm):
        axes = named(norm.reduction_axes)
    elif isinstance(norm, nn.GroupNorm):
        axes = axes - {0} if norm.reduction_axes is None else named(norm.reduction_axes)
        groups = norm.num_groups or shape[-1] // (norm.group_size or 1)
    elif isinstance(norm, nn.InstanceNorm):
        axes -= {0} | named(norm.feature_axes)
    else:
        axes -= named(getattr(norm, "axis", -1))
    if name := getattr(norm, "axis_name", None):  # the means are of all devices, or of some
        together = norm.axis_index_groups
        devices = len(together[0]) if together else lax.psum(1, name)
    return math.prod(shape[a] for a in axes) * devices / groups


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalise(
    x: Float[Array, "batch *space channels"],
    scale: Float[Array, " channels"] | None,
    bias: Float[Array, " channels"] | None,
    epsilon: float,
    relu: bool,
) -> tuple[
    Float[Array, "batch *space channels"], Float[Array, " channels"], Float[Array, " channels"]
]:
    """Batch normalisation by the statistics of the batch.

    Args:
      x: any number of axes; statistics are over all but the last.
      scale: multiplies the normalised input, if given.
      bias: is added to it, if given.
      epsilon: is added to the variance.
      relu: apply max(0, ·) to the result.

    Returns:
      The result, of the type of `x`; mean and biased variance, in float32 or wider.
    """
    return _normalise_fwd(x, scale, bias, epsilon, relu)[0]


def _normalise_fwd(x: Any, scale: Any, bias: Any, epsilon: float, relu: bool) -> Any:
    mean, square = (total / _examples(x) for total in _sums(x, x))
    var = jnp.maximum(square - mean * mean, 0)
    a, c = _line(mean, var, scale, bias, epsilon)
    return (_affine(x, a, c, relu), mean, var), (x, scale, bias, mean, var, a, c)


def _normalise_bwd(epsilon: float, relu: bool, saved: Any, gradients: Any) -> Any:
    """dx is linear in dy and x, with three numbers a channel: a dy + b x + c."""
    x, scale, bias, mean, var, a, c = saved
    dy, dmean, dvar = gradients
    n = _examples(x)
    if relu:
        dy = jnp.where(_affine(x, a, c, False) > 0, dy, 0)
    total, product = _sums(dy, x)
    rate = lax.rsqrt(var + epsilon)
    slope = (product - mean * total) * rate  # the gradient of the scale: sum of dy x̂
    b = (2 * dvar - a * rate * slope) / n
    shift = (dmean - a * total) / n - b * mean
    wide = a.dtype
    dx = (dy.astype(wide) * a + x.astype(wide) * b + shift).astype(x.dtype)
    return (
        dx,
        None if scale is None else slope.astype(scale.dtype),
        None if bias is None else total.astype(bias.dtype),
    )


normalise.defvjp(_normalise_fwd, _normalise_bwd)


def _examples(x: jax.Array) -> int:
    return x.size // x.shape[-1]


def _sums(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums of x and of xy over all axes but the last, in float32 or wider."""
    kind = jnp.promote_types(jnp.float32, x.dtype)
    x, y = (v.reshape(-1, v.shape[-1]).astype(kind) for v in (x, y))
    return jnp.sum(x, 0), jnp.sum(x * y, 0)


def _line(mean: jax.Array, var: jax.Array, scale: Any, bias: Any, epsilon: float) -> Any:
    """Slope and intercept of the normalisation, a channel each."""
    a = lax.rsqrt(var + epsilon)
    a = a if scale is None else a * scale
    c = -mean * a
    return a, c if bias is None else c + bias


def _affine(x: jax.Array, a: jax.Array, c: jax.Array, relu: bool) -> jax.Array:
    y = (x.astype(a.dtype) * a + c).astype(x.dtype)
    return jnp.maximum(y, 0) if relu else y


@jax.custom_vjp
def add_relu(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """relu(x + y), the end of a residual block, to the bit.

    Written so that XLA on a CPU computes it once. A ReLU is so cheap to it that it would compute
    one anew wherever it is used, from all that the sums of a whole stage are made of; a sum of two
    it keeps. The gradient asks the result itself where it was positive.
    """
    return jnp.maximum(x, -y) + y


def _add_relu_fwd(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    z = add_relu(x, y)
    return z, z


def _add_relu_bwd(z: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    g = jnp.where(z > 0, g, 0)
    return g, g


add_relu.defvjp(_add_relu_fwd, _add_relu_bwd)
