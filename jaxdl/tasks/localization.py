"""Classification with localisation: ImageNet's measure of one class and box an image."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdl.boxes import box_iou


def localization_error(
    guesses: Int[Array, "batch guesses"],
    boxes: Float[Array, "batch guesses corners=4"],
    label: Int[Array, " batch"],
    truth: Float[Array, "batch objects corners=4"],
    mask: Bool[Array, "batch objects"],
) -> Float[Array, " batch"]:
    """0 where one of the guesses has both the class and a box of it, 1 elsewhere.

    That is the error of ILSVRC's single-object localisation with its five guesses an image, where
    a box fits if its intersection over union with any object of the class exceeds ½ (Russakovsky et
    al. 2015, section 4.2). Its mean over a split is the published number.

    Args:
      guesses: classes that the image may be of.
      boxes: for each guess, the box of one object, as `box_iou` takes it.
      label: the class of the image.
      truth: the boxes of all objects of that class, padded.
      mask: which of them are real. An image without any is an error.
    """
    fits = (box_iou(boxes, truth) > 0.5) & mask[:, None, :]
    right = (guesses == label[:, None]) & jnp.any(fits, axis=-1)
    return 1.0 - jnp.any(right, axis=-1).astype(jnp.float32)
