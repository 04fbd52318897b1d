"""Where in images a network sees a class.

Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): ReLU(Σ_k α_k A^k), where A^k are the outputs of
unit k of a layer, and α_k the mean over positions of the gradient of the class's logit for them. A
is what the layer puts out, which of a convolution whose ReLU is not a module of its own (AlexNet,
VGG) is what goes into that ReLU. Saliency (Simonyan et al. 2014, section 3): the magnitude of the
logit's gradient for the transformed image, in the channel where it is greatest. Of several views
that evaluation averages, the network is asked about the middle one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxdl.inference.restored import RestoredRun
from jaxdl.tasks import GivesLogits
from jaxdl.training.state import State
from jaxdl.types import Batch


class Maps(NamedTuple):
    """Where in images a class is seen.

    Attributes:
      images: as the network gets them, before its transforms.
      classes: the class that is explained of each.
      probabilities: of it.
      grad_cam: Grad-CAM, at least 0, at the resolution of its layer.
      saliency: the greatest magnitude of the gradient over the channels of each pixel.
      layer: of Grad-CAM.
    """

    images: UInt8[np.ndarray, "examples height width channels"]
    classes: Int[np.ndarray, " examples"]
    probabilities: Float[np.ndarray, " examples"]
    grad_cam: Float[np.ndarray, "examples rows columns"]
    saliency: Float[np.ndarray, "examples height width"]
    layer: str


def attribute(
    run: RestoredRun, layer: str, chosen: int, state: State, batch: Batch
) -> tuple[Array, Array, Array, Array]:
    """Class, its probability, Grad-CAM and saliency of each example.

    Args:
      run: whose task gives logits.
      layer: the name of a module whose outputs have positions.
      chosen: the class, or -1 for that which is predicted of each.
      state: whose evaluated parameters are used.
      batch: transformed.
    """
    task, column = run.task, run.task.input
    assert isinstance(task, GivesLogits)
    image = jnp.asarray(batch[column])
    if not jnp.issubdtype(image.dtype, jnp.floating):
        image = image.astype(jnp.float32)

    def score(image: Array, added: Array) -> tuple[Array, Any]:
        outputs, modules = inside(run, state, {**batch, column: image}, {layer: added})
        outputs = run.precision.to_outputs(outputs)
        logits = task.logits(outputs)
        best = jnp.argmax(logits, axis=-1) if chosen < 0 else jnp.full(len(logits), chosen)
        # Where two classes share a logit, that of class 0 is always 0: it has the negative.
        scores = logits - logits[:, ::-1] if outputs.ndim == 1 else logits
        shares = _of(best, jax.nn.softmax(logits, axis=-1))
        return jnp.sum(_of(best, scores)), (best, shares, modules[layer])

    like = jax.eval_shape(lambda: inside(run, state, batch)[1][layer])
    gradient = jax.grad(score, argnums=(0, 1), has_aux=True)
    grads, (best, shares, outputs) = gradient(image, jnp.zeros(like.shape, like.dtype))
    by_pixel, by_unit = (grad.astype(jnp.float32) for grad in grads)
    weights = jnp.mean(by_unit, axis=(1, 2), keepdims=True)
    grad_cam = jax.nn.relu(jnp.sum(weights * outputs, axis=-1))
    return best, shares, grad_cam, jnp.max(jnp.abs(by_pixel), axis=-1)


def inside(
    run: RestoredRun, state: State, batch: Batch, added: Mapping[str, Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Outputs of the model, and of its modules by their paths, for a transformed batch.

    Args:
      run: whose model is a Flax module.
      state: whose evaluated parameters are used.
      batch: transformed.
      added: path -> what is added to the outputs of the module there.
    """
    assert run.model.inside is not None
    params, inputs = run.precision.to_compute((state.eval_params, run.task.inputs(batch)))
    return run.model.inside(params, state.model_state, inputs, added or {})


def _of(classes: Array, values: Array) -> Array:
    """The value of a class of each example."""
    return jnp.take_along_axis(values, classes[:, None], axis=1)[:, 0]
