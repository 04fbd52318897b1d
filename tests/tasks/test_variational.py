"""The task `variational`, and the variational autoencoder, its model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.figures import FinishedRun
from jaxdl.figures.reconstruction import samples
from jaxdl.models import VAE, functional
from jaxdl.tasks import Variational
from jaxdl.training.state import count

SMALL = (
    "--config.data.twin=true",
    "--config.model.hidden=(32,)",
    "--config.training.epochs=3",
    "--config.training.evaluate_every.epochs=3",
    "--config.optimizer.learning_rate.peak=0.01",
)


@pytest.fixture(scope="module")
def small():
    """A model of 3 numbers, its parameters, and what it is shown."""
    x = jnp.asarray(np.random.default_rng(0).random((6, 2, 2, 1)), jnp.float32)
    model = functional(VAE(code=3, hidden=(5,)))
    return model, *model.init(jax.random.key(1), (x,)), x


def test_the_network_is_kingmas():
    x = jnp.zeros((2, 28, 28, 1))
    params, _ = functional(VAE()).init(jax.random.key(0), (x,))
    assert count(params) == 785 * 500 + 501 * 40 + 21 * 500 + 501 * 784


def test_the_loss_is_what_is_integrated_by_drawing(small):
    """Minus the bound is E[log q(z|x) - log p(z) - log p(x|z)]: here by 4,000 draws of z."""
    model, params, state, x = small
    out, _ = model.apply(params, state, (x,), None, False)
    draws = np.random.default_rng(0).normal(size=(4000, *out["code"].shape))
    log_variance = np.asarray(out["log_variance"])
    z = np.asarray(out["code"]) + np.exp(log_variance / 2) * draws
    log_q, log_p = -(draws**2 + log_variance).sum(-1) / 2, -(z**2).sum(-1) / 2
    parts = Variational().metrics(out, {"image": x})
    np.testing.assert_allclose((log_q - log_p).mean(0), parts["divergence"], atol=0.1)
    chance = np.asarray(jax.nn.sigmoid(out["logits"]))
    bernoulli = -np.log(np.where(x > 0.5, chance, 1 - chance)).reshape(6, -1).sum(1)
    binary = Variational().metrics(out, {"image": (x > 0.5).astype(jnp.float32)})
    np.testing.assert_allclose(binary["cross_entropy"], bernoulli, rtol=1e-5)
    loss = Variational().loss(out, {"image": x})
    np.testing.assert_allclose(loss, parts["cross_entropy"] + parts["divergence"], rtol=1e-6)


def test_codes_are_drawn_in_training_and_the_same_in_every_evaluation(small):
    model, params, state, x = small

    def logits(key, train):
        return model.apply(params, state, (x,), key, train)[0]["logits"]

    np.testing.assert_array_equal(logits(None, False), logits(None, False))
    one, other = (logits(jax.random.key(i), True) for i in (1, 2))
    assert (one != other).any() and (one != logits(None, False)).any()


def test_each_device_takes_its_share_of_the_draws(small):
    model, params, state, x = small

    def share(x):
        return model.apply(params, state, (x,), jax.random.key(3), True)[0]

    whole = share(x)
    parts = jax.vmap(share, axis_name="data")(x.reshape(2, 3, 2, 2, 1))
    for name in whole:
        np.testing.assert_allclose(parts[name].reshape(whole[name].shape), whole[name], rtol=1e-5)


def test_what_is_no_probability_has_no_loss(small):
    model, params, state, x = small
    out, _ = model.apply(params, state, (x,), None, False)
    loss = Variational().loss(out, {"image": x.at[2].add(1).at[4].add(-1)})
    assert np.isnan(loss).tolist() == [False, False, True, False, True, False]


@pytest.mark.slow
def test_a_run_makes_digits(call, tmp_path):
    words = ("train", "--config", "mnist_vae", "--workdir", tmp_path / "run", *SMALL)
    status, out, err = call(*words)
    assert (status, err) == (0, "")
    for name in ("reconstructions", "samples"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5_000
    loss = float(out.split("test/loss ")[-1].split()[0])
    assert 0 < loss < 784 * np.log(2) / 2  # half of what one knows who knows nothing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.transforms=()"], "'image' is uint8, but only floats can be reconstructed"),
        (["model.name=autoencoder"], "config.model: gives no 'log_variance', which the task needs"),
        (["model.code=0"], "hidden and code must be at least 1, got (32, 0)"),
        (["model.activation=elu"], "config.model.activation"),
    ],
)
def test_what_cannot_be_is_one_line(call, words, message):
    overrides = [f"--config.{word}" for word in words]
    status, _, err = call("check", "--config", "mnist_vae", *SMALL, *overrides)
    assert status == 2 and message in err and err.count("\n") <= 2


def test_samples_are_of_what_makes_them(small):
    table = Table({"image": np.asarray(small[-1])})
    made = {"reconstruction": table.columns["image"]}
    parts = Variational(), {"test": table}, ("test",), {}, lambda batch: made
    run = FinishedRun(*parts, lambda steps: {}, {}, {}, [])
    with pytest.raises(UserError, match="'samples' needs a model that makes images, such as 'vae'"):
        samples(run)


def test_the_task_refuses_an_input_of_another_shape(small):
    model, params, state, x = small
    out, _ = model.apply(params, state, (x,), None, False)
    with pytest.raises(UserError, match=r"has shape \[6, 2, 2, 1\], but 'image' has \[6"):
        Variational().loss(out, {"image": x[:, 0]})
