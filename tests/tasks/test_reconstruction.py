"""The task `reconstruction`, and the autoencoder, its model."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdl
from jaxdl.errors import UserError
from jaxdl.models import Autoencoder
from jaxdl.tasks import Reconstruction
from jaxdl.training.state import count

SMALL = (
    "--config.data.twin=true",
    "--config.model.hidden=(32,)",
    "--config.training.epochs=20",
    "--config.optimizer.learning_rate.peak=0.01",
)


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).random(shape), jnp.float32)


def test_the_loss_is_the_squared_error_of_each_example():
    x, y = drawn(4, 3, 3, 1), jnp.full((4, 3, 3, 1), 0.5)
    task = Reconstruction()
    got = task.loss({"reconstruction": y}, {"image": x})
    np.testing.assert_allclose(got, ((x - y) ** 2).reshape(4, -1).sum(1), rtol=1e-6)
    assert task.loss({"reconstruction": x}, {"image": x}).tolist() == [0] * 4


def test_the_network_is_hintons():
    x = drawn(2, 28, 28, 1)
    model = Autoencoder()
    variables = model.init(jax.random.key(0), x)
    layers = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)
    weights = sum((rows + 1) * columns for rows, columns in pairwise(layers))
    assert count(variables["params"]) == weights == 2_837_314
    out = model.apply(variables, x)
    assert out["code"].shape == (2, 30) and out["reconstruction"].shape == x.shape
    assert 0 < out["reconstruction"].min() <= out["reconstruction"].max() < 1
    # The code is linear: it takes both signs, though the layers before it are ReLUs.
    assert (out["code"] < 0).any() and (out["code"] > 0).any()


def test_a_linear_one_cannot_be_better_than_principal_components():
    """And with as many numbers as the input it is exact, once its weights are."""
    x = drawn(5, 6)
    model = Autoencoder(code=6, hidden=(), output="linear")
    eye = {"kernel": jnp.eye(6), "bias": jnp.zeros(6)}
    out = model.apply({"params": {"encoder_0": eye, "decoder_0": eye}}, x)
    np.testing.assert_array_equal(out["reconstruction"], x)
    np.testing.assert_array_equal(out["code"], x)


@pytest.mark.slow
def test_a_run_compresses_digits(call, tmp_path):
    figures = "--config.figures=('reconstructions', 'codes')"
    words = ("train", "--config", "mnist_autoencoder", "--workdir", tmp_path / "run", *SMALL)
    assert call(
        *words, figures, "--config.model.code=2", "--config.training.evaluate_every.epochs=20"
    )[::2] == (0, "")
    for name in ("reconstructions", "codes"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5_000
    run = jaxdl.load(tmp_path / "run")
    images = jaxdl.data.twins.mnist()["test"].columns["image"]
    outputs = run.predict(images)
    assert outputs["code"].shape == (300, 2)
    error = (outputs["reconstruction"] - images / 255.0).reshape(300, -1)
    assert np.mean(np.sum(error**2, 1)) == pytest.approx(run.metrics["test/loss"], rel=1e-4)
    variance = np.sum(np.var(images.reshape(300, -1) / 255.0, axis=0))
    assert run.metrics["test/loss"] < 0.95 * variance  # better than the mean image


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.transforms=()"],
            "'image' is uint8, but only floats can be reconstructed; add dict(",
        ),
        (["task.input=picture"], "no column 'picture'; it has image, label"),
        (["model.name=mlp"], "config.model: gives no 'reconstruction'"),
        (["model.output=relu"], "config.model.output"),
        (["model.activation=gelu"], "config.model.activation"),
        (["model.code=0"], "hidden and code must be at least 1, got (32, 0)"),
        (["model.hidden=(32, 0)"], "must be at least 1, got (32, 0, 30)"),
        (["task.name=classification"], "but config.task needs shape (100, 10)"),
    ],
)
def test_what_cannot_be_is_one_line(call, words, message):
    overrides = [f"--config.{word}" for word in words]
    status, _, err = call("check", "--config", "mnist_autoencoder", *SMALL, *overrides)
    assert status == 2 and message in err and err.count("\n") <= 2


def test_another_shape_is_refused():
    with pytest.raises(UserError, match=r"has shape \[4, 8\], but 'image' has \[4, 9\]"):
        Reconstruction().loss({"reconstruction": drawn(4, 8)}, {"image": drawn(4, 9)})
