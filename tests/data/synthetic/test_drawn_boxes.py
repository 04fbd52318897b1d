"""Drawn images: the boxes are exact, and there is something to learn."""

import numpy as np
import pytest

from jaxdl.data import duplicates, load
from jaxdl.data.sources import drawn_boxes, tfds_boxes
from jaxdl.data.synthetic.drawn_boxes import CELLS
from jaxdl.data.synthetic.shapes import REACH, SHAPES, paint


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [5.0, 17.3])
def test_a_painted_shape_reaches_as_far_as_its_box(shape, radius):
    image = np.zeros((80, 90, 1), np.float32)
    centre = np.array([38.2, 45.6])
    paint(image, shape, centre, radius, np.array([1.0]))
    down, right = np.nonzero(image[..., 0] > 0.02)
    found = np.array([down.min(), right.min(), down.max() + 1, right.max() + 1])
    reach = np.array(REACH[shape]) * radius
    np.testing.assert_allclose(found, [*(centre - reach), *(centre + reach)], atol=1.3)
    assert image.sum() == pytest.approx(np.pi * radius**2, rel=0.03)  # all have a circle's area


def test_a_shape_may_be_cut_off():
    whole, cut = np.zeros((60, 60, 3)), np.zeros((30, 40, 3))
    for image in (whole, cut):
        paint(image, "circle", np.array([28.0, 3.0]), 9.0, np.array([9.0, 8.0, 7.0]))
    np.testing.assert_array_equal(cut, whole[:30, :40])


@pytest.fixture(scope="module")
def splits():
    return drawn_boxes(300, 20, 0, size=(64, 96), seed=3)


def test_columns(splits):
    assert {role: len(table) for role, table in splits.items()} == {"train": 300, "validation": 20}
    columns = splits["train"].columns
    assert columns["image"].shape == (300, 64, 96, 3) and columns["boxes"].shape == (300, 6, 4)
    assert (columns["extent"] == (64, 96)).all() and (columns["scale"] == 1).all()
    assert not columns["crowd"].any() and splits["train"].classes == SHAPES
    assert set(duplicates(splits).values()) == {0}
    load("drawn_boxes", train_examples=8, validation_examples=0, test_examples=0)


def test_objects_are_as_they_should_be(splits):
    columns = splits["train"].columns
    real = columns["labels"] >= 0
    counts = real.sum(1)
    assert 0.05 < (counts == 0).mean() < 0.16 and set(counts) == set(range(7))
    assert (np.bincount(columns["labels"][real]) > 0.25 * real.sum()).all()
    boxes = columns["boxes"][real]
    assert (boxes >= 0).all() and (boxes <= [96, 64, 96, 64]).all()
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1) / 64
    assert 0.099 < longer.min() < 0.13 and 0.42 < longer.max() < 0.4501
    assert (columns["boxes"][~real] == 0).all()


def test_overlaps_hide_no_object(splits):
    touching = 0
    for boxes, labels in zip(
        *(splits["train"].columns[n] for n in ("boxes", "labels")), strict=True
    ):
        boxes = boxes[labels >= 0]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        for i in range(len(boxes)):
            least = np.maximum(boxes[:i, :2], boxes[i, :2])
            most = np.minimum(boxes[:i, 2:], boxes[i, 2:])
            shared = np.maximum(most - least, 0).prod(1) / np.minimum(areas[:i], areas[i])
            assert (shared <= 0.401).all()
            touching += (shared > 0).any()
    assert touching > 100


def test_boxes_are_where_the_shapes_are():
    """An image with one object differs from its background there and nowhere else."""
    table = drawn_boxes(200, 0, 0, size=(64, 64))["train"].columns
    alone = np.flatnonzero((table["labels"] >= 0).sum(1) == 1)
    assert len(alone) > 20
    for i in alone:
        image = table["image"][i].astype(float)
        edge = (
            np.abs(np.diff(image, axis=1)).max(-1) > 60,
            np.abs(np.diff(image, axis=0)).max(-1) > 60,
        )
        x1, y1, x2, y2 = table["boxes"][i, table["labels"][i] >= 0][0]
        for steep, low, high, across in ((edge[0], x1, x2, 1), (edge[1], y1, y2, 0)):
            place = np.nonzero(steep)[across] + 1
            if len(place):
                assert low - 1.5 <= place.min() and place.max() <= high + 1.5


def test_a_seed_is_a_drawing_and_a_split_stands_alone():
    first, again = drawn_boxes(10, 5, 5, (40, 40)), drawn_boxes(10, 0, 5, (40, 40))
    for role in ("train", "test"):
        for name, column in first[role].columns.items():
            np.testing.assert_array_equal(column, again[role].columns[name])
    other = drawn_boxes(10, 5, 5, (40, 40), seed=1)
    assert (other["train"].columns["image"] != first["train"].columns["image"]).any()


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        (dict(train_examples=0), "train_examples=0"),
        (dict(test_examples=-1), "test_examples=-1"),
        (dict(size=(31, 64)), "size=(31, 64)"),
        (dict(size=(0, 64)), "size=(0, 64)"),
        (dict(seed=-1), "seed=-1"),
        (dict(train_examples=10**9), "GB"),
    ],
)
def test_refuses(refuses, settings, fragment):
    with refuses("drawn_boxes", fragment):
        drawn_boxes(**settings)


# ---- Twins


def test_the_twin_of_bccd_is_like_it(tfds_dir):
    settings = dict(dataset="bccd", size=(60, 80), validation="validation")
    twin, original = (load("tfds_boxes", twin=t, **settings) for t in (True, False))
    assert set(twin) == set(original) == {"train", "validation", "test"}
    for a, b in ((twin[role], original[role]) for role in twin):
        assert a.classes == b.classes == CELLS and set(a.columns) == set(b.columns)
        for name in a.columns:
            assert a.columns[name].dtype == b.columns[name].dtype
            assert a.columns[name].ndim == b.columns[name].ndim
        assert (a.columns["extent"] == b.columns["extent"][0]).all()
    counts, true = (
        np.bincount(t["train"].columns["labels"][t["train"].columns["labels"] >= 0])
        / len(t["train"])
        for t in (twin, original)
    )
    np.testing.assert_allclose(counts, true, rtol=0.5, atol=0.7)


@pytest.mark.parametrize(
    ("source", "settings", "roles"),
    [
        ("coco", dict(path="none"), {"train", "validation"}),
        ("voc", dict(path="none", validation=None), {"train", "test"}),
        ("yolo", dict(path="none"), {"train", "validation", "test"}),
        ("drawn_boxes", dict(test_examples=0), {"train", "validation"}),
    ],
)
def test_stand_ins_need_no_data(source, settings, roles):
    splits = load(source, twin=True, size=(40, 64), **settings)
    assert set(splits) == roles
    assert splits["train"].columns["image"].shape[1:] == (40, 64, 3)


def test_no_twin_of_other_data(refuses):
    with refuses("'coco/2017'", "with boxes", "bccd"):
        load("tfds_boxes", twin=True, dataset="coco/2017", size=(64, 64))
    assert tfds_boxes.__name__ == "tfds_boxes"
