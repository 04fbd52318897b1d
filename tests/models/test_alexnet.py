"""AlexNet, single and in halves: their published sizes, and what their arguments do."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import applied, layers, made, multiply_adds, parameters, paths

from jaxdl.errors import UserError
from jaxdl.models import AlexNet, AlexNetGrouped


def test_published_sizes():
    assert parameters(AlexNet()) == 61_100_840
    assert round(multiply_adds(AlexNet()), 2) == 0.71
    assert parameters(AlexNetGrouped()) == 60_965_224


def test_neurons_of_the_paper():
    assert sum(math.prod(y) for _, y in layers(AlexNetGrouped()).values()) == 659_272


def test_layers_of_the_paper():
    found = layers(AlexNetGrouped())
    assert found == {
        "conv1": ((11, 11, 3, 96), (55, 55, 96)),
        "conv2": ((5, 5, 48, 256), (27, 27, 256)),
        "conv3": ((3, 3, 256, 384), (13, 13, 384)),
        "conv4": ((3, 3, 192, 384), (13, 13, 384)),
        "conv5": ((3, 3, 192, 256), (13, 13, 256)),
        "fc6": ((9216, 4096), (4096,)),
        "fc7": ((4096, 4096), (4096,)),
        "fc8": ((4096, 1000), (1000,)),
    }


def test_torchvisions_names():
    names = {f"features/{i}" for i in (0, 3, 6, 8, 10)} | {f"classifier/{i}" for i in (1, 4, 6)}
    assert paths(AlexNet()) == {f"params/{n}/{leaf}" for n in names for leaf in ("kernel", "bias")}


@pytest.mark.parametrize("model", [AlexNet(), AlexNetGrouped()])
def test_any_image_size_that_leaves_a_pixel(model):
    assert parameters(model, 63) == parameters(model)
    with pytest.raises(UserError, match="at least 63x63 pixels, got 62x62"):
        made(model, 62)


def test_start_of_the_paper():
    """N(0, 0.01), and ones where units are to begin on the linear side of their ReLU."""
    starts = {}

    def watch(call, args, kwargs, context):
        if isinstance(module := context.module, nn.Conv | nn.Dense):
            starts[module.name] = module.kernel_init, module.bias_init
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        jax.eval_shape(AlexNetGrouped().init, jax.random.key(0), jnp.zeros((1, 63, 63, 3)))
    for name, (kernel, bias) in starts.items():
        drawn = kernel(jax.random.key(1), (100, 100), jnp.float32)
        assert abs(drawn.mean()) < 0.0005 and abs(drawn.std() - 0.01) < 0.0005
        ones = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        np.testing.assert_array_equal(bias(jax.random.key(1), (3,), jnp.float32), float(ones))


def test_dropout_only_in_training():
    single, grouped = AlexNet(dropout=0.25), AlexNetGrouped(dropout=0.25)
    assert applied(single, train=True) == ((1000,), [(0.25, (9216,)), (0.25, (4096,))])
    assert applied(grouped, train=True) == ((1000,), [(0.25, (4096,)), (0.25, (4096,))])
    assert applied(single, train=False) == applied(grouped, train=False) == ((1000,), [])
