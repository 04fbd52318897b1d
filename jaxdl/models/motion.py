"""Motion from one image of a camera to the next, by block matching."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

_BLOCK, _STEP = (16, 16), (10, 7)  # rows and columns of a block, and from one to the next
_REACH = (4, 8)  # how far from its place a block is searched for, in rows and columns
_SHADE = 1 / 128  # a difference that is mere noise, of images from -1 to 1


def block_motion(
    before: Float[Array, "batch height width"], after: Float[Array, "batch height width"]
) -> Float[Array, "batch rows columns 2"]:
    """By how many pixels (down, right) each block has moved, from -4 to 4 and from -8 to 8.

    A block of 16x16 of the image `after` is compared with each of the 9x17 places around it in
    the image `before`, as FlowNet's correlation layer does (Fischer et al. 2015, section 3), here
    of grey images and by the mean squared difference. Its motion is the mean of them, weighted by
    how well they match, so that it need not be a whole number (Kendall et al. 2017, "End-to-end
    learning of geometry and context for deep stereo regression", section 3.4). There are no
    parameters.

    Args:
      before: grey images of at least 16x16, from -1 to 1; outside them is what is at their edge.
      after: those that follow.
    """
    reach = [np.arange(-most, most + 1) for most in _REACH]
    moves = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 2)
    rows, columns = (
        _blocks(size, block, step)
        for size, block, step in zip(after.shape[1:], _BLOCK, _STEP, strict=True)
    )
    around = jnp.pad(before, ((0, 0), *((most, most) for most in _REACH)), mode="edge")

    def mismatch(move: Array) -> Array:
        start = (0, *(jnp.array(_REACH) - move))
        difference = jnp.square(after - lax.dynamic_slice(around, start, after.shape))
        # One axis after the other, or XLA sums twice as long; and exactly, since by default a GPU
        # rounds the numbers of a matrix product to 10 bits.
        aside = jnp.einsum("nhw,cw->nhc", difference, columns, precision="highest")
        return jnp.einsum("rh,nhc->nrc", rows, aside, precision="highest")

    mismatches = jnp.moveaxis(lax.map(mismatch, moves), 0, -1)
    # Where nothing matches well, as in fast or new parts, the best match counts less.
    scale = 0.1 * mismatches.min(axis=-1, keepdims=True) + _SHADE**2
    return jnp.matmul(
        jax.nn.softmax(-mismatches / scale), moves.astype(mismatches.dtype), precision="highest"
    )


def _blocks(size: int, block: int, step: int) -> Float[Array, "blocks size"]:
    """The weights of the mean over each block along an axis."""
    start = np.arange(0, size - block + 1, step)[:, None]
    place = np.arange(size)
    return jnp.asarray(((place >= start) & (place < start + block)) / block, jnp.float32)
