"""Every model takes NumPy's arrays as it takes JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import MODELS, functional

RNG = np.random.default_rng(0)
TOKENS = np.array([[3, 1, 2, 4], [5, 2, 0, 0]], np.uint8)  # padded: some models mask
WORDS = {"vocabulary": 6, "hidden": 4}


def image(*shape):
    return RNG.normal(size=(2, *shape)).astype(np.float32)


CASES = {
    "actor_critic": ({"environment": {"name": "cartpole"}}, [np.array([7, 8], np.uint32)]),
    "airbench": ({}, [image(32, 32, 3)]),
    "alexnet": ({}, [image(224, 224, 3)]),
    "alexnet_grouped": ({}, [image(224, 224, 3)]),
    "autoencoder": ({"hidden": (3,), "code": 2}, [image(4, 4, 1)]),
    "captioner": (WORDS, [image(16, 16, 3), TOKENS]),
    "cifar_resnet": ({"depth": 8}, [image(32, 32, 3)]),
    "deep_tesla": ({}, [image(66, 200, 3)]),
    "detector": ({"classes": 2, "depth": 18}, [image(64, 64, 3)]),
    "encoder_decoder": (WORDS | {"source_vocabulary": 6, "embedding": 3}, [TOKENS, TOKENS]),
    "faster_rcnn": (
        {"classes": 2, "depth": 18, "channels": 8},
        [image(64, 64, 3), np.full((2, 2), 64 * 256, np.int32)],
    ),
    "googlenet": ({}, [image(224, 224, 3)]),
    "language_model": (WORDS, [TOKENS]),
    "localizer": (
        {"classes": 3, "trunk": {"name": "mnist_cnn", "outputs": 3}},
        [image(28, 28, 1)],
    ),
    "mlp": ({"outputs": 3}, [image(4, 4, 1)]),
    "mnist_cnn": ({}, [image(28, 28, 1)]),
    "motion_lstm": ({}, [image(2, 32, 32, 3)]),
    "piano_roll_model": ({"hidden": 4}, [np.ones((2, 3, 88), np.uint8)]),
    "pilotnet": ({}, [image(66, 200, 3)]),
    "pilotnet_lstm": ({}, [image(2, 66, 200, 3)]),
    "polynomial": ({"order": 2}, [image()]),
    "resnet": ({"depth": 18}, [image(32, 32, 3)]),
    "sequence_classifier": ({"outputs": 3, "bidirectional": True} | WORDS, [TOKENS]),
    "vae": ({"hidden": (3,), "code": 2}, [image(4, 4, 1)]),
    "vgg": ({"depth": 11}, [image(32, 32, 3)]),
}
WRITERS = {"captioner", "encoder_decoder", "language_model", "piano_roll_model"}


def test_every_model_is_tried():
    assert set(CASES) == set(MODELS)


def everything(name, inputs):
    """What a model makes of its inputs in all that it can do, of parameters of its own."""
    arguments, _ = CASES[name]
    model, key = functional(MODELS[name](**arguments)), jax.random.key(0)
    params, variables = model.init(key, inputs)
    made = [model.apply(params, variables, inputs, key, train)[0] for train in (False, True)]
    if name not in WRITERS:
        return made
    *conditions, tokens = inputs
    carry = model.initialize_carry(params, variables, len(tokens), tuple(conditions))
    return [*made, model.decode(params, variables, carry, tokens, key, False)]


@pytest.mark.parametrize("name", CASES)
def test_numpy_arrays_are_traced(name):
    """As of a batch that a compiled function closes over."""
    inputs = tuple(CASES[name][1])
    expected = jax.eval_shape(lambda *inputs: everything(name, inputs), *inputs)
    assert jax.eval_shape(lambda: everything(name, inputs)) == expected


@pytest.mark.parametrize("name", [*sorted(WRITERS), "mlp", "sequence_classifier"])
def test_numpy_arrays_give_the_same_numbers(name):
    inputs = tuple(CASES[name][1])
    expected = everything(name, jax.tree.map(jnp.asarray, inputs))
    jax.tree.map(np.testing.assert_array_equal, everything(name, inputs), expected)
