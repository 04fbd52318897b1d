"""Boxes of TFDS: a tiny data set, and BCCD where it is."""

import numpy as np
import pytest
import tiny_tfds

from jaxdl.data import duplicates, load
from jaxdl.data.images.jpeg import encode
from jaxdl.data.sources import tfds_boxes

FEATURES = "tensorflow_datasets.core.features"
BOX = {
    "pythonClassName": f"{FEATURES}.bounding_boxes.BBoxFeature",
    "boundingBox": {"dtype": "float32", "shape": {"dimensions": ["4"]}, "bboxFormat": "REL_YXYX"},
}
BOOL = {
    "pythonClassName": f"{FEATURES}.tensor_feature.Tensor",
    "tensor": {"dtype": "bool", "encoding": "none", "shape": {}},
}


def described(**inside):
    structure = {
        "pythonClassName": f"{FEATURES}.features_dict.FeaturesDict",
        "featuresDict": {"features": inside},
    }
    return {"image": tiny_tfds.ANY_SIZE, "objects": tiny_tfds.sequence(structure),
            "label": tiny_tfds.LABEL}  # fmt: skip


def example(height, width, boxes, labels, crowd=None):
    image = np.full((height, width, 3), 40 + 3 * height % 100, np.uint8)
    values = {"image": encode(image), "label": [0]}
    values["objects/bbox"] = np.array(boxes, float).ravel()
    values["objects/label"] = np.array(labels, int)
    values["objects/is_crowd"] = np.array(crowd or [0] * len(labels), int)
    return values


WHOLE = {"bbox": BOX, "label": tiny_tfds.LABEL}
TRAIN = [
    example(30, 40, [(0.2, 0.1, 0.8, 0.5), (0, 0, 1, 1)], [2, 0], [0, 1]),
    example(20, 50, [], []),
]


@pytest.fixture
def data(tmp_path):
    def write(train=TRAIN, test=(TRAIN[0],), features=None):
        features = features or described(**WHOLE, is_crowd=BOOL)
        splits = {"train": list(train), "test": list(test)}
        tiny_tfds.write(tmp_path, "cells", splits, features)
        return dict(dataset="cells", data_dir=str(tmp_path))

    return write


@pytest.mark.parametrize("lazy", [False, True])
def test_columns(data, lazy):
    splits = load("tfds_boxes", **data(), size=(60, 80), lazy=lazy)
    assert set(splits) == {"train", "test"}
    columns = splits["train"].columns
    np.testing.assert_array_equal(columns["labels"], [[2, 0], [-1, -1]])
    np.testing.assert_array_equal(columns["crowd"], [[False, True], [False, False]])
    np.testing.assert_allclose(columns["boxes"][0], [[8, 12, 40, 48], [0, 0, 80, 60]], atol=1e-5)
    np.testing.assert_allclose(columns["extent"], [[60, 80], [32, 80]])
    np.testing.assert_allclose(columns["scale"], [2, 1.6])
    assert splits["train"].classes == ("0", "1", "2")
    image = columns["image"][:]
    assert (image[1, 32:] == 0).all() and (image[1, :32] > 0).all()
    assert len(splits["train"].lazy) == lazy
    assert duplicates(splits) == {("train", "test"): 1}


def test_parts(data):
    settings = dict(train="train[:1]", validation="train[1:]", test=None)
    splits = tfds_boxes(**data(), size=(60, 80), **settings)
    assert {role: len(table) for role, table in splits.items()} == {"train": 1, "validation": 1}


@pytest.mark.parametrize(
    ("train", "fragments"),
    [
        ([example(30, 40, [(0, 0, 1, 1.2)], [1])], ("example 0, object 0", "outside")),
        ([TRAIN[0], example(30, 40, [(0, 0, 1, 1), (0.5, 0.1, 0.5, 0.2)], [1, 1])],
         ("example 1, object 1", "no area")),
        ([example(30, 40, [(0, 0, float("nan"), 1)], [1])], ("object 0", "not finite")),
        ([example(30, 40, [(0, 0, 1, 1)], [3])], ("object 0", "class 3")),
        ([TRAIN[1]], ("no image has an object",)),
        ([TRAIN[0] | {"image": b"hello"}], ("example 0", "not an image")),
        ([{k: v for k, v in TRAIN[0].items() if k != "image"}], ("example 0",)),
    ],
)  # fmt: skip
def test_refuses_by_example(refuses, data, train, fragments):
    features = described(**WHOLE)
    with refuses("tfds 'cells", "'train'", *fragments):
        tfds_boxes(**data(train, features=features), size=(60, 80))


def test_degenerate_boxes_may_be_dropped(data):
    train = [example(30, 40, [(0.5, 0.1, 0.5, 0.2), (0, 0, 1, 1)], [1, 2])]
    given = data(train, features=described(**WHOLE))
    columns = tfds_boxes(**given, size=(60, 80), degenerate="drop")["train"].columns
    np.testing.assert_array_equal(columns["labels"][0][:1], [2])


def test_refuses_settings(refuses, data):
    given = data()
    for settings, fragments in (
        (dict(image="picture"), ("no feature 'picture'",)),
        (dict(image="label"), ("'label' is not an image",)),
        (dict(objects="object"), ("no feature 'object'", "did you mean 'objects'")),
        (dict(objects="label"), ("'label' is not a sequence", "'bbox'")),
        (dict(test="train"), ("share examples",)),
        (dict(validation="validation"), ("validation",)),
    ):
        with refuses("tfds 'cells'", *fragments):
            tfds_boxes(**given, size=(60, 80), **settings)
    with refuses("size=(0, 80)"):
        tfds_boxes(**given, size=(0, 80))


def test_bccd(tfds_dir):
    splits = load("tfds_boxes", dataset="bccd", size=(120, 160), validation="validation")
    counts = np.zeros(3, int)
    for table in splits.values():
        labels = table.columns["labels"]
        counts += np.bincount(labels[labels >= 0], minlength=3)
        assert (table.columns["scale"] == 0.25).all()
    assert [len(t) for t in splits.values()] == [205, 87, 72]
    assert counts.tolist() == [4153, 372, 361] and splits["train"].classes == (
        "RBC",
        "WBC",
        "Platelets",
    )
    # White cells are stained: darker inside their boxes than around.
    table = splits["train"].columns
    inside, outside = [], []
    for image, boxes, labels in zip(table["image"], table["boxes"], table["labels"], strict=True):
        stained = np.zeros(image.shape[:2], bool)
        for x1, y1, x2, y2 in boxes[labels == 1].astype(int):
            stained[y1:y2, x1:x2] = True
        if stained.any():
            inside.append(image[stained, 1].mean())
            outside.append(image[~stained, 1].mean())
    assert np.mean(np.array(inside) < outside) > 0.95
