import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import duplicates, validate
from jaxdl.data.sources import blobs, digits, polynomial
from jaxdl.data.synthetic.builtin import bayes_accuracy


def test_digits_are_scikit_learns_each_once():
    from sklearn.datasets import load_digits

    splits = digits()
    validate(splits)
    assert {role: len(t) for role, t in splits.items()} == {
        "train": 1197, "validation": 300, "test": 300,
    }  # fmt: skip
    image = np.concatenate([t.columns["image"] for t in splits.values()])
    label = np.concatenate([t.columns["label"] for t in splits.values()])
    assert image.shape == (1797, 8, 8, 1) and image.dtype == np.uint8 and image.max() == 16
    ours = sorted(zip(map(bytes, image), label.tolist(), strict=True))
    original = load_digits()
    theirs = zip(map(bytes, original.images.astype(np.uint8)), original.target, strict=True)
    assert ours == sorted(theirs)


def test_digits_are_disjoint_stratified_and_always_split_alike():
    splits = digits()
    assert set(duplicates(splits).values()) == {0}
    for role in ("validation", "test"):
        assert np.bincount(splits[role].columns["label"]).tolist() == [30] * 10
    labels = {role: table.columns["label"][:8].tolist() for role, table in splits.items()}
    assert labels == {
        "train": [0, 1, 2, 3, 5, 7, 8, 0],
        "validation": [6, 9, 5, 7, 0, 2, 8, 0],
        "test": [4, 2, 4, 9, 1, 3, 7, 5],
    }
    assert splits["train"].classes == tuple("0123456789")


def test_bishops_points_give_bishops_errors():
    """PRML section 1.1; the test RMS against sin 2πx, by an exact float64 solve."""
    splits = polynomial()
    x, target = (splits["train"].columns[name] for name in ("x", "target"))
    assert x.dtype == target.dtype == np.float64 and x.shape == (10,)
    assert target[0] == 0.349486 and target[-1] == 0.261502 and x[3] == 3 / 9
    errors = []
    for order in (0, 1, 3, 9):
        weights = np.linalg.lstsq(np.vander(x, order + 1), target, rcond=None)[0]
        test = splits["test"].columns
        predicted = np.vander(test["x"], order + 1) @ weights
        errors.append(np.sqrt(np.mean((predicted - test["target"]) ** 2)))
    np.testing.assert_allclose(errors, [0.7278, 0.5167, 0.2243, 1.2590], atol=5e-5)


@settings(deadline=None)
@given(points=st.integers(2, 50), seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 2))
def test_generator_is_a_function_of_its_settings(points, seed, noise):
    first, again = (polynomial(points, seed, noise, test_noise=0.3) for _ in range(2))
    other = polynomial(points + 1, seed, noise, test_noise=0.3)
    for role in first:
        for name, column in first[role].columns.items():
            np.testing.assert_array_equal(column, again[role].columns[name])
    x = first["train"].columns["x"]
    assert (x[0], x[-1], len(x)) == (0, 1, points)
    for name in ("x", "target"):  # more training points leave the test split alone
        np.testing.assert_array_equal(first["test"].columns[name], other["test"].columns[name])


def test_noise_has_its_deviation():
    splits = polynomial(20_000, seed=1, test_points=20_000, test_noise=0.5)
    noise = {
        role: t.columns["target"] - np.sin(2 * np.pi * t.columns["x"]) for role, t in splits.items()
    }
    assert abs(noise["train"].std() - 0.3) < 0.01 and abs(noise["train"].mean()) < 0.01
    assert abs(noise["test"].std() - 0.5) < 0.01
    assert abs(np.corrcoef(noise["train"], noise["test"])[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("settings", "fragments"),
    [
        (dict(points=15), ["points=15", "seed"]),
        (dict(noise=0.1), ["noise=0.1", "seed"]),
        (dict(points=1, seed=0), ["points=1"]),
        (dict(test_points=0), ["test_points=0"]),
        (dict(noise=-1.0, seed=0), ["noise=-1"]),
        (dict(noise=float("nan"), seed=0), ["noise=nan"]),
        (dict(test_noise=float("inf")), ["test_noise=inf"]),
        (dict(seed=-1), ["seed=-1"]),
        (dict(seed=2**32), ["seed=4294967296"]),
    ],
)
def test_polynomial_refuses(refuses, settings, fragments):
    with refuses("polynomial", *fragments):
        polynomial(**settings)


@pytest.mark.parametrize("separation", [0.0, 1.0, 2.0, 4.0])
def test_best_classifier_of_blobs_has_bayes_accuracy(separation):
    splits = blobs(test_points=40_000, separation=separation)
    validate(splits)
    features, label = (splits["test"].columns[name] for name in ("features", "label"))
    assert features.dtype == np.float32 and label.dtype == np.int32
    assert np.bincount(label).tolist() == [20_000, 20_000]
    accuracy = np.mean((features.sum(axis=1) > 0) == label)
    assert abs(accuracy - bayes_accuracy(separation)) < 4 * np.sqrt(0.25 / 40_000)


def test_bayes_accuracy_is_the_normal_distribution():
    values = [bayes_accuracy(2 * z) for z in (0.0, 1.0, 1.96)]
    np.testing.assert_allclose(values, [0.5, 0.841345, 0.975002], atol=1e-6)


def test_blobs_depend_on_the_seed_alone():
    a, again, b = blobs(seed=1), blobs(seed=1, test_points=50), blobs(seed=2)
    np.testing.assert_array_equal(
        a["train"].columns["features"], again["train"].columns["features"]
    )
    assert (a["train"].columns["features"] != b["train"].columns["features"]).all()
    assert set(duplicates(a).values()) == {0}


@pytest.mark.parametrize(
    "settings",
    [dict(points=1), dict(test_points=-1), dict(separation=-1.0), dict(separation=float("inf")),
     dict(seed=-3)],
)  # fmt: skip
def test_blobs_refuses(refuses, settings):
    ((name, value),) = settings.items()
    with refuses("blobs", f"{name}={value}"):
        blobs(**settings)
