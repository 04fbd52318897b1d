import re

import numpy as np
import pytest

from jaxdl.data import duplicates
from jaxdl.data.synthetic.shapes import shapes, twin_captions

CHANNELS = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}


@pytest.fixture(scope="module")
def splits():
    return shapes(600, 50, 40)


def test_columns(splits):
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 600, "validation": 50, "test": 40,
    }  # fmt: skip
    for table in splits.values():
        image, caption = (table.columns[name] for name in ("image", "caption"))
        assert image.shape[1:] == (32, 32, 3) and image.dtype == np.uint8
        assert caption.dtype == object and all(isinstance(text, str) for text in caption)
    assert set(duplicates(splits).values()) == {0}


def test_sentences_follow_one_grammar(splits):
    thing = "a (small|large) (red|green|blue|yellow) (circle|square|triangle)"
    captions = splits["train"].columns["caption"]
    assert all(re.fullmatch(f"{thing}( (above|left of) {thing})?", text) for text in captions)
    words = set(" ".join(captions).split())
    assert words >= {"small", "large", "yellow", "circle", "square", "triangle", "above", "left"}
    alone = np.mean([" of " not in text and "above" not in text for text in captions])
    assert 0.25 < alone < 0.42


def bright(image, colour):
    """Where a pixel is plainly of this colour."""
    own = image[..., CHANNELS[colour]].min(axis=-1)
    others = np.delete(image, CHANNELS[colour], axis=-1).max(axis=-1)
    return (own > 110) & (others < own / 1.6)


def test_sentences_are_true_of_their_images(splits):
    table = splits["train"]
    judged = 0
    for image, text in zip(table.columns["image"], table.columns["caption"], strict=True):
        things = [t.split()[1:3] for t in re.split(" above | left of ", text)]
        colours = [colour for _, colour in things]
        present = {c for c in CHANNELS if bright(image, c).sum() > 4}
        assert present == set(colours)
        if len(set(colours)) < len(things):
            continue  # two of one colour are not told apart here
        places = []
        for extent, colour in things:
            down, right = np.nonzero(bright(image, colour))
            places.append((down.mean(), right.mean()))
            assert (len(down) > 50) == (extent == "large")
        if len(places) == 2:
            (down, right), (below, beyond) = places
            assert (below - down > 2 * abs(beyond - right)) == ("above" in text)
            assert (beyond - right > 2 * abs(below - down)) == ("left of" in text)
            judged += 1
    assert judged > 200


def test_shapes_differ_in_outline():
    table = shapes(1500, 0, 0, size=64)["train"]
    filled = {}
    for image, text in zip(table.columns["image"], table.columns["caption"], strict=True):
        if len(text.split()) == 4:
            down, right = np.nonzero(bright(image, text.split()[2]))
            box = (np.ptp(down) + 1) * (np.ptp(right) + 1)
            filled.setdefault(text.split()[3], []).append(len(down) / box)
    for shape, share in {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}.items():
        np.testing.assert_allclose(np.mean(filled[shape]), share, atol=0.06)


def test_drawing_depends_on_the_seed_alone(splits):
    again, other = shapes(300, 0, 40), shapes(300, 0, 40, seed=1)
    assert list(again) == ["train", "test"]
    for name in ("image", "caption"):
        for role, rows in (("train", 300), ("test", 40)):
            expected = splits[role].columns[name][:rows]
            np.testing.assert_array_equal(again[role].columns[name], expected)
            assert (other[role].columns[name] != expected).any()


def test_the_twin_of_captions_has_the_splits_asked_for():
    splits = twin_captions(size=16, validation_fraction=0.25, test_fraction=0.0)
    assert {role: table.columns["image"].shape for role, table in splits.items()} == {
        "train": (750, 16, 16, 3), "validation": (250, 16, 16, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "fragment"),
    [
        (dict(size=8), "size=8"),
        (dict(train_examples=0), "train_examples=0"),
        (dict(test_examples=-1), "test_examples=-1"),
        (dict(seed=-1), "seed=-1"),
        (dict(train_examples=10**9), "GB"),
    ],
)
def test_refuses(refuses, wrong, fragment):
    with refuses("shapes", fragment):
        shapes(**wrong)
