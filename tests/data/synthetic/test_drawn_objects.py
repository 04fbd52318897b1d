"""Drawn images of one object: boxes are exact, and classes can be told apart."""

import numpy as np
import pytest

from jaxdl.data import load
from jaxdl.data.sources import drawn_objects
from jaxdl.data.synthetic import drawn_objects as module
from jaxdl.data.synthetic.drawn_objects import CLASSES


@pytest.fixture(scope="module")
def splits():
    return drawn_objects(200, 20, 0, size=(40, 56), seed=3)


def test_each_image_has_one_object_of_20_classes(splits):
    assert {role: len(table) for role, table in splits.items()} == {"train": 200, "validation": 20}
    columns = splits["train"].columns
    assert columns["image"].shape == (200, 40, 56, 3) and columns["boxes"].shape == (200, 1, 4)
    assert splits["train"].classes == CLASSES and len({*CLASSES}) == 20
    assert {*columns["labels"][:, 0]} == {*range(20)} and not columns["crowd"].any()
    assert (columns["extent"] == (40, 56)).all() and (columns["scale"] == 1).all()
    boxes = columns["boxes"][:, 0]
    assert (boxes >= 0).all() and (boxes <= [56, 40, 56, 40]).all()
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1) / 40
    assert 0.249 < longer.min() < 0.28 and 0.57 < longer.max() < 0.601


def test_a_box_is_where_the_object_is(monkeypatch):
    """On black and without scribble nothing else can be seen."""
    monkeypatch.setattr(module, "texture", lambda n, size, *_: np.zeros((n, *size, 3), np.float32))
    monkeypatch.setattr(module, "_STROKES", 0)
    columns = drawn_objects(100, 0, 0, size=(48, 64))["train"].columns
    for image, box in zip(columns["image"], columns["boxes"][:, 0], strict=True):
        down, right = np.nonzero(image.max(-1) > 12)
        seen = [right.min(), down.min(), right.max() + 1, down.max() + 1]
        np.testing.assert_allclose(seen, box, atol=1.6)


def test_fills_look_as_they_are_called(splits):
    """In the middle of a circle or square: light, the background, or light and dark by turns."""
    columns, spread = splits["train"].columns, {}
    for image, (box,), (label,) in zip(
        *(columns[name] for name in ("image", "boxes", "labels")), strict=True
    ):
        fill, shape = CLASSES[label].split()
        if shape in ("circle", "square") and min(box[2:] - box[:2]) > 12:
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            inside = image[y - 3 : y + 3, x - 3 : x + 3].max(-1).astype(float)
            spread.setdefault(fill, []).append(inside.std())
    means = {fill: np.mean(values) for fill, values in spread.items()}
    assert means["solid"] < 2 and min(means["striped"], means["chequered"]) > 30
    assert 3 < means["hollow"] < 30


def test_a_split_depends_on_the_seed_and_on_nothing_else():
    first, again = drawn_objects(70, 5, 5, (64, 64)), drawn_objects(10, 0, 5, (64, 64))
    for role, rows in {"train": 10, "test": 5}.items():
        for name, column in again[role].columns.items():
            np.testing.assert_array_equal(first[role].columns[name][:rows], column)
    other = drawn_objects(10, 5, 5, (64, 64), seed=1)
    assert (other["train"].columns["image"] != again["train"].columns["image"]).any()
    few = {"train_examples": 2, "validation_examples": 0, "test_examples": 1}
    assert {*load("drawn_objects", twin=True, **few)} == {"train", "test"}


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"size": (31, 64)}, "size=(31, 64); fills need at least 32 pixels a side"),
        ({"size": (0, 64)}, "size=(0, 64)"),
        ({"train_examples": 0}, "train_examples=0; give at least 1"),
        ({"test_examples": -1}, "test_examples=-1; give at least 0"),
    ],
)
def test_refuses(refuses, settings, fragment):
    with refuses("drawn_objects", fragment):
        drawn_objects(**settings)
