"""YOLO's text files, sound and not."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxdl.data import load
from jaxdl.data.sources import yolo


@pytest.fixture
def data(tmp_path, picture):
    """`data(a=…)` writes the usual layout; the lines of an image may be given."""

    def write(yaml=None, **lines):
        texts = {"train/a": "1 0.25 0.5 0.5 1\n\n0 .5 .5 .1 .2\n", "train/b": None,
                 "val/c": "0 0.5 0.5 0.2 0.2", "test/d": "1 0.5 0.5 0.2 0.2"}  # fmt: skip
        for i, (name, text) in enumerate(texts.items()):
            picture(tmp_path / "images" / f"{name}.jpg", 30, 40, seed=i)
            text = lines.get(name[-1], text)
            if text is not None:
                file = tmp_path / "labels" / f"{name}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        if yaml is None:
            (tmp_path / "classes.txt").write_text("cat\ndog\n")
        else:
            (tmp_path / "data.yaml").write_text(yaml)
        return str(tmp_path)

    return write


YAML = "names: [cat, dog]\nnc: 2\ntrain: images/train\nval: images/val\n"


def test_the_usual_layout(data):
    splits = load("yolo", path=data(), size=(60, 80))
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip
    columns = splits["train"].columns
    assert splits["train"].classes == ("cat", "dog")
    np.testing.assert_array_equal(columns["labels"], [[1, 0], [-1, -1]])
    np.testing.assert_allclose(columns["boxes"][0], [[0, 0, 40, 60], [36, 24, 44, 36]], atol=1e-4)
    assert not columns["crowd"].any()


@pytest.mark.parametrize(
    "names", ["names: [cat, dog]", "names:\n  0: cat\n  1: dog", "names: {1: dog, 0: cat}"]
)
def test_a_description_names_classes_and_folders(data, names):
    path = data(f"# mine\n{names}\ntrain: [images/train, images/test]\nval: ./images/val\ntest:\n")
    splits = yolo(path, (60, 80), lazy=True)
    assert {role: len(table) for role, table in splits.items()} == {"train": 3, "validation": 1}
    assert splits["train"].classes == ("cat", "dog") and set(splits["train"].lazy) == {"image"}


def test_images_without_labels_are_told_and_lists_of_classes_agree(data, refuses, caplog):
    path = data()
    load("yolo", path=path, size=(60, 80))
    assert "train: 1 of 2 images have no text file, and so no objects" in caplog.text
    (Path(path) / "labels" / "val" / "classes.txt").write_text("dog\ncat\n")
    with refuses("val/classes.txt: its classes are ('dog', 'cat'), those of the data"):
        load("yolo", path=path, size=(60, 80))


def test_a_description_may_have_another_name(data, tmp_path):
    data(YAML)
    (tmp_path / "data.yaml").rename(tmp_path / "cats.yaml")
    assert len(yolo(str(tmp_path / "cats.yaml"), (60, 80))["train"]) == 2


def test_images_may_be_inside_the_splits(data, tmp_path):
    path = data()
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (tmp_path / split).mkdir(exist_ok=True)
            shutil.move(tmp_path / kind / split, tmp_path / split / kind)
    (tmp_path / "val").rename(tmp_path / "valid")
    splits = yolo(path, (60, 80))
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip
    np.testing.assert_array_equal(splits["train"].columns["labels"], [[1, 0], [-1, -1]])


def test_a_turned_picture_is_turned(data, tmp_path, picture):
    path = data()
    picture(tmp_path / "images/train/a.jpg", 30, 40, orientation=6)
    columns = yolo(path, (60, 80))["train"].columns
    np.testing.assert_array_equal(columns["extent"], [[60, 45], [60, 80]])
    np.testing.assert_allclose(columns["boxes"][0, 0], [0, 0, 22.5, 60], atol=1e-4)


BAD = {
    "outside": ("0 .5 .5 .1 .1\n0 .9 .5 .5 .2", "line 2", "outside its image"),
    "no area": ("\n0 .5 .5 0 .2", "line 2", "no area"),
    "negative": ("0 .5 .5 -.1 .2", "line 1", "ends before it begins"),
    "nan": ("0 .5 nan .1 .2", "line 1", "not finite"),
    "pixels": ("0 20 15 5 5", "line 1", "outside", "shares of its sides"),
    "text": ("0 .5 x .1 .2", "line 1", "'x', not a number"),
    "four": ("0 .5 .5 .1", "line 1", "4 numbers", "class, x, y, width and height"),
    "outline": ("0 .5 .5 .1 .1 .2", "line 1", "6 numbers", "polygon"),
    "unknown": ("2 .5 .5 .1 .2", "line 1", "class 2", "0 to 1"),
    "below": ("-1 .5 .5 .1 .2", "line 1", "class -1"),
    "name": ("cat .5 .5 .1 .2", "line 1", "class is 'cat'"),
    "share": ("0.5 .5 .5 .1 .2", "line 1", "'0.5', not a whole number"),
    "infinite": ("inf .5 .5 .1 .2", "line 1", "not a whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_by_file_and_line(refuses, data, name):
    text, *fragments = BAD[name]
    with refuses("yolo: ", "labels/train/a.txt", *fragments):
        yolo(data(a=text), (60, 80))


@pytest.mark.parametrize(
    ("yaml", "fragments"),
    [
        ("names: [cat\ntrain: x", ("line 2", "not YAML")),
        ("- cat", ("names",)),
        ("names: cat\ntrain: images/train", ("names must be a list",)),
        ("names: {1: cat, 2: dog}\ntrain: images/train", ("numbered from 0",)),
        ("names: [cat, cat]\ntrain: images/train", ("'cat' is listed twice",)),
        ("names: []\ntrain: images/train", ("names",)),
        ("names: [cat, dog]\nnc: 3\ntrain: images/train", ("nc is not 2",)),
        ("names: [cat, dog]", ("no `train`",)),
        ("names: [cat, dog]\ntrain: {a: b}", ("train must be a folder",)),
        ("names: [cat, dog]\ntrain: images/none", ("images/none", "`train`")),
        ("names: [cat, dog]\ntrain: ../images/none", ("train", "leads out")),
        ("names: [cat, dog]\ntrain: /etc", ("train", "leads out")),
        ("names: [cat, dog]\ntrain: images/train\nval: a\nvalid: b", ("val and valid",)),
        (f"{YAML}test: images/train", ("train and the test",)),
        ("names: !!python/object/apply:os.system [echo]", ("not YAML",)),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\ntrain: images/train", ("names must be a list",)),
    ],
)
def test_refuses_a_description(refuses, data, yaml, fragments):
    with refuses("yolo: ", *fragments):
        yolo(data(yaml), (60, 80))


def test_refuses_folders(refuses, data, tmp_path):
    with refuses("no folder"):
        yolo(str(tmp_path / "none"), (60, 80))
    with refuses("neither data.yaml nor", "classes.txt"):
        yolo(str(tmp_path), (60, 80))
    (tmp_path / "classes.txt").write_text("cat\n")
    with refuses("neither images/train, train/images nor images"):
        yolo(str(tmp_path), (60, 80))
    (tmp_path / "images" / "train").mkdir(parents=True)
    with refuses("train: no images"):
        yolo(str(tmp_path), (60, 80))
    path = data()
    (tmp_path / "labels" / "train" / "lost.txt").write_text("")
    with refuses("labels/train/lost.txt", "no image"):
        yolo(path, (60, 80))
    (tmp_path / "labels" / "train" / "lost.txt").rename(tmp_path / "labels/train/classes.txt")
    shutil.copy(tmp_path / "images/train/a.jpg", tmp_path / "images/train/a.png")
    with refuses("a.png", "a.jpg", "the same labels"):
        yolo(path, (60, 80))
    (tmp_path / "images/train/a.png").unlink()
    (tmp_path / "images/train/b.jpg").write_text("hello")
    with refuses("b.jpg", "not an image"):
        yolo(path, (60, 80))


@pytest.mark.parametrize(
    "train",
    ["../images/train", "./images/train", "images\\\\train", "{root}/images/train", "list.txt"],
)
@pytest.mark.parametrize("base", ["", "path: ../elsewhere\n", "path: /content/data\n", "path: .\n"])
def test_paths_of_other_machines_and_tools(data, tmp_path, train, base):
    """As long as the folder is below that of the description."""
    (tmp_path / "list.txt").write_text(f"./images/train/a.jpg\n\n{tmp_path}/images/train/b.jpg\n")
    path = data(f"names: [cat, dog]\n{base}train: {train.format(root=tmp_path)}\n")
    table = yolo(path, (60, 80))["train"]
    assert table.columns["labels"].tolist() == [[1, 0], [-1, -1]]


def test_a_list_names_what_is_missing_by_line(data, tmp_path, refuses):
    path = data("names: [cat, dog]\ntrain: list.txt\n")
    for line, fragment in (("images/train/z.jpg", "no image"), ("../../x.jpg", "leads out")):
        (tmp_path / "list.txt").write_text(f"images/train/a.jpg\n{line}\n")
        with refuses("list.txt line 2", fragment):
            yolo(path, (60, 80))


def test_of_a_polygon_the_box_around_it(data):
    path = data(a="0 .1 .2 .5 .2 .5 .6 .3 .8 .1 .6\n1 .5 .5 1 1")
    columns = yolo(path, (30, 40))["train"].columns
    np.testing.assert_allclose(columns["boxes"][0], [[4, 6, 20, 24], [0, 0, 40, 30]], atol=1e-4)


def test_keypoints_follow_a_box(data):
    path = data(f"{YAML}kpt_shape: [2, 2]\n", a="0 .5 .5 1 1 .1 .2 .3 .4")
    columns = yolo(path, (30, 40))["train"].columns
    np.testing.assert_allclose(columns["boxes"][0], [[0, 0, 40, 30]], atol=1e-4)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("[yes, no]", ("yes", "no")),
        ("[007, 1_2]", ("007", "1_2")),
        ("[null, 1e3]", ("null", "1e3")),
    ],
)
def test_names_are_as_they_are_written(data, names, classes):
    assert yolo(data(YAML.replace("[cat, dog]", names)), (30, 40))["train"].classes == classes


def test_classes_without_names_have_numbers(data):
    assert yolo(data("nc: 2\ntrain: images/train\n"), (30, 40))["train"].classes == ("0", "1")


def test_what_systems_leave_behind_is_not_data(data, tmp_path):
    path = data()
    for name in ("images/train/._a.jpg", "labels/train/._a.txt", "labels/train/.x.txt"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / "images" / "train" / "@eaDir").mkdir()
    (tmp_path / "images" / "train" / "@eaDir" / "a.jpg").write_bytes(b"x")
    assert len(yolo(path, (30, 40))["train"]) == 2


@pytest.mark.parametrize("folders", [("images", "labels"), ("", ""), ("Images", "Images")])
def test_data_that_is_not_split(tmp_path, picture, folders):
    for i in range(12):
        picture(tmp_path / folders[0] / f"{i}.jpg", seed=i)
        file = tmp_path / folders[1] / f"{i}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("0 .5 .5 .5 .5\n")
    (tmp_path / folders[1] / "classes.txt").write_text("cat\n")
    usual = yolo(str(tmp_path), (30, 40))
    assert {*usual} == {"train", "test"} and sum(map(len, usual.values())) == 12
    halves = yolo(str(tmp_path), (30, 40), validation_fraction=0.5, test_fraction=0.0)
    assert {*halves} == {"train", "validation"}


def test_splits_as_cvat_names_them(tmp_path, picture):
    for role, number in (("train", 3), ("Validation", 2)):
        for i in range(number):
            picture(tmp_path / f"obj_{role}_data" / f"{role}{i}.jpg", seed=i)
            label = tmp_path / f"obj_{role}_data" / f"{role}{i}.txt"
            label.write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "obj.names").write_text("cat\n")
    splits = yolo(str(tmp_path), (30, 40))
    assert {role: len(table) for role, table in splits.items()} == {"train": 3, "validation": 2}


def test_folders_and_suffixes_may_be_capital(tmp_path, picture):
    for i in range(3):
        picture(tmp_path / "Images" / f"{i}.JPG", seed=i)
        label = tmp_path / "Labels" / f"{i}.TXT"
        label.parent.mkdir(exist_ok=True)
        label.write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "Labels" / "classes.txt").write_text("cat\n")
    table = yolo(str(tmp_path), (30, 40), test_fraction=0.0)["train"]
    assert table.columns["labels"].tolist() == [[0]] * 3


def test_texts_beside_images_are_no_labels_where_there_is_a_folder_of_these(tmp_path, picture):
    for i in range(3):
        picture(tmp_path / "images" / f"{i}.jpg", seed=i)
        (tmp_path / "images" / f"{i}.txt").write_text("a cat on a mat")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    table = yolo(str(tmp_path), (30, 40), test_fraction=0.0)["train"]
    assert table.columns["labels"].tolist() == [[0], [-1], [-1]]


def test_a_fraction_beside_a_split_is_refused(data, refuses):
    with refuses("yolo: test_fraction=0.2", "has a test split"):
        yolo(data(), (60, 80), test_fraction=0.2)


def test_labels_are_found_in_either_unicode_form(tmp_path, picture):
    picture(tmp_path / "images" / "train" / "caf\u00e9.jpg")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "cafe\u0301.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert yolo(str(tmp_path), (30, 40))["train"].columns["labels"].tolist() == [[0]]


def test_folders_of_another_machine(data):
    yaml = "names: [cat, dog]\ntrain: /content/x/images/train\nval: C:\\x\\images\\val\n"
    assert list(yolo(data(yaml), (60, 80))) == ["train", "validation"]
