"""Kinds of task that are to come, as toys: each fits without a change to loop, step or check."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import Table
from jaxdl.metrics import Mean
from jaxdl.tasks.base import Task


def source(**columns):
    """Two splits of the same columns."""
    return {"train": Table(columns), "test": Table(columns)}


def flat(x):
    return x.reshape(len(x), -1)


def log_likelihood(logits, labels):
    """Of integer labels, an axis fewer than the logits."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0]


# ---- No labels: an autoencoder


def pictures():
    return source(image=np.random.default_rng(0).random((40, 6, 6), np.float32))


class Squeeze(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(36)(nn.relu(nn.Dense(8)(flat(x)))).reshape(x.shape)


class Autoencoder(Task):
    def loss(self, outputs, batch):
        return jnp.sum(jnp.square(outputs - batch["image"]), axis=(1, 2))


# ---- A stochastic model: a variational autoencoder (Kingma & Welling 2014)


class Variational(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        mean, log_var = jnp.split(nn.Dense(8)(flat(x)), 2, -1)
        noise = jax.random.normal(self.make_rng("dropout"), mean.shape) if train else 0
        z = mean + jnp.exp(log_var / 2) * noise
        return {"image": nn.Dense(36)(z).reshape(x.shape), "mean": mean, "log_var": log_var}


class EvidenceLowerBound(Autoencoder):
    def loss(self, outputs, batch):
        mean, log_var = outputs["mean"], outputs["log_var"]
        divergence = jnp.square(mean) + jnp.exp(log_var) - log_var - 1
        return super().loss(outputs["image"], batch) / 2 + jnp.sum(divergence, -1) / 2


# ---- Several outputs: the class and the box of a bright square


def squares(examples=60):
    rng = np.random.default_rng(0)
    image, corner = np.zeros((examples, 8, 8), np.float32), rng.integers(0, 5, (examples, 2))
    side = rng.integers(1, 4, examples)
    for i, (y, x) in enumerate(corner):
        image[i, y : y + side[i], x : x + side[i]] = 1
    box = np.concatenate([corner, corner + side[:, None]], 1).astype(np.float32) / 8
    return source(image=image, box=box, label=(side - 1).astype(np.int32))


class ClassAndBox(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(32)(flat(x)))
        return {"label": nn.Dense(3)(x), "box": nn.Dense(4)(x)}


class Locate(Task):
    def loss(self, outputs, batch):
        distance = jnp.sum(jnp.abs(outputs["box"] - batch["box"]), -1)
        return distance - log_likelihood(outputs["label"], batch["label"])

    def metrics(self, outputs, batch):
        right = jnp.argmax(outputs["label"], -1) == batch["label"]
        return {**super().metrics(outputs, batch), "accuracy": Mean(right.astype(jnp.float32))}

    def predict(self, outputs, batch):
        return {"label": jnp.argmax(outputs["label"], -1), "box": outputs["box"]}


# ---- Two stages: the second looks at one box, in training the true one


class TwoStages(nn.Module):
    @nn.compact
    def __call__(self, image, truth=None):
        box = nn.Dense(4)(nn.relu(nn.Dense(32)(flat(image))))
        look = box if truth is None else truth
        ticks = jnp.arange(8) / 8
        inside = [(ticks >= look[:, i, None]) & (ticks < look[:, i + 2, None]) for i in (0, 1)]
        crop = image * inside[0][:, :, None] * inside[1][:, None, :]
        return {"label": nn.Dense(3)(nn.relu(nn.Dense(16)(flat(crop)))), "box": box}


class LocateInStages(Locate):
    def training_inputs(self, batch):
        return batch["image"], batch["box"]


# ---- Many labels an example: which keys sound in each frame of music


def music(examples=24, time=10, keys=5):
    rng = np.random.default_rng(0)
    roll = rng.random((examples, time, keys)) < 0.3
    length = rng.integers(2, time + 1, examples)
    roll &= np.arange(time)[:, None] < length[:, None, None]
    weight = np.where(np.arange(time) < length[:, None], rng.uniform(0.5, 2, (examples, time)), 0)
    sound = roll + rng.normal(0, 0.1, roll.shape)
    return source(
        sound=sound.astype(np.float32), keys=roll.astype(np.uint8), frames=np.float32(weight)
    )


class Transcriber(nn.Module):
    @nn.compact
    def __call__(self, x, heard):
        lengths = jnp.sum(heard, axis=1)
        return nn.Dense(5)(nn.RNN(nn.GRUCell(8))(x, seq_lengths=lengths))


class Transcribe(Task):
    """A frame counts as much as its weight says; padding has none."""

    def inputs(self, batch):
        return batch["sound"], batch["frames"] > 0

    def weight(self, batch):
        return jnp.sum(batch["frames"], -1)

    def loss(self, outputs, batch):
        sign = 2 * batch["keys"].astype(outputs.dtype) - 1
        return jnp.sum(jax.nn.softplus(-sign * outputs).mean(-1) * batch["frames"], -1)

    def metrics(self, outputs, batch):
        right = ((outputs > 0) == (batch["keys"] > 0)).mean(-1) * batch["frames"]
        weight = self.weight(batch)
        frames = Mean(jnp.sum(right, -1) / weight, weight)
        return {**super().metrics(outputs, batch), "accuracy": frames}


# ---- An agent: the batch is where episodes start, the outputs are what happened


def starts():
    rng = np.random.default_rng(0)
    key = rng.integers(0, 2**32, (64, 2), np.uint32)
    return source(place=rng.integers(-3, 4, 64).astype(np.int32), key=key)


class Walker(nn.Module):
    """Walks on a line of nine places by a policy, and is rewarded at its middle."""

    @nn.compact
    def __call__(self, place, key):
        policy = nn.Dense(3)

        def step(policy, place, noise):
            logits = policy(jax.nn.one_hot(place + 4, 9))
            action = jnp.argmax(logits + noise, -1)
            place = jnp.clip(place + action - 1, -4, 4)
            return place, {
                "log_p": log_likelihood(logits, action),
                "reward": (place == 0).astype(logits.dtype),
            }

        keys = jax.vmap(jax.random.wrap_key_data)(key)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, (6, 3)))(keys)
        scan = nn.scan(
            step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1
        )
        return scan(policy, place, noise)[1]


class PolicyGradient(Task):
    """Rewards to go, times the gradient of the log probability (Williams 1992)."""

    def inputs(self, batch):
        return batch["place"], batch["key"]

    def loss(self, outputs, batch):
        to_go = jnp.cumsum(outputs["reward"][:, ::-1], axis=1)[:, ::-1]
        return -jnp.sum(outputs["log_p"] * jax.lax.stop_gradient(to_go - jnp.mean(to_go, 0)), 1)

    def metrics(self, outputs, batch):
        return {"reward": Mean(jnp.mean(outputs["reward"], 1))}


# ---- All of them


class Toy:
    """A source, a model and a task of this file; and which metric must pass which value."""

    def __init__(self, source, model, task, metric, *, below=None, above=None):
        names = (source.__name__, model.__name__, task.__name__)
        self.names = [f"{__name__}:{name}" for name in names]
        self.metric, self.below, self.above = metric, below, above

    def config(self):
        data, model, task = self.names
        return {
            "data": {"source": data},
            "model": {"name": model},
            "task": {"name": task},
            "optimizer": {"name": "adam", "learning_rate": 0.01},
            "training": {"batch_size": 20, "steps": 150, "eval_batch_size": 16},
        }

    def learnt(self, value):
        return value < self.below if self.above is None else value > self.above


TOYS = {
    "autoencoder": Toy(pictures, Squeeze, Autoencoder, "loss", below=2.8),
    "variational": Toy(pictures, Variational, EvidenceLowerBound, "loss", below=2.5),
    "class_and_box": Toy(squares, ClassAndBox, Locate, "accuracy", above=0.9),
    "two_stages": Toy(squares, TwoStages, LocateInStages, "accuracy", above=0.6),
    "music": Toy(music, Transcriber, Transcribe, "accuracy", above=0.9),
    "agent": Toy(starts, Walker, PolicyGradient, "reward", above=0.4),
}


# Music has become a task, with a run of its own among the quick tests.
KINDS = [pytest.param(n, marks=pytest.mark.slow) if n == "music" else n for n in TOYS]


@pytest.mark.parametrize("name", KINDS)
def test_kind(name, call, tmp_path):
    toy, workdir = TOYS[name], tmp_path / "run"
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {toy.config()!r}\n")
    status, out, err = call("check", "--config", tmp_path / "config.py")
    assert (status, err) == (0, "") and "the train step and evaluation of test fit" in out
    assert call("train", "--config", tmp_path / "config.py", "--workdir", workdir)[::2] == (0, "")
    metrics = json.loads((workdir / "result.json").read_text())["metrics"]
    value = metrics[f"test/{toy.metric}"]
    assert toy.learnt(value), f"{toy.metric} {value}"

    trust = ("--trust", __name__)
    status, out, err = call("evaluate", "--workdir", workdir, *trust)
    assert (status, err) == (0, "") and f"{value:.6g}" in out
    assert call("export", "--workdir", workdir, "--output", tmp_path / "out", *trust)[0] == 0
