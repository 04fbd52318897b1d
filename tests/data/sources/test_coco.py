"""COCO's JSON, sound and not."""

import json

import numpy as np
import pytest

from jaxdl.data import duplicates, load
from jaxdl.data.sources import coco

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


@pytest.fixture
def data(tmp_path, picture):
    """`data(change)` writes two splits, the train one as `change(document)` leaves it."""

    def write(change=lambda document: None, raw=None):
        for split, count in (("train2017", 3), ("val2017", 1)):
            categories = [dict(category) for category in CATEGORIES]
            document = {"images": [], "annotations": [], "categories": categories}
            for i in range(count):
                name = f"{split}-{i}.jpg"
                picture(tmp_path / split / name, 30, 40 + i, seed=i + 10 * count)
                entry = {"id": 10 + i, "file_name": name, "height": 30, "width": 40 + i}
                document["images"].append(entry)
            for key, image, category, box, crowd in (
                (101, 10, 7, [4, 6, 16, 10.5], 0), (102, 10, 3, [0, 0, 40, 30], 1),
                (103, 10 + count - 1, 3, [1, 2, 3, 4], 0),
            ):  # fmt: skip
                document["annotations"].append(
                    {"id": key, "image_id": image, "category_id": category, "bbox": box,
                     "iscrowd": crowd, "area": 3}
                )  # fmt: skip
            if split == "train2017":
                change(document)
            (tmp_path / "annotations").mkdir(exist_ok=True)
            file = tmp_path / "annotations" / f"instances_{split}.json"
            file.write_text(raw if raw and split == "train2017" else json.dumps(document))
        return str(tmp_path)

    return write


def test_the_standard_layout(data):
    splits = load("coco", path=data(), size=(60, 80))
    assert {role: len(table) for role, table in splits.items()} == {"train": 3, "validation": 1}
    table = splits["train"]
    assert table.classes == ("cat", "dog")  # by id
    columns = table.columns
    np.testing.assert_array_equal(columns["labels"][:, :2], [[1, 0], [-1, -1], [0, -1]])
    np.testing.assert_array_equal(columns["crowd"][0, :2], [False, True])
    np.testing.assert_array_equal(columns["boxes"][0, :2], [[8, 12, 40, 33], [0, 0, 80, 60]])
    np.testing.assert_allclose(columns["scale"], [2, 80 / 41, 80 / 42])
    assert splits["validation"].columns["labels"].shape == (1, 3)
    assert set(duplicates(splits).values()) == {0}


def test_any_layout(data, tmp_path):
    path = data()
    (tmp_path / "all.json").write_text(
        (tmp_path / "annotations/instances_train2017.json").read_text()
    )
    given = dict(train=("all.json", "train2017"), validation=None)
    splits = coco(path, (60, 80), **given, lazy=True)
    assert set(splits) == {"train"} and set(splits["train"].lazy) == {"image"}
    held = coco(path, (60, 80), **given)["train"]
    np.testing.assert_array_equal(splits["train"].columns["image"][:], held.columns["image"])
    with_test = coco(
        path, (60, 80), **given, test=("annotations/instances_val2017.json", "val2017")
    )
    assert set(with_test) == {"train", "test"}


def test_sizes_are_read_where_they_are_not_given(data):
    def change(document):
        for entry in document["images"]:
            del entry["height"], entry["width"]

    splits = coco(data(change), (60, 80))
    np.testing.assert_allclose(splits["train"].columns["scale"], [2, 80 / 41, 80 / 42])


def test_degenerate_boxes_may_be_dropped(data):
    def change(document):
        document["annotations"][0]["bbox"][2] = 0

    columns = coco(data(change), (60, 80), degenerate="drop")["train"].columns
    np.testing.assert_array_equal(columns["labels"][:, 0], [0, -1, 0])


def put(where, **values):
    """A change of an entry of the document."""

    def change(document):
        kind, place = where
        document[kind][place].update(values)

    return change


def twice(kind):
    return lambda document: document[kind].append(dict(document[kind][0]))


def corners(document):
    for each in document["annotations"]:
        x, y, width, height = each["bbox"]
        each.update(bbox=[x, y, x + width, y + height], area=width * height)


BAD = {
    "outside": (put(("annotations", 0), bbox=[30, 6, 16, 10]), "annotation 101", "outside"),
    "no area": (put(("annotations", 2), bbox=[3, 6, 0, 10]), "annotation 103", "no area"),
    "negative": (put(("annotations", 2), bbox=[9, 6, -5, 10]), "annotation 103", "ends before it"),
    "nan": (put(("annotations", 0), bbox=[3, float("nan"), 5, 5]), "annotation 101", "not finite"),
    "huge": (put(("annotations", 0), bbox=[3, 10**400, 5, 5]), "annotation 101", "not a number"),
    "text": (put(("annotations", 0), bbox=[3, "x", 5, 5]), "annotation 101", "'x', not a number"),
    "three": (put(("annotations", 0), bbox=[3, 4, 5]), "annotation 101", "[x, y, width, height]"),
    "no box": (put(("annotations", 0), bbox=None), "annotation 101", "None"),
    "category": (put(("annotations", 1), category_id=4), "annotation 102", "category_id 4", "3, 7"),
    "image": (put(("annotations", 1), image_id=99), "annotation 102", "image_id 99"),
    "no image": (put(("annotations", 1), image_id=[1]), "annotation 102", "image_id [1]"),
    "crowd": (put(("annotations", 1), iscrowd=2), "annotation 102", "iscrowd"),
    "missing": (put(("images", 1), file_name="none.jpg"), "image 11", "train2017/none.jpg"),
    "nameless": (put(("images", 1), file_name=None), "image 11", "file_name"),
    "listed twice": (put(("images", 1), file_name="train2017-0.jpg"), "image 11", "listed twice"),
    "id twice": (twice("images"), "image 10", "its own id"),
    "size": (put(("images", 1), width=45), "image 11", "30×45", "30×41"),
    "negative size": (put(("images", 1), width=-1), "image 11", "30×-1"),
    "size of text": (put(("images", 1), width="wide"), "image 11", "width"),
    "escape": (put(("images", 1), file_name="../../secret.jpg"), "image 11", "leads out"),
    "absolute": (put(("images", 1), file_name="/etc/passwd"), "image 11", "leads out"),
    "category twice": (twice("categories"), "categories[2]", "dog"),
    "other categories": (put(("categories", 0), name="cow"), "val2017.json", "differ from"),
    "no categories": (lambda d: d["categories"].clear(), "no categories"),
    "no images": (lambda d: (d["images"].clear(), d["annotations"].clear()), "no images"),
    "no objects": (lambda d: d["annotations"].clear(), "no image has an object"),
    "corners": (corners, "by their areas the boxes are corners"),
    "all a crowd": (
        lambda d: [each.update(iscrowd=1) for each in d["annotations"]], "marked as a crowd",
    ),
    "no list": (lambda d: d.pop("annotations"), "has no 'annotations'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refuses_by_id(refuses, data, name):
    change, *fragments = BAD[name]
    path = data(change)
    file = "" if name == "other categories" else "instances_train2017.json"
    with refuses("coco: ", file, *fragments):
        coco(path, (60, 80))


@pytest.mark.parametrize(
    ("raw", "fragments"),
    [
        ('{"images": [],\n "annotations": [}', ("line 2, column 18", "not JSON")),
        ("[" * 100_000, ("nested",)),
        ("[1, 2]", ("not an object", "COCO's format")),
        ('{"images": [3], "annotations": [], "categories": []}', ("images[0] is 3",)),
        ('{"images": 3, "annotations": [], "categories": []}', ("images is 3, not a list",)),
        ('{"images": [{"id": ' + "7" * 5000 + "}]}", ("4,300 digits",)),
        ('{"images": [], "images": []}', ("'images' stands twice",)),
    ],
)
def test_refuses_what_is_no_such_file(refuses, data, raw, fragments):
    with refuses("instances_train2017.json", *fragments):
        coco(data(raw=raw), (60, 80))


def test_refuses_paths(refuses, data, tmp_path):
    path = data()
    with refuses("no folder", "config.data.path"):
        coco(str(tmp_path / "none"), (60, 80))
    with refuses("cannot be read", "none.json"):
        coco(path, (60, 80), train=("none.json", "train2017"))
    with refuses("train", "'../up.json'", "leads out"):
        coco(path, (60, 80), train=("../up.json", "train2017"))
    with refuses("size=(0, 80)"):
        coco(path, (0, 80))
    same = ("annotations/instances_train2017.json", "train2017")
    with refuses("train2017-0.jpg", "train and the test", "disjoint"):
        coco(path, (60, 80), test=same)


def edited(data, change):
    """The train split, of documents that `change` was made to."""
    return coco(data(change), (60, 80), validation=None)["train"]


def test_ids_are_the_same_as_numbers_and_as_text(data):
    def as_text(document):
        for each in document["images"] + document["categories"]:
            each["id"] = str(each["id"])

    def named(document):
        for each in document["categories"]:
            each["id"] = f"c{each['id']}"
        for each in document["annotations"]:
            each["category_id"] = f"c{each['category_id']}"

    plain = edited(data, lambda document: None)
    for change in (as_text, named):
        table = edited(data, change)
        assert table.classes == plain.classes
        np.testing.assert_array_equal(table.columns["labels"], plain.columns["labels"])


def test_a_heading_is_not_a_class(data, caplog, refuses):
    def root(name):
        def change(document):
            for each in document["categories"]:
                each["supercategory"] = name
            document["categories"].append({"id": 0, "name": name, "supercategory": "none"})

        return change

    plain = edited(data, lambda document: None)
    for name in ("beasts", plain.classes[0]):
        table = edited(data, root(name))
        assert table.classes == plain.classes and "is a heading of other categories" in caplog.text
        np.testing.assert_array_equal(table.columns["labels"], plain.columns["labels"])
    with refuses("two categories have the name"):
        edited(data, lambda d: d["categories"].append({"id": 99, "name": plain.classes[0]}))


@pytest.mark.parametrize("nothing", [None, 0])
def test_sizes_that_are_not_filled_in_are_those_of_the_image(data, nothing):
    plain = edited(data, lambda document: None)
    table = edited(data, put(("images", 0), width=nothing, height=nothing))
    np.testing.assert_array_equal(table.columns["boxes"], plain.columns["boxes"])


def test_one_file_may_be_split(data, refuses):
    path = data(lambda document: None)
    settings = dict(validation=None, test_fraction=0.2)
    splits = coco(path, (60, 80), **settings, lazy=True)
    whole = coco(path, (60, 80), validation=None)["train"]
    assert sum(map(len, splits.values())) == len(whole) > len(splits["train"])
    with refuses("validation_fraction=0.3", "has a validation split"):
        coco(path, (60, 80), validation_fraction=0.3)


def test_backslashes_are_slashes(data, tmp_path):
    path = data(put(("images", 0), file_name="sub\\0.jpg"))
    folder = tmp_path / "train2017"
    (folder / "sub").mkdir()
    (folder / "train2017-0.jpg").rename(folder / "sub" / "0.jpg")
    assert len(coco(path, (60, 80))["train"]) == 3


def test_boxes_outside_are_clipped_where_that_is_said(data, caplog):
    path = data(put(("annotations", 0), bbox=[30, 6, 16, 10]))
    columns = coco(path, (30, 40), outside="clip")["train"].columns
    assert columns["boxes"][0, 0].tolist() == [30, 6, 40, 16] and "clipped 1 boxes" in caplog.text


def test_boxes_that_are_shares_are_named(data, refuses):
    def share(document):
        for each in document["annotations"]:
            each["bbox"] = [0.1, 0.2, 0.3, 0.4]

    with refuses("shares of the sides", "annotation 101"):
        coco(data(share), (60, 80))


@pytest.mark.parametrize(("box", "size"), [([1, 1, 10, 10], (30, 40)), ([1, 30, 5, 9], (40, 30))])
def test_a_size_that_is_not_stated_is_that_in_which_the_boxes_lie(
    data, picture, tmp_path, caplog, box, size
):
    path = data(lambda document: document.update(
        images=[{"id": 1, "file_name": "turned.jpg", "width": None, "height": 0}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 7, "bbox": box, "iscrowd": None}],
    ))  # fmt: skip
    picture(tmp_path / "train2017" / "turned.jpg", 30, 40, orientation=6)
    columns = coco(path, (40, 40), validation=None)["train"].columns
    assert tuple(columns["extent"][0]) == size
    assert ("upright=True" in caplog.text) == (size == (30, 40))  # it lies in both


def test_another_split_may_lack_categories(data):
    path = data(lambda document: document["categories"].append({"id": 9, "name": 12}))
    splits = coco(path, (30, 40))
    assert splits["train"].classes == splits["validation"].classes == ("cat", "dog", "12")
