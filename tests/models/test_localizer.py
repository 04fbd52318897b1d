"""A classifier with a second head, for the box."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import MODELS, functional
from jaxdl.models.localizer import Localizer

CNN = {"name": "mnist_cnn", "widths": (3, 4), "kernels": (3, 3), "strides": (2, 2), "dense": 5}
CLASSIFIERS = {
    "alexnet": ({"hidden": 8}, 64),
    "cifar_resnet": ({"depth": 8, "remat": True}, 16),
    "googlenet": ({"batch_norm": True}, 32),
    "mnist_cnn": ({}, 16),
    "resnet": ({"depth": 18}, 32),
    "vgg": ({"depth": 11, "hidden": 8}, 32),
}


def shapes(size=16, train=False, **fields):
    """The shapes of the outputs for two images, and of the parameters."""
    model = functional(Localizer(**{"classes": 7, "hidden": 6, **fields}))

    def outputs(x, key):
        params, state = model.init(key, (x,))
        return model.apply(params, state, (x,), key, train)[0], params

    x = jnp.zeros((2, size, size, 3))
    located, params = jax.eval_shape(outputs, x, jax.random.key(0))
    return located.logits.shape, located.boxes.shape, params


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_any_classifier_is_a_trunk(name):
    fields, size = CLASSIFIERS[name]
    logits, boxes, params = shapes(size, trunk={"name": name, **fields}, per_class=True)
    assert (logits, boxes) == ((2, 7), (2, 7, 4)) and {*params} == {"trunk", "box"}


def test_a_classifier_may_have_several_heads_in_training():
    trunk = {"name": "googlenet", "batch_norm": True}
    assert shapes(32, train=True, trunk=trunk)[:2] == ((2, 3, 7), (2, 1, 4))


@pytest.fixture(scope="module")
def trained():
    """A localiser, its parameters, images, and its outputs."""
    model = functional(Localizer(7, CNN, hidden=6))
    x = jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
    params, state = model.init(jax.random.key(0), (x,))
    return params, state, x, model.apply(params, state, (x,), None, False)[0]


def test_the_classifier_is_as_it_is_alone(trained):
    params, state, x, located = trained
    alone = functional(MODELS["mnist_cnn"](7, **{k: v for k, v in CNN.items() if k != "name"}))
    own = {name: inner["trunk"] for name, inner in state.items()}
    logits, _ = alone.apply(params["trunk"], own, (x,), None, False)
    np.testing.assert_array_equal(logits, located.logits)


def test_a_box_starts_as_the_whole_image(trained):
    np.testing.assert_allclose(trained[3].boxes, np.tile([0.0, 0, 1, 1], (2, 1, 1)), atol=1e-6)


def test_boxes_are_of_the_named_features(trained):
    """Of the first convolution, which has twice as many rows and columns as the last."""
    params, state, x, _ = trained
    first = Localizer(7, CNN, features="BatchNorm_0", hidden=6, grid=8)
    params = first.init(jax.random.key(0), x)["params"]
    assert params["box"]["0"]["kernel"].shape == (8 * 8 * 3, 6)
    last = Localizer(7, CNN, hidden=6, grid=4).init(jax.random.key(0), x)["params"]
    assert last["box"]["0"]["kernel"].shape == (4 * 4 * 4, 6)


class Pair(nn.Module):
    """A model that is no classifier."""

    @nn.compact
    def __call__(self, x):
        return x, x


def not_a_module():
    """A function in place of a module."""


WRONG = [
    ({"trunk": {"name": "resnt"}}, ("config.model.trunk.name", "did you mean 'resnet'?")),
    ({"trunk": {"depth": 18}}, ("config.model.trunk.name: missing", "resnet")),
    ({"trunk": {"name": "resnet", "dept": 18}}, ("config.model.trunk.dept: unknown", "'depth'")),
    ({"trunk": {"name": "resnet", "depth": 20}}, ("config.model.trunk.depth: expected 18 or 34", "got 20")),
    ({"trunk": {"name": "mlp"}}, ("config.model.trunk", "none of its modules gives features")),
    ({"trunk": {**CNN, "outputs": 3}}, ("expected logits (batch, 7), got shape (2, 3)",)),
    ({"trunk": {"name": f"{__name__}:Pair"}}, ("expected logits (batch, 7), got tuple",)),
    ({"trunk": {"name": f"{__name__}:not_a_module"}}, ("is not a Flax module",)),
    ({"trunk": CNN, "features": "layer4"}, ("config.model.features", "no module 'layer4'")),
    ({"trunk": CNN, "features": "Dense_0"}, ("'Dense_0' gives shape (2, 5), not a feature map",)),
    ({"trunk": CNN, "grid": 0}, ("config.model.grid: at least 1, got 0",)),
    ({"trunk": CNN, "dropout": 1.0}, ("probability to drop", "got 1.0")),
]


@pytest.mark.parametrize(("fields", "fragments"), WRONG)
def test_refuses(refuses, fields, fragments):
    with refuses(*fragments):
        shapes(**fields)


def test_refuses_images_that_the_trunk_refuses(refuses):
    model = functional(Localizer(7, {"name": "alexnet"}))
    with refuses("takes images of at least 63x63", "got 16x16"):
        model.init(jax.random.key(0), (jnp.zeros((2, 16, 16, 3)),))
