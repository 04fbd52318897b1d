"""Principal components and k-means beside an autoencoder of MNIST's digits.

python experiments/clusters.py [--workdir runs/autoencoder] [--twin]

Squared errors are sums over the 784 pixels, from 0 to 1, and means over the test images. Clusters
are held against the labels, which k-means has not seen.
"""

import argparse

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, homogeneity_score
from sklearn.preprocessing import StandardScaler

import jaxdl
from jaxdl import data


def pca_error(fitted: np.ndarray, x: np.ndarray, components: int) -> float:
    """The mean squared error of `x` in the first principal components of `fitted`."""
    centred = x - (mean := fitted.mean(axis=0))
    _, vectors = np.linalg.eigh((fitted - mean).T @ (fitted - mean))
    basis = vectors[:, -components:]
    return float(np.mean(np.sum(centred**2, 1) - np.sum((centred @ basis) ** 2, 1)))


def k_means(x: np.ndarray, label: np.ndarray, init: str = "k-means++") -> str:
    found = KMeans(10, init=init, n_init=4, random_state=0).fit(x)
    shares = homogeneity_score(label, found.labels_), adjusted_rand_score(label, found.labels_)
    return f"inertia {found.inertia_:12,.0f}   homogeneity {shares[0]:.3f}   ARI {shares[1]:.3f}"


def main(workdir: str | None, twin: bool) -> None:
    x, label = load_digits(return_X_y=True)
    for init in ("k-means++", "random"):  # as scikit-learn's own example
        found = k_means(StandardScaler().fit_transform(x), label, init)
        print(f"8x8 digits, {init:17} {found}")

    splits = data.load("tfds", dataset="mnist", twin=twin)
    train, test = (splits[role].columns["image"] for role in ("train", "test"))
    label = splits["test"].columns["label"]
    pixels = {"train": train.reshape(len(train), -1), "test": test.reshape(len(test), -1)}
    pixels = {role: x.astype(np.float64) / 255 for role, x in pixels.items()}
    for role, x in pixels.items():
        error = pca_error(x, pixels["test"], components=30)
        print(f"MNIST, 30 components of {role:5} squared error {error:.3f} an image")
    print(f"MNIST, pixels                 {k_means(pixels['test'], label)}")
    if workdir is not None:
        outputs = jaxdl.load(workdir).predict(test)
        made = outputs["reconstruction"].reshape(len(test), -1)
        error = np.mean(np.sum((made - pixels["test"]) ** 2, axis=1))
        width = outputs["code"].shape[1]
        print(f"MNIST, {width} numbers of the code squared error {error:.3f} an image")
        print(f"MNIST, codes                  {k_means(outputs['code'], label)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", help="of a run of configs/mnist_autoencoder.py")
    parser.add_argument("--twin", action="store_true", help="on the twin, offline")
    options = parser.parse_args()
    main(options.workdir, options.twin)
