"""The network that races to 94 % on CIFAR-10."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data
from jaxdl.errors import UserError
from jaxdl.models import Airbench
from jaxdl.models.airbench import identity_first, whitening


def patches(images):
    """Every 2x2 patch, (patches, 12)."""
    return np.concatenate(
        [images[:, i : i + 31, j : j + 31].reshape(-1, 3) for i in (0, 1) for j in (0, 1)], 1
    )


def test_whitening_whitens(tfds_dir):
    splits = data.load(
        "tfds", dataset="cifar10", columns=("image",), train="train[:2000]", test=None, cache=False
    )
    x = (splits["train"].columns["image"] - np.array([125.3, 123.0, 113.9])) / np.array(
        [63.0, 62.1, 66.7]
    )
    kernel = whitening().reshape(12, 24).astype(np.float64)
    np.testing.assert_allclose(kernel[:, :12], -kernel[:, 12:])
    covariance = np.cov((patches(x) @ kernel[:, :12]).T)
    assert np.all((np.diag(covariance) > 0.5) & (np.diag(covariance) < 1.2))
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.3


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (4, 4), (5, 3)])
def test_identity_first(inputs, outputs):
    kernel = identity_first(jax.random.key(0), (3, 3, inputs, outputs))
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, inputs))
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    kept = min(inputs, outputs)
    np.testing.assert_allclose(y[..., :kept], x[..., :kept], atol=1e-5)
    bound = 1 / np.sqrt(9 * inputs)
    assert jnp.abs(kernel[..., kept:]).max(initial=0) <= bound


def test_parameters_and_shapes():
    shapes = jax.eval_shape(
        lambda x: Airbench().init(jax.random.key(0), x), jnp.zeros((2, 32, 32, 3))
    )
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    biases = 24 + 2 * (64 + 256 + 256)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == 2 * 2 * 3 * 24 + convolutions + biases + 2560


def test_small_images_are_refused():
    with pytest.raises(UserError, match="images of at least 25x25 pixels, got 16x16"):
        Airbench().init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
