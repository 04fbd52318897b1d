"""Features that k-means finds in patches, and a linear SVM on them: CIFAR-10 without a deep net.

    python experiments/coates.py [--centroids 1600] [--coding triangle] [--examples N] [--twin]

Coates, Lee and Ng (2011), "An Analysis of Single-Layer Networks in Unsupervised Feature Learning":
patches of 6x6 pixels are normalised and whitened, k-means finds centroids among them, and an image
is described by how near each of its patches is to each centroid, summed over its quadrants. They
reached 77.9 % with 1,600 centroids, 68.6 % where a patch has its nearest centroid alone ('hard'),
and 79.6 % with 4,000. The constants of normalising and whitening are of Coates and Ng (2012).

This is a script and not a config: the features never change, so they are computed once (16 TFLOP
for 1,600 centroids), and the loss of the SVM is convex, so L-BFGS minimises it on all images at
once. The weight decay is chosen on the last fifth of the training images, and the SVM trained again
on all. The test split is looked at once, and all of it counts. `--examples` takes the first so many
training images.
"""

import argparse
import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from arguments import count, in_one_line, seed
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from jaxdl import data
from jaxdl.errors import UserError
from jaxdl.terminal import say

_SIDE = 6  # pixels of a patch
_CONTRAST, _WHITENING = 10.0, 0.1  # added to the variance of a patch, of a principal component
_DECAYS = (0.3, 0.1, 3e-2, 1e-2, 3e-3, 1e-3)
_BATCH = 500
_ROWS = 200  # of features that stay in a core's cache from the outputs to the gradient


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
    """The dictionary of images (N, height, width, 3), from `count` of their patches.

    Centroids start as small noise, not as patches: one that started at a rare patch would have no
    other (Coates and Ng 2012), which costs 1.3 % of accuracy.
    """
    mean, whitening = zca(x := draw(images, count, seed))
    x = (x - mean) @ whitening
    first = 0.1 * jax.random.normal(jax.random.key(seed), (centroids, x.shape[1]))
    return Dictionary(mean, whitening, k_means(x, first, iterations))


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
    """(N, height, width, 3) uint8 -> (N, 4·centroids + 1) float32, of which the last is 1."""
    # One image at a time: the distances of one stay in a core's cache.
    several = jax.jit(lambda part: jax.lax.map(lambda x: describe(dictionary, x, coding), part))
    found = np.ones((len(images), 4 * len(dictionary.centroids) + 1), np.float32)
    for start in range(0, len(images), _BATCH):
        found[start : start + _BATCH, :-1] = several(images[start : start + _BATCH])
    return found


def standardize(train: np.ndarray, test: np.ndarray) -> None:
    """In place, by the mean and variance of each feature of the training images."""
    mean, scale = train.mean(0), np.sqrt(train.var(0) + 0.01)
    mean[-1], scale[-1] = 0, 1
    for x in (train, test):
        x -= mean
        x /= scale


def squared_hinge(weights: jax.Array, x: jax.Array, label: jax.Array) -> jax.Array:
    """The loss of one linear SVM for each class against all others, summed over the examples.

    Weights are (features, classes); x is (N, features), of which the last is 1.
    """
    signs = 2 * jax.nn.one_hot(label, weights.shape[1]) - 1
    return jnp.sum(jax.nn.relu(1 - signs * (x @ weights)) ** 2)


@jax.jit
def objective(
    weights: jax.Array, x: jax.Array, label: jax.Array, decay: float
) -> tuple[jax.Array, jax.Array]:
    """The mean of `squared_hinge` and decay/2 of the weights' squares; and its gradient."""
    rows = math.gcd(len(x), _ROWS)

    def add(total: tuple, part: tuple) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(squared_hinge)(weights, *part)), None

    parts = x.reshape(-1, rows, x.shape[1]), label.reshape(-1, rows)
    (loss, slope), _ = jax.lax.scan(add, (jnp.zeros(()), jnp.zeros_like(weights)), parts)
    return loss / len(x) + decay / 2 * jnp.sum(weights**2), slope / len(x) + decay * weights


def curvature(x: np.ndarray) -> np.ndarray:
    """2xᵀx/N, the Hessian of the mean of `squared_hinge` where every margin is below 1.

    Elsewhere it is smaller: an example whose margin is at least 1 adds nothing.
    """
    return (x.T @ x).astype(np.float64) * (2 / len(x))


def train_svms(
    x: jax.Array, label: jax.Array, curves: np.ndarray, decay: float, start: np.ndarray, steps: int
) -> np.ndarray:
    """The weights at which `objective` is least, by L-BFGS.

    Preconditioned: with L the Cholesky factor of `curves` (see `curvature`) plus the decay, it
    searches u = Lᵀw, whose Hessian is near the identity, and needs tens of steps, not hundreds.
    """
    root = cholesky(curves + decay * np.eye(len(curves)), lower=True)

    def weights_of(flat: np.ndarray) -> np.ndarray:
        return solve_triangular(root, flat.reshape(start.shape), lower=True, trans="T")

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = objective(jnp.asarray(weights_of(flat), x.dtype), x, label, decay)
        return float(loss), solve_triangular(root, slope, lower=True).ravel()

    limits = {"maxiter": steps, "ftol": 1e-7}
    first = (root.T @ start).ravel()
    found = minimize(evaluate, first, jac=True, method="L-BFGS-B", options=limits)
    say(f"  weight decay {decay:g}: loss {found.fun:.5f} after {found.nit} steps")
    return weights_of(found.x)


@jax.jit
def accuracy(weights: jax.Array, x: jax.Array, label: jax.Array) -> jax.Array:
    """The share of examples whose class has the largest output."""
    return jnp.mean((x @ weights).argmax(-1) == label)


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
    told(f"{x['train'].shape[1] - 1:,} features of {len(x['train']):,} training images")

    cut = len(x["train"]) * 4 // 5
    part, rest = jnp.asarray(x["train"][:cut]), jnp.asarray(x["train"][cut:])
    curves = curvature(x["train"][:cut])
    weights = np.zeros((len(curves), len(splits["train"].classes)))
    shares: dict[float, float] = {}
    for decay in _DECAYS:  # from the most: each starts where the one before ended
        weights = train_svms(part, label["train"][:cut], curves, decay, weights, options.steps)
        shares[decay] = float(accuracy(weights, rest, label["train"][cut:]))
        told(f"weight decay {decay:g}   validation/accuracy {shares[decay]:.4f}")
    best = max(shares, key=shares.__getitem__)
    del part, rest
    curves, whole = curvature(x["train"]), jnp.asarray(x["train"])
    start = np.zeros_like(weights)
    weights = train_svms(whole, label["train"], curves, best, start, options.steps)
    told(f"{options.coding}, weight decay {best:g}")
    share = accuracy(weights, x["test"], label["test"])
    say(f"test/accuracy {share:.4f}   over {len(x['test']):,}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--centroids", type=count, default=1600)
    parser.add_argument("--coding", choices=CODINGS, default="triangle")
    parser.add_argument("--examples", type=count, help="training images at most; by default all")
    parser.add_argument("--patches", type=count, default=400_000, help="that k-means sees")
    parser.add_argument("--iterations", type=count, default=50, help="of k-means")
    parser.add_argument("--steps", type=count, default=100, help="of the SVMs, at most")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--twin", action="store_true", help="on the twin, offline")
    options = parser.parse_args()
    with in_one_line(parser):
        main(options)
