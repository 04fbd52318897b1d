"""Region-of-interest align: features of a fixed size under boxes of any size."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

Maps = Sequence[Float[Array, "_ _ channels"]]
Boxes = Float[Array, "boxes corners=4"]
PerBox = Float[Array, " boxes"]

_SAMPLES = 2  # of a bin, in each direction
_CANONICAL = 224, 4  # a box whose area is 224² is looked up at level 4, with a stride of 2⁴ = 16


def roi_align(
    features: Maps, boxes: Boxes, finest: int, size: int = 7
) -> Float[Array, "boxes {size} {size} channels"]:
    """The features under each box, from the level of a pyramid that is made for its size.

    A box is divided into size x size bins, and a bin is the mean of 2x2 points in it, at which
    features are interpolated bilinearly (He et al. 2017, "Mask R-CNN", section 3). The number at
    row i of a level with stride s stands for the pixel coordinate i s; a box of less than a place
    counts as one wide. So torchvision with `sampling_ratio=2` and `aligned=False`. A box takes
    level ⌊4 + log₂(√area / 224)⌋, or the nearest there is (Lin et al. 2017, "Feature pyramid
    networks", equation 1). Boxes have no gradient.

    Args:
      features: of one image, of each level, the finest first; strides double.
      boxes: in pixels.
      finest: stride of the first level, a power of 2.
      size: bins of a side.
    """
    boxes = lax.stop_gradient(boxes)
    sizes = np.array([f.shape[:2] for f in features])
    starts = np.append(0, np.cumsum(sizes.prod(1))[:-1])
    level = level_of(boxes, finest, len(features))
    stride = jnp.asarray([finest << i for i in range(len(features))], jnp.float32)[level]
    rows, columns = jnp.asarray(sizes[:, 0])[level], jnp.asarray(sizes[:, 1])[level]
    across = _reads(boxes[:, 0] / stride, boxes[:, 2] / stride, columns, size)
    down = _reads(boxes[:, 1] / stride, boxes[:, 3] / stride, rows, size)
    # Each bin is a weighted sum of 4x4 places, so many for every box: they are read one after the
    # other, since all at once are 16 times the memory, and on a CPU 6 times the time.
    place, weight = (
        join(d[:, :, None, :, None], a[:, None, :, None, :]).reshape(-1, (2 * _SAMPLES) ** 2).T
        for join, d, a in (
            (jnp.add, down[0] * columns[:, None, None], across[0]),
            (jnp.multiply, down[1], across[1]),
        )
    )
    place = place + jnp.repeat(jnp.asarray(starts, jnp.int32)[level], size * size)
    flat = jnp.concatenate([f.reshape(-1, f.shape[-1]) for f in features])

    def add(total: Array, read: tuple[Array, Array]) -> tuple[Array, None]:
        place, weight = read
        return total + flat[place] * weight[:, None], None

    kind = jnp.promote_types(jnp.float32, flat.dtype)
    start = jnp.zeros((place.shape[1], flat.shape[1]), kind)
    total, _ = lax.scan(add, start, (place, weight.astype(kind)))
    return total.reshape(len(boxes), size, size, -1).astype(flat.dtype)


def level_of(boxes: Boxes, finest: int, levels: int) -> Int[Array, " boxes"]:
    """Index of the level of a pyramid that each box is looked up at; 0 for a box without area."""
    size, level = _CANONICAL
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    wanted = jnp.floor(level + jnp.log2(jnp.sqrt(jnp.maximum(area, 1e-6)) / size) + 1e-6)
    first = finest.bit_length() - 1
    return jnp.clip(wanted.astype(jnp.int32) - first, 0, levels - 1)


def _reads(
    start: PerBox, end: PerBox, count: Int[Array, " boxes"], size: int
) -> tuple[Int[Array, "boxes {size} reads"], Float[Array, "boxes {size} reads"]]:
    """Of each bin along one axis: places to read, and the weight of each.

    A point up to a place beyond the outermost one reads that one; what is farther out is 0.
    """
    steps = (jnp.arange(size * _SAMPLES) + 0.5) / (size * _SAMPLES)
    at = start[:, None] + jnp.maximum(end - start, 1)[:, None] * steps
    inside = (at >= -1) & (at <= count[:, None])
    at = jnp.clip(at, 0, count[:, None] - 1)
    low = jnp.floor(at).astype(jnp.int32)
    place = jnp.stack([low, jnp.minimum(low + 1, count[:, None] - 1)], -1)
    weight = jnp.stack([1 - (at - low), at - low], -1)
    weight = jnp.where(inside[..., None], weight / _SAMPLES, 0)
    return tuple(x.reshape(len(start), size, -1) for x in (place, weight))  # type: ignore[return-value]
