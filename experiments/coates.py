"""Features that k-means finds in patches, and a linear SVM on them: CIFAR-10 without a deep net.

    python experiments/coates.py [--centroids 1600] [--coding triangle] [--examples N] [--twin]

Coates, Lee and Ng (2011), "An Analysis of Single-Layer Networks in Unsupervised Feature Learning":
patches of 6x6 pixels are normalised and whitened, k-means finds centroids among them, and an image
is described by how near each of its patches is to each centroid, summed over its quadrants. They
reached 77.9 % with 1,600 centroids, 68.6 % where a patch has its nearest centroid alone ('hard'),
and 79.6 % with 4,000. The constants of normalising and whitening are of Coates and Ng (2012).

Features that do not change are computed once, 16 TFLOP for 1,600 centroids, not in each epoch; so
they are no layers of a config, and the SVM is a task of its own for jaxdl's step. SVMs of several
weight decays are trained side by side; the last fifth of the training images decides among them,
and the chosen one is trained again on all. The test split is looked at once, and all of it counts.
`--examples` takes the first so many training images.
"""

import argparse
import time
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arguments import count, in_one_line, seed

import jaxdl
from jaxdl import data
from jaxdl.errors import UserError
from jaxdl.models import MLP
from jaxdl.terminal import say

_SIDE = 6  # pixels of a patch
_CONTRAST, _WHITENING = 10.0, 0.1  # added to the variance of a patch, of a principal component
_DECAYS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_BATCH = 500


class Dictionary(NamedTuple):
    """What patches are described by; a patch has `size` = 6·6·3 numbers.

    Attributes:
      mean: of the normalised patches, (size,).
      whitening: symmetric, (size, size): ZCA.
      centroids: of the whitened patches, (centroids, size).
    """

    mean: jax.Array
    whitening: jax.Array
    centroids: jax.Array


def patches(image: jax.Array) -> jax.Array:
    """(height, width, 3) -> (places, size), each of mean 0 and about unit variance."""
    height, width = image.shape[0] - _SIDE + 1, image.shape[1] - _SIDE + 1
    x = image.astype(jnp.float32)
    shifted = [x[i : i + height, j : j + width] for i in range(_SIDE) for j in range(_SIDE)]
    x = jnp.concatenate(shifted, axis=-1).reshape(height * width, -1)
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + _CONTRAST)


def draw(images: np.ndarray, count: int, seed: int) -> jax.Array:
    """Patches at random places of random images, (count, size)."""
    rng = np.random.default_rng(seed)
    n, y, x = (
        rng.integers(0, most, (count, 1, 1))
        for most in (len(images), images.shape[1] - _SIDE + 1, images.shape[2] - _SIDE + 1)
    )
    within = np.arange(_SIDE)
    return jax.jit(jax.vmap(patches))(images[n, y + within[:, None], x + within])[:, 0]


@jax.jit
def zca(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean of patches (count, size), and the whitening that turns them least."""
    mean = x.mean(0)
    variances, components = jnp.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    return mean, (components / jnp.sqrt(variances + _WHITENING)) @ components.T


def k_means(x: jax.Array, centroids: jax.Array, iterations: int) -> jax.Array:
    """Lloyd's algorithm; a centroid to which no patch is nearest stays where it is."""

    @jax.jit
    def iterate(centroids: jax.Array) -> jax.Array:
        half = jnp.sum(centroids**2, -1) / 2
        nearest = jax.lax.map(
            lambda each: jnp.argmin(half - each @ centroids.T), x, batch_size=1000
        )
        count = jnp.zeros(len(centroids)).at[nearest].add(1)[:, None]
        total = jnp.zeros_like(centroids).at[nearest].add(x)
        return jnp.where(count > 0, total / jnp.maximum(count, 1), centroids)

    for _ in range(iterations):
        centroids = iterate(centroids)
    return centroids


def fit(images: np.ndarray, centroids: int, count: int, iterations: int, seed: int) -> Dictionary:
    """The dictionary of images (N, height, width, 3), from `count` of their patches."""
    mean, whitening = zca(x := draw(images, count, seed))
    x = (x - mean) @ whitening
    return Dictionary(mean, whitening, k_means(x, x[:centroids], iterations))


def triangle(distance: jax.Array) -> jax.Array:
    """How much nearer than the mean of all centroids each is, or 0 (section 3.2.2)."""
    return jax.nn.relu(distance.mean(-1, keepdims=True) - distance)


def hard(distance: jax.Array) -> jax.Array:
    """1 for the nearest centroid, 0 for the others."""
    return jax.nn.one_hot(distance.argmin(-1), distance.shape[-1])


CODINGS = {"triangle": triangle, "hard": hard}


def describe(dictionary: Dictionary, image: jax.Array, coding: str) -> jax.Array:
    """(height, width, 3) -> (4·centroids,): the codes of all patches, summed over quadrants."""
    x = (patches(image) - dictionary.mean) @ dictionary.whitening
    square = jnp.sum(x**2, -1, keepdims=True) + jnp.sum(dictionary.centroids**2, -1)
    distance = jnp.sqrt(jnp.maximum(square - 2 * x @ dictionary.centroids.T, 0))
    # Sums over quadrants are a product of matrices: (4, places) of zeros and ones, with the codes.
    halves = [jnp.arange(side - _SIDE + 1) * 2 >= side - _SIDE + 1 for side in image.shape[:2]]
    rows, columns = (jnp.stack([~half, half]).astype(jnp.float32) for half in halves)
    return (jnp.kron(rows, columns) @ CODINGS[coding](distance)).reshape(-1)


def features(dictionary: Dictionary, images: np.ndarray, coding: str) -> np.ndarray:
    """(N, height, width, 3) uint8 -> (N, 4·centroids) float32."""
    # One image at a time: the distances of one stay in a core's cache.
    several = jax.jit(lambda part: jax.lax.map(lambda x: describe(dictionary, x, coding), part))
    found = np.empty((len(images), 4 * len(dictionary.centroids)), np.float32)
    for start in range(0, len(images), _BATCH):
        found[start : start + _BATCH] = several(images[start : start + _BATCH])
    return found


def standardize(train: np.ndarray, test: np.ndarray) -> None:
    """In place, by the mean and variance of each feature of the training images."""
    mean, scale = train.mean(0), np.sqrt(train.var(0) + 0.01)
    for x in (train, test):
        x -= mean
        x /= scale


@dataclass(frozen=True)
class SVM(jaxdl.Task):
    """One linear SVM for each class against all others: the squared hinge loss of each example."""

    input = "features"

    def loss(self, outputs, batch):
        signs = 2 * jax.nn.one_hot(batch["label"], outputs.shape[-1]) - 1
        # From the mean of the signs, which small steps would take long to come to.
        margins = signs * (outputs + signs.mean(-1, keepdims=True))
        return jnp.sum(jax.nn.relu(1 - margins) ** 2, axis=-1)

    def metrics(self, outputs, batch):
        return {"accuracy": outputs.argmax(-1) == batch["label"]}


def train_svms(
    train: data.Table, held_out: data.Table, decays: tuple[float, ...], epochs: int, seed: int
) -> np.ndarray:
    """The accuracy on `held_out` of SVMs of several weight decays, trained side by side."""
    order = jaxdl.ShuffledEpochs(len(train), min(_BATCH, len(train)), seed)
    steps = int(epochs * order.steps_per_epoch)
    inputs, classes = train.columns["features"].shape[1], len(train.classes)
    rate = optax.cosine_decay_schedule(10 / inputs, steps)

    def optimizer(decay: jax.Array | float) -> optax.GradientTransformation:
        decayed = optax.inject_hyperparams(optax.add_decayed_weights)(decay)
        return optax.chain(decayed, optax.adam(rate))

    model, task = jaxdl.functional(MLP(outputs=classes, kernel_std=0.0)), SVM()
    first = train[order.rows(0)]
    states = jax.vmap(lambda decay: jaxdl.init(model, task, optimizer(decay), first, seed))(
        jnp.array(decays)
    )
    step = jaxdl.jit(jax.vmap(jaxdl.make_step(model, task, optimizer(0.0)), (0, None)))
    for t in range(steps):
        states, summary = step(states, train[order.rows(t)])
        if (t + 1) % max(1, steps // 5) == 0:
            losses = " ".join(f"{loss:.4f}" for loss in np.asarray(summary["loss"]))
            say(f"  step {t + 1:,}/{steps:,}  loss {losses}")
    evaluation = jaxdl.jit(jaxdl.make_evaluation(model, task))
    members = [jax.tree.map(lambda x, i=i: x[i], states) for i in range(len(decays))]
    return np.array([jaxdl.evaluate(evaluation, task, s, held_out)["accuracy"] for s in members])


def main(options: argparse.Namespace) -> None:
    if options.examples is not None and options.examples < 10:
        raise UserError(f"--examples {options.examples}: a fifth decides; give at least 10")
    if options.centroids > options.patches:
        raise UserError(
            f"--patches {options.patches:,}: fewer than the {options.centroids:,} centroids that "
            "k-means is to find among them; give more"
        )
    columns = ("image", "label")
    splits = data.load("tfds", dataset="cifar10", columns=columns, twin=options.twin)
    rows = {"train": slice(options.examples), "test": slice(None)}
    images, label = (
        {role: splits[role].columns[name][rows[role]] for role in rows} for name in columns
    )
    began = time.perf_counter()

    def told(what: str) -> None:
        say(f"{what}, {time.perf_counter() - began:.0f} s")

    dictionary = fit(
        images["train"], options.centroids, options.patches, options.iterations, options.seed
    )
    told(f"{options.centroids:,} centroids of {options.patches:,} patches")
    x = {role: features(dictionary, images[role], options.coding) for role in images}
    standardize(x["train"], x["test"])
    told(f"{x['train'].shape[1]:,} features of {len(x['train']):,} training images")

    def table(role: str, rows: slice = slice(None)) -> data.Table:
        columns = {"features": x[role][rows], "label": label[role][rows]}
        return data.Table(columns, splits[role].where, splits[role].classes)

    cut = len(x["train"]) * 4 // 5
    part, validation = table("train", slice(cut)), table("train", slice(cut, None))
    shares = train_svms(part, validation, _DECAYS, options.epochs, options.seed)
    for decay, share in zip(_DECAYS, shares, strict=True):
        say(f"weight decay {decay:g}   validation/accuracy {share:.4f}")
    best = _DECAYS[int(shares.argmax())]
    told("chosen")
    (share,) = train_svms(table("train"), table("test"), (best,), options.epochs, options.seed)
    told(f"{options.coding}, weight decay {best:g}")
    say(f"test/accuracy {share:.4f}   over {len(x['test']):,}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--centroids", type=count, default=1600)
    parser.add_argument("--coding", choices=CODINGS, default="triangle")
    parser.add_argument("--examples", type=count, help="training images at most; by default all")
    parser.add_argument("--patches", type=count, default=250_000, help="that k-means sees")
    parser.add_argument("--iterations", type=count, default=15, help="of k-means")
    parser.add_argument("--epochs", type=count, default=50, help="of the SVMs")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--twin", action="store_true", help="on the twin, offline")
    options = parser.parse_args()
    with in_one_line(parser):
        main(options)
