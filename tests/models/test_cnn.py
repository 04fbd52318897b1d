"""The MNIST CNN: its published size, and what its arguments do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models.cnn import MnistCNN


def initial(model, size=28):
    return model.init(jax.random.key(0), jnp.zeros((2, size, size, 1)))


def count(variables):
    return sum(p.size for p in jax.tree.leaves(variables["params"]))


def test_published_number_of_parameters():
    shapes = jax.eval_shape(lambda: initial(MnistCNN()))
    assert count(shapes) == 708_362
    assert sum(s.size for s in jax.tree.leaves(shapes["batch_stats"])) == 2 * (24 + 48 + 64 + 200)


def test_digits_of_8x8():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8, 8, 1)), jnp.float32)
    variables = initial(MnistCNN(), 8)
    assert MnistCNN().apply(variables, x).shape == (5, 10)


def test_every_argument_counts():
    model = MnistCNN(outputs=3, widths=(2, 4), kernels=(3, 5), strides=(2, 1), dense=7, dropout=0)
    expected = 9 * 2 + 2 + 25 * 2 * 4 + 4 + 14 * 14 * 4 * 7 + 7 + 7 * 3 + 3
    assert count(jax.eval_shape(lambda: initial(model))) == expected


def test_dropout_and_batch_statistics_only_in_training():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.float32)
    model = MnistCNN(widths=(4, 4, 4))
    variables = initial(model, 8)
    np.testing.assert_array_equal(model.apply(variables, x), model.apply(variables, x))
    (a, new), (b, _) = (
        model.apply(
            variables,
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(seed)},
        )
        for seed in (0, 1)
    )
    assert jnp.abs(a - b).max() > 0
    changed = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables["batch_stats"], new["batch_stats"]
    )
    assert all(jax.tree.leaves(changed))


def test_momentum_reaches_every_batch_norm():
    x = jnp.ones((4, 8, 8, 1))
    model = MnistCNN(widths=(4, 4, 4), momentum=1.0)
    variables = initial(model, 8)
    _, new = model.apply(
        variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], new["batch_stats"])


def test_uneven_arguments_are_refused():
    with pytest.raises(UserError, match="must have the same length, got 3, 2 and 3"):
        initial(MnistCNN(kernels=(6, 5)))
