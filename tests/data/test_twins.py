import re
from collections import Counter

import numpy as np
import pytest

from jaxdl.data import TWINS, Crop, LazyImages, duplicates, load, twin_of
from jaxdl.data.sources import arrays, digits, images, polynomial, text, tfds


def schema(table):
    return {name: (c.dtype, c.shape[1:]) for name, c in table.columns.items()}


# Of each data set with texts: the token columns that its config would ask for.
TOKENIZE = {
    "sentiment": {"tokens": dict(text="text", by="words")},
    "tiny_shakespeare": {"tokens": dict(text="text", window=50)},
    "translation": {
        "source": dict(text="de", by="words", ends=True),
        "tokens": dict(text="en", by="words", ends=True),
    },
}


# Those that are no text, where a config would read nothing else.
COLUMNS = {
    "driving": ("image", "steering", "throttle", "speed", "drive", "frame"),
    "pedestrians": ("image", "label"),
}


@pytest.mark.parametrize("name", TWINS)
def test_twin_has_every_split_and_is_sound(name):
    roles = {"train": "train+validation", "validation": "test[:50%]", "test": "test[50%:]"}
    asked = dict(tokenize=TOKENIZE.get(name), columns=COLUMNS.get(name))
    splits = load("tfds", twin=True, dataset=name, **asked, **roles)
    assert set(splits) == {"train", "validation", "test"}
    assert all(50 <= len(table) < 4000 for table in splits.values())


@pytest.mark.parametrize("name", TOKENIZE)
def test_texts_look_like_the_original(tfds_dir, name):
    original = tfds(name)["train"]
    twin = twin_of(tfds, {"dataset": name})["train"]
    assert schema(twin) == schema(original) and twin.classes == original.classes


def test_cifar10_looks_like_the_original(tfds_dir):
    columns = ("image", "label")
    settings = dict(train="train[:500]", test=None, columns=columns, cache=False)
    original = tfds("cifar10", **settings)["train"]
    twin = twin_of(tfds, {"dataset": "cifar10", "columns": columns})["train"]
    assert schema(twin) == schema(original) and twin.classes == original.classes
    assert len(np.unique(twin.columns["image"].max((1, 2)), axis=0)) > 20  # colours


def test_pedestrians_look_like_the_original(tfds_dir):
    settings = dict(train="train[:50]", test=None, cache=False)
    original = tfds("pedestrians", **settings)["train"]
    twin = twin_of(tfds, {"dataset": "pedestrians"})["train"]
    assert schema(twin) == schema(original) and twin.classes == original.classes


def test_sentiment_can_be_learnt():
    """By the words that stand more often in one class than in the other."""
    splits = twin_of(tfds, {"dataset": "sentiment"})
    columns = {role: (t.columns["text"], t.columns["label"]) for role, t in splits.items()}
    counts = [Counter(), Counter()]
    for clause, label in zip(*columns["train"], strict=True):
        counts[label].update(clause.lower().split())
    weight = {w: np.log((counts[1][w] + 1) / (counts[0][w] + 1)) for w in counts[0] | counts[1]}
    clauses, label = columns["test"]
    score = np.array([sum(weight.get(w, 0) for w in c.lower().split()) for c in clauses])
    assert ((score > 0) == label).mean() > 0.7 and 0.3 < label.mean() < 0.7


def test_translation_can_be_learnt():
    """Each word of one language is one of the other."""
    splits = twin_of(tfds, {"dataset": "translation", "validation": "validation"})
    assert set(duplicates(splits).values()) == {0}
    for table in splits.values():
        german, english = table.columns["de"], table.columns["en"]
        for backwards, clause in zip(german, english, strict=True):
            words = re.findall(r"\w+", clause)
            assert [word[::-1] for word in words] == re.findall(r"\w+", backwards) != words
            assert 3 <= len(words) <= 15


def test_text_of_ones_own_has_pythons_help_for_a_twin():
    settings = {"path": "none.txt", "validation_fraction": 0.1, "test_fraction": 0.1}
    made = load("text", twin=True, tokenize={"tokens": dict(text="text", window=99)}, **settings)
    assert set(made) == {"train", "validation", "test"}
    predicted = {role: np.count_nonzero(t.columns["tokens"][:, 1:]) for role, t in made.items()}
    assert predicted["train"] > 100_000 and 7 < predicted["train"] / predicted["test"] < 9
    assert len(twin_of(text, {"path": "none.txt"})["train"]) > 50  # documents


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


@pytest.mark.parametrize("name", ["imagenet2012", "imagenette/160sq"])
def test_photographs(name):
    crop = Crop(24, views=10)
    settings = {"dataset": name, "validation": "validation", "test": None, "crop": crop}
    splits = load("tfds", twin=True, **settings)
    assert set(splits) == {"train", "validation"} and len(splits["train"]) > 1000
    for table in splits.values():
        assert (
            isinstance(table.columns["image"], LazyImages) and table.columns["image"].crop == crop
        )
        assert len(set(table.columns["label"])) == (24 if name == "imagenet2012" else 10)
    again = load("tfds", twin=True, **settings)["train"]
    np.testing.assert_array_equal(again.identity()["image"], splits["train"].identity()["image"])


def test_photographs_can_be_learnt():
    """Of images, whose twin has two classes: the sizes of the shapes, by how much is not dark."""
    splits = twin_of(images, {"path": "none", "crop": Crop(40)})
    counts = {
        role: (
            np.mean(table.columns["image"][:].max(-1) > 100, axis=(1, 2)),
            table.columns["label"],
        )
        for role, table in splits.items()
    }
    covered, label = counts["train"]
    middle = (covered[label == 0].mean() + covered[label == 1].mean()) / 2
    covered, label = counts["test"]
    assert ((covered < middle) == label).mean() > 0.8 and 0.3 < label.mean() < 0.7


def own(crop):
    """A source in somebody's own code."""


def test_refuses(refuses):
    with refuses("'mnist'", "with crop", "imagenet2012"):
        twin_of(tfds, {"dataset": "mnist", "crop": Crop(4)})
    with refuses("'arrays'", "own data", "twin"):
        twin_of(arrays, {"train": "a.npz"})
    with refuses("'images'", "own data"):
        load("images", twin=True, path="a", size=4)
    with refuses("'own'", "no twin"):
        twin_of(own, {"crop": 4})
    with refuses("'imagenet2012'", "mnist"):
        twin_of(tfds, {"dataset": "imagenet2012"})
    with refuses("'id'", "image, label"):
        twin_of(tfds, {"dataset": "mnist", "columns": ("id",)})
