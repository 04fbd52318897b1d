import numpy as np
import pytest

from jaxdl.data import TWINS, arrays, digits, load, polynomial, tfds, twin_of, validate


def schema(table):
    return {name: (c.dtype, c.shape[1:]) for name, c in table.columns.items()}


@pytest.mark.parametrize("name", TWINS)
def test_twin_has_every_split_and_is_sound(name):
    splits = twin_of(tfds, {"dataset": name, "validation": "train[90%:]"})
    validate(splits)
    assert set(splits) == {"train", "validation", "test"}
    assert len(splits["train"]) <= 2000


def test_mnist_looks_like_mnist(tfds_dir):
    original = tfds("mnist", train="train[:2000]", test="test[:10]", cache=False)["train"]
    twin = twin_of(tfds, {"dataset": "mnist"})["train"]
    assert schema(twin) == schema(original) and twin.classes == original.classes
    assert set(twin.columns["label"]) == set(range(10))
    image = twin.columns["image"]
    assert image.max() == 255 and image.min() == 0
    assert not image[:, :4].any() and not image[:, -4:].any()  # the frame
    assert abs(image.mean() - original.columns["image"].mean()) < 40


def test_mnist_can_be_learnt():
    """By the nearest of the classes' mean images."""
    splits = twin_of(tfds, {"dataset": "mnist:3.0.1"})
    image, label = (splits["train"].columns[name] for name in ("image", "label"))
    centres = np.stack([image[label == digit].mean(axis=0) for digit in range(10)])
    test = splits["test"].columns
    distance = ((test["image"][:, None] - centres) ** 2).sum(axis=(2, 3, 4))
    assert (distance.argmin(axis=1) == test["label"]).mean() > 0.85


def test_splits_and_columns_are_those_asked_for():
    settings = {"dataset": "mnist", "test": None, "columns": ("label",)}
    assert {role: list(t.columns) for role, t in twin_of(tfds, settings).items()} == {
        "train": ["label"]
    }


def test_small_sources_are_their_own_twins():
    assert len(twin_of(digits, {})["train"]) == 1197
    assert len(load("polynomial", twin=True, points=15, seed=0)["train"]) == 15
    np.testing.assert_array_equal(
        twin_of(polynomial, {})["train"].columns["target"],
        polynomial()["train"].columns["target"],
    )


def test_refuses(refuses):
    with refuses("'arrays'", "own data", "twin"):
        twin_of(arrays, {"train": "a.npz"})
    with refuses("'images'", "own data"):
        load("images", twin=True, path="a", size=4)
    with refuses("'imagenet2012'", "mnist"):
        twin_of(tfds, {"dataset": "imagenet2012"})
    with refuses("'id'", "image, label"):
        twin_of(tfds, {"dataset": "mnist", "columns": ("id",)})
