"""Tables from annotations, whatever they were written in."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import duplicates, validate
from jaxdl.data.images.annotations import Annotated, Objects, tables
from jaxdl.data.images.jpeg import encode
from jaxdl.data.images.lazy import EncodedInMemory

GREY = np.full((30, 40, 3), 128, np.uint8)


def split(*images, role="train"):
    """A split of images of 30×40, each a list of (box, label) or (box, label, crowd)."""
    encoded = EncodedInMemory([encode(GREY + np.uint8(i)) for i in range(len(images))], role)
    objects = []
    for i, each in enumerate(images):
        objects.append(Objects(f"file {i}", (30, 40)))
        for line, (box, label, *crowd) in enumerate(each, 1):
            objects[-1].add(box, label, bool(crowd), f"file {i} line {line}")
    return Annotated(encoded, objects, role)


def made(degenerate="refuse", lazy=False, size=(60, 60), **splits):
    return tables(splits, ("a", "b"), size, degenerate, lazy)


def test_columns():
    box, other = (4, 6, 20, 16), (0, 0, 40, 30)
    splits = made(
        train=split([(box, 1), (other, 0, True)], [], [(other, 1)]),
        test=split([(box, 0)], role="test"),
    )
    validate(splits)
    train, test = (splits[role].columns for role in ("train", "test"))
    assert {name: (c.dtype.name, c.shape) for name, c in train.items()} == {
        "image": ("uint8", (3, 60, 60, 3)),
        "boxes": ("float32", (3, 2, 4)),
        "labels": ("int32", (3, 2)),
        "crowd": ("bool", (3, 2)),
        "extent": ("float32", (3, 2)),
        "scale": ("float32", (3,)),
    }
    np.testing.assert_array_equal(train["labels"], [[1, 0], [-1, -1], [1, -1]])
    np.testing.assert_array_equal(train["crowd"], [[False, True], [False] * 2, [False] * 2])
    np.testing.assert_array_equal(train["boxes"][0], [[6, 9, 30, 24], [0, 0, 60, 45]])
    assert (train["boxes"][1] == 0).all()
    np.testing.assert_array_equal(train["extent"], [[45, 60]] * 3)
    np.testing.assert_array_equal(train["scale"], [1.5] * 3)
    np.testing.assert_array_equal(test["labels"], [[0, -1]])  # as much room as in the other split
    assert splits["train"].classes == ("a", "b")
    assert duplicates(splits) == {("train", "test"): 0}


def test_lazy_images_are_the_same():
    held, lazy = (made(lazy=lazy, train=split([((1, 2, 3, 4), 0)], []))["train"]
                  for lazy in (False, True))  # fmt: skip
    assert isinstance(held.columns["image"], np.ndarray) and set(lazy.lazy) == {"image"}
    np.testing.assert_array_equal(lazy.columns["image"][:], held.columns["image"])
    validate({"train": lazy})


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    size=st.tuples(st.integers(16, 200), st.integers(16, 200)),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_a_box_scaled_back_is_the_box(shape, size, corners):
    """To within half a pixel of the canvas, by which a picture's own sides are rounded."""
    x, y = sorted(corners[:2]), sorted(corners[2:])
    box = np.array([x[0], y[0], x[1], y[1]]) * [shape[1], shape[0], shape[1], shape[0]]
    if min(box[2:] - box[:2]) <= 0 or (box <= 1).all():  # the latter are refused as shares
        return
    objects = Objects("file", shape)
    objects.add(tuple(box.tolist()), 0, False, "line")
    annotated = Annotated(EncodedInMemory([b""], "none"), [objects], "train")
    columns = tables({"train": annotated}, ("a",), size, "refuse", lazy=True)["train"].columns
    [[found]], [scale], [extent] = (columns[name] for name in ("boxes", "scale", "extent"))
    np.testing.assert_allclose(found, box * scale, atol=0.51)
    np.testing.assert_allclose(extent, np.array(shape) * scale, atol=0.51 + (extent == 1).max())
    assert (found >= 0).all() and (found <= extent[[1, 0, 1, 0]]).all()
    assert (extent <= size).all() and (np.isclose(extent, size)).any()


def test_no_box_leaves_the_whole_pixels_of_a_picture():
    objects = Objects("file", (100, 333))
    objects.add((0, 0, 333, 100), 0, False, "line")  # 19.2 pixels high, of which there are 19
    annotated = Annotated(EncodedInMemory([b""], "none"), [objects], "train")
    columns = tables({"train": annotated}, ("a",), (50, 64), "refuse", lazy=True)["train"].columns
    np.testing.assert_array_equal(columns["boxes"][0, 0], [0, 0, 64, 19])
    np.testing.assert_array_equal(columns["extent"], [[19, 64]])


def test_tools_that_round_leave_the_image_by_a_pixel_or_two():
    objects = [((-1, -2, 41.5, 32), 0), ((38.5, 5, 40.2, 9), 1)]
    boxes = made(size=(30, 40), train=split(objects))["train"].columns["boxes"]
    np.testing.assert_allclose(boxes[0], [[0, 0, 40, 30], [38.5, 5, 40, 9]])


@pytest.mark.parametrize(
    ("box", "label", "fragments"),
    [
        ((5, 5, 43, 9), 0, ("(5, 5, 43, 9)", "outside its image, 40 wide and 30 high")),
        ((-3, 5, 9, 9), 0, ("outside",)),
        ((5, 5, 9, 1e9), 0, ("outside",)),
        ((5, 5, 5, 9), 0, ("(5, 5, 5, 9)", "no area", "degenerate='drop'")),
        ((9, 5, 5, 9), 0, ("ends before it begins",)),
        ((40, 5, 41, 9), 0, ("no area",)),  # outside, by less than tools round
        ((5, float("nan"), 9, 9), 0, ("not finite",)),
        ((5, 5, float("inf"), 9), 0, ("not finite",)),
        ((5, 5, 9, 9), 2, ("class 2", "from 0 to 1")),
        ((5, 5, 9, 9), -1, ("class -1",)),
    ],
)
def test_refuses_an_object_by_file_and_line(refuses, box, label, fragments):
    sound = ((1, 2, 3, 4), 0)
    with refuses("file 1 line 2: ", "(1 like it in this split)", *fragments):
        made(train=split([sound], [sound, (box, label)]))


def test_degenerate_boxes_are_dropped_and_counted(caplog):
    flat = ((5, 5, 5, 9), 0)
    with caplog.at_level(logging.WARNING, "jaxdl"):
        train = split([flat], [((1, 2, 3, 4), 1), ((9, 9, 9, 12), 0), ((5, 6, 7, 8), 0)])
        columns = made("drop", train=train)["train"].columns
    np.testing.assert_array_equal(columns["labels"], [[-1, -1], [1, 0]])
    [message] = caplog.messages
    assert message == "train: dropped 2 boxes without area, first file 0 line 1"


def test_dropping_is_of_degenerate_boxes_only(refuses):
    with refuses("file 0 line 1", "ends before it begins: its sides are swapped"):
        made("drop", train=split([((9, 5, 5, 9), 0)]))
    with refuses("file 0 line 1", "outside"):
        made("drop", train=split([((5, 5, 50, 9), 0)]))


def test_refuses_splits_with_nothing_in_them(refuses, caplog):
    sound = split([((1, 2, 3, 4), 0)])
    with refuses("test: no images"):
        made(train=sound, test=split(role="test"))
    with refuses("train: no image has an object"):
        made(train=split([], []), test=sound)
    made(train=sound, test=split([], role="test"))
    assert "test: no image has an object, so its precision cannot be measured" in caplog.text
