"""A classifier with a second head, for the box."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import MODELS, functional
from jaxdl.models.localizer import Localizer

CNN = {"name": "mnist_cnn", "widths": (3, 4), "kernels": (3, 3), "strides": (2, 2), "dense": 5}
SLOW = pytest.mark.slow
CLASSIFIERS = [
    ({"name": "alexnet", "hidden": 8}, 64),
    ({"name": "cifar_resnet", "depth": 8, "remat": True}, 16),
    pytest.param({"name": "alexnet_grouped"}, 64, marks=SLOW),
    pytest.param({"name": "airbench"}, 32, marks=SLOW),
    pytest.param({"name": "googlenet", "batch_norm": True}, 32, marks=SLOW),
    pytest.param({"name": "resnet", "depth": 18, "preactivation": True}, 32, marks=SLOW),
    pytest.param({"name": "vgg", "depth": 11, "hidden": 8}, 32, marks=SLOW),
]


def shapes(size=16, train=False, **fields):
    """The shapes of the outputs for two images, and of the parameters."""
    model = functional(Localizer(**{"classes": 7, "hidden": 6, **fields}))

    def outputs(x, key):
        params, state = model.init(key, (x,))
        return model.apply(params, state, (x,), key, train)[0], params

    x = jnp.zeros((2, size, size, 3))
    located, params = jax.eval_shape(outputs, x, jax.random.key(0))
    return located.logits.shape, located.boxes.shape, params


@pytest.mark.parametrize(("trunk", "size"), CLASSIFIERS)
def test_any_classifier_is_a_trunk(trunk, size):
    logits, boxes, params = shapes(size, trunk=trunk, per_class=True)
    assert (logits, boxes) == ((2, 7), (2, 7, 4)) and {*params} == {"trunk", "box"}


class Headed(nn.Module):
    """A classifier with two heads in training."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(7)(nn.Conv(5, (3, 3))(x)[:, 0, 0])
        return jnp.stack([x, x], 1) if train else x


def test_a_classifier_may_have_several_heads_in_training():
    trunk = {"name": f"{__name__}:Headed"}
    assert shapes(train=True, trunk=trunk)[:2] == ((2, 2, 7), (2, 1, 4))
    assert shapes(trunk=trunk)[:2] == ((2, 7), (2, 1, 4))


@pytest.fixture(scope="module")
def trained():
    """A localiser, its parameters, images, and its outputs."""
    model = functional(Localizer(7, CNN, hidden=6))
    x = jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
    params, state = jax.jit(model.init)(jax.random.key(0), (x,))
    return params, state, x, located(model, params, state, x)


def located(model, params, state, x):
    """The outputs, compiled at once."""
    return jax.jit(lambda *arrays: model.apply(*arrays, (x,), None, False)[0])(params, state)


def test_the_classifier_is_as_it_is_alone(trained):
    params, state, x, outputs = trained
    alone = functional(MODELS["mnist_cnn"](7, **{k: v for k, v in CNN.items() if k != "name"}))
    own = {name: inner["trunk"] for name, inner in state.items()}
    logits = located(alone, params["trunk"], own, x)
    np.testing.assert_allclose(logits, outputs.logits, rtol=1e-6)


def test_a_box_starts_as_the_whole_image(trained):
    np.testing.assert_allclose(trained[3].boxes, np.tile([0.0, 0, 1, 1], (2, 1, 1)), atol=1e-6)


def test_boxes_are_of_the_named_features():
    """Of the first convolution, which has another number of channels than the last."""
    for features, channels in (("BatchNorm_0", 3), (None, 4)):
        params = shapes(trunk=CNN, features=features, grid=5)[2]
        assert params["box"]["0"]["kernel"].shape == (5 * 5 * channels, 6)


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
    (
        {"trunk": {"name": "resnet", "depth": 20}},
        ("config.model.trunk.depth: expected 18 or 34", "got 20"),
    ),
    ({"trunk": {"name": "mlp"}}, ("config.model.trunk", "none of its modules gives features")),
    ({"trunk": {**CNN, "outputs": 3}}, ("expected logits (batch, 7), got shape (2, 3)",)),
    ({"trunk": {"name": f"{__name__}:Pair"}}, ("expected logits (batch, 7), got tuple",)),
    ({"trunk": {"name": f"{__name__}:not_a_module"}}, ("is not a Flax module",)),
    (
        {"trunk": CNN, "features": "layer4"},
        ("config.model.features", "no module 'layer4'", "BatchNorm_1"),
    ),
    ({"trunk": CNN, "features": "Dense_0"}, ("'Dense_0' gives shape (2, 5), not a feature map",)),
    ({"trunk": CNN, "grid": 0}, ("config.model.grid: at least 1, got 0",)),
    ({"trunk": CNN, "dropout": 1.0}, ("dropout probability", "got 1.0")),
]


@pytest.mark.parametrize(("fields", "fragments"), WRONG)
def test_refuses(refuses, fields, fragments):
    with refuses(*fragments):
        shapes(**fields)


def test_refuses_images_that_the_trunk_refuses(refuses):
    model = functional(Localizer(7, {"name": "alexnet"}))
    with refuses("takes images of at least 63x63", "got 16x16"):
        model.init(jax.random.key(0), (jnp.zeros((2, 16, 16, 3)),))
