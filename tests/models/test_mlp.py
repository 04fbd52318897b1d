"""Multi-layer perceptrons against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models import MLP
from jaxdl.training.state import count

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)), jnp.float32)
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def started(model):
    return model.init(jax.random.key(0), X)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_numpys(activation):
    model = MLP(outputs=4, hidden=(7, 6), activation=activation, hidden_bias=0.1)
    variables = started(model)
    x, layers = X.reshape(5, -1), variables["params"]
    for name in ("Dense_0", "Dense_1"):
        x = ACTIVATIONS[activation](x @ layers[name]["kernel"] + layers[name]["bias"])
    expected = x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"]
    np.testing.assert_allclose(model.apply(variables, X), expected, rtol=1e-4, atol=1e-5)


def test_no_outputs_is_one_number_an_example():
    model = MLP(outputs=None)
    variables = started(model)
    assert model.apply(variables, X).shape == (5,)
    assert count(variables["params"]) == 7


def test_what_parameters_start_from():
    layers = started(MLP(outputs=300, hidden=(400,), kernel_std=0.1, hidden_bias=0.25))["params"]
    kernel = np.asarray(layers["Dense_1"]["kernel"])
    assert abs(kernel).max() <= 0.2 + 1e-6  # cut at 2σ
    assert kernel.std() == pytest.approx(0.08796, rel=0.02)  # which narrows it, as TensorFlow's
    assert (layers["Dense_0"]["bias"] == 0.25).all() and not layers["Dense_1"]["bias"].any()
    assert not started(MLP(outputs=3, kernel_std=0.0))["params"]["Dense_0"]["kernel"].any()


def test_goerners_network_has_185300_parameters():
    model = MLP(outputs=10, hidden=(200, 100, 60, 30))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert count(shapes["params"]) == 185_300


def test_dropout_is_for_training_and_keeps_the_mean():
    model = MLP(outputs=1, hidden=(4000,), dropout=0.25, kernel_std=0.1, hidden_bias=1.0)
    variables = started(model)
    plain = model.apply(variables, X)
    outputs = [
        model.apply(variables, X, train=True, rngs={"dropout": jax.random.key(i)})
        for i in (1, 1, 2)
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert abs(outputs[0] - outputs[2]).min() > 1e-3
    np.testing.assert_array_equal(model.apply(variables, X, train=False), plain)
    hidden = np.array([np.asarray(y - plain) for y in outputs])
    assert abs(hidden).max() < 6 * 0.1 * (4000 / 3) ** 0.5 * 2  # σ of what is dropped, √(1/3) each


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_a_dropout_that_is_no_probability_is_refused(dropout):
    with pytest.raises(UserError, match=r"config.model.dropout: must be in"):
        started(MLP(outputs=1, hidden=(2,), dropout=dropout))
