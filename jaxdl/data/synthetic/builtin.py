"""Data that needs no files: scikit-learn's digits, Bishop's points, two Gaussian classes."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from jaxdl.data.splits import random_state
from jaxdl.data.table import Table
from jaxdl.errors import UserError

# Bishop, Pattern Recognition and Machine Learning (2006), section 1.1 and the book's data page.
_BISHOP = np.array(
    [
        0.349486, 0.830839, 1.007332, 0.971507, 0.133066,
        0.166823, -0.848307, -0.445686, -0.563567, 0.261502,
    ]
)  # fmt: skip

_CLASSES = tuple("0123456789")
_HELD_OUT = 30  # digits of each class in the validation split, and as many in the test split


def digits() -> dict[str, Table]:
    """The 8×8 digits that come with scikit-learn: 1797 real ones, by 13 writers.

    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository (1998), its test part. The split is ours, always the same: 30 random digits of each
    class for validation, 30 for test, and 1197 for training. Splits share writers.

    Returns:
      `image` (N, 8, 8, 1) uint8, values 0 to 16 (divide by 16, not 255), and `label` (N,) int32.
    """
    pixels_and_label = np.loadtxt(_digits_file(), delimiter=",", dtype=np.uint8)
    image = pixels_and_label[:, :-1].reshape(-1, 8, 8, 1)
    label = pixels_and_label[:, -1].astype(np.int32)
    shuffled = random_state("digits", 0).permutation(len(label))
    by_class = [shuffled[label[shuffled] == digit] for digit in range(10)]
    cuts = [np.split(rows, [_HELD_OUT, 2 * _HELD_OUT]) for rows in by_class]
    return {
        role: Table({"image": image[rows], "label": label[rows]}, f"digits {role} split", _CLASSES)
        for role, part in (("train", 2), ("validation", 0), ("test", 1))
        for rows in [np.sort(np.concatenate([cut[part] for cut in cuts]))]
    }


def polynomial(
    points: int = 10,
    seed: int | None = None,
    noise: float = 0.3,
    test_points: int = 100,
    test_noise: float = 0.0,
) -> dict[str, Table]:
    """Bishop's curve fitting: x_i = i / (N - 1), t_i = sin 2πx_i + ε_i (PRML 2006, section 1.1).

    Args:
      points: N, the number of training points, at least 2.
      seed: seed of the noise. None for the ten points printed in the book.
      noise: standard deviation of ε.
      test_points: number of test points, evenly over [0, 1], both ends included.
      test_noise: standard deviation of the noise of the test targets. With 0 they are the curve
        itself, so that the test RMS is the distance from it.

    Returns:
      'train' and 'test', with columns `x` and `target`, both (N,) float64.
    """
    for name, count in (("points", points), ("test_points", test_points)):
        if count < 2:
            raise UserError(
                f"polynomial: {name}={count}; the points span [0, 1], so give at least 2"
            )
    for name, deviation in (("noise", noise), ("test_noise", test_noise)):
        if not 0 <= deviation < math.inf:
            raise UserError(f"polynomial: {name}={deviation}; it must be finite and at least 0")
    if seed is None and (points, noise) != (10, 0.3):
        raise UserError(
            f"polynomial: points={points}, noise={noise} without a seed, which gives "
            "the ten printed points (noise 0.3) only; set seed"
        )
    # Two streams, so that the test noise does not depend on the number of training points.
    train_noise, held_out_noise = (random_state("polynomial", seed or 0, i) for i in (0, 1))
    x, x_test = (np.arange(n) / (n - 1) for n in (points, test_points))
    target = _BISHOP if seed is None else _sine(x) + noise * train_noise.standard_normal(points)
    target_test = _sine(x_test) + test_noise * held_out_noise.standard_normal(test_points)
    return {
        "train": Table({"x": x, "target": target.copy()}, "polynomial train split"),
        "test": Table({"x": x_test, "target": target_test}, "polynomial test split"),
    }


def blobs(
    points: int = 1000,
    test_points: int = 10_000,
    separation: float = 2.0,
    seed: int = 0,
) -> dict[str, Table]:
    """Two classes, each a Gaussian of unit variance in the plane, the same number of each.

    No classifier does better than `bayes_accuracy(separation)`, and a linear one reaches it:
    it predicts class 1 where x₁ + x₂ > 0.

    Args:
      points: number of points in the train split.
      test_points: number of points in the test split. With n of them the accuracy of the best
        classifier varies by √(p(1 - p)/n) around its expectation p.
      separation: distance between the two means, in standard deviations.
      seed: seed of the random points.

    Returns:
      'train' and 'test', with columns `features` (N, 2) float32 and `label` (N,) int32.
    """
    for name, count in (("points", points), ("test_points", test_points)):
        if count < 2:
            raise UserError(f"blobs: {name}={count}; there are two classes, so give at least 2")
    if not 0 <= separation < math.inf:
        raise UserError(f"blobs: separation={separation}; a distance must be finite and at least 0")
    return {
        role: _two_gaussians(count, separation, random_state("blobs", seed, stream), role)
        for stream, (role, count) in enumerate((("train", points), ("test", test_points)))
    }


def bayes_accuracy(separation: float) -> float:
    """The accuracy of the best classifier of `blobs`: Φ(separation / 2).

    Bishop (2006), section 1.5.1: the decision boundary halves the line between the means, and an
    example is on the right side of it if its noise along that line is below separation / 2.
    """
    return (1 + math.erf(separation / math.sqrt(8))) / 2


def _digits_file() -> str:
    # The file is read directly: importing sklearn.datasets takes longer than the training.
    from importlib.util import find_spec
    from pathlib import Path

    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("digits: scikit-learn is missing; pip install scikit-learn")
    return str(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz")


def _sine(x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    return np.sin(2 * np.pi * x)


def _two_gaussians(
    count: int, separation: float, random: np.random.RandomState, role: str
) -> Table:
    label = np.arange(count, dtype=np.int32) % 2
    side = (label - 0.5) * separation / math.sqrt(2)  # each coordinate of the label's mean
    features = side[:, None] + random.standard_normal((count, 2))
    return Table({"features": features.astype(np.float32), "label": label}, f"blobs {role} split")
