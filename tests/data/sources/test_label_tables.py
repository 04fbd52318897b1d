"""Images and a table of their classes."""

import pytest

from jaxdl.data import load
from jaxdl.data.sources.image_folders import images


@pytest.fixture
def read(tmp_path):
    """Writes a table and reads the images with it."""

    def read(content, labels="labels.csv", **settings):
        (tmp_path / "labels.csv").write_text(content)
        return images(str(tmp_path), size=4, labels=labels, **{"test_fraction": 0.0, **settings})

    return read


def kinds(table):
    return [table.classes[i] for i in table.columns["label"]]


@pytest.mark.parametrize(
    "content",
    [
        "filename,label\na.png,cat\nb.png,dog\n",
        "id,breed\na,cat\nb,dog\n",
        "breed;id\ncat;train/a\ndog;train/b\n",
        "path\tclass\nC:\\data\\train\\a.png\tcat\n/home/me/train/b.jpg\tdog\n",
        "name,size,class\n./train/a.png,4,cat\ntrain/b.png,5,dog\n",
    ],
)
def test_rows_name_images_with_or_without_suffix_and_folders(draw, read, content):
    draw("train/a.png", "train/b.png")
    splits = read(content)
    assert kinds(splits["train"]) == ["cat", "dog"] and {*splits} == {"train"}


def test_a_column_for_each_class(draw, read, refuses):
    draw("a.png", "b.png", "c.png")
    rows = "name,cat,dog\na,1,0\nb,0,1.0\nc,{},{}\n"
    for content in (rows.format(1, 0), "name,cat,dog\na,yes,no\nb,no,yes\nc,yes,no\n"):
        table = read(content, label=("cat", "dog"))["train"]
        assert kinds(table) == ["cat", "dog", "cat"] and table.classes == ("cat", "dog")
    for wrong, told in (
        (("1", "1"), "line 4: 2 of the columns cat, dog are 1; a row is learnt with one class"),
        (("0", "0"), "line 4: 0 of the columns"),
        (("2", "0"), "line 4: '2' in one of the columns cat, dog; write 1"),
        (("", "1"), "line 4: '' in one of the columns"),
    ):
        with refuses(told):
            read(rows.format(*wrong), label=("cat", "dog"))
    with refuses("has no column 'dgo'"):
        read(rows.format(1, 0), label=("cat", "dgo"))


def test_a_fifth_of_a_single_table_is_held_out(draw, read):
    draw(*(f"{i}.png" for i in range(40)))
    rows = "".join(f"{i},{i % 2}\n" for i in range(40))
    splits = read(f"id,label\n{rows}", test_fraction=None)
    assert {*splits} == {"train", "test"} and splits["train"].classes == ("0", "1")
    more = read(f"id,label\n{rows}", validation_fraction=0.3, test_fraction=None)
    assert sum(map(len, more.values())) == 40 and len(more) == 3


def test_a_name_in_two_folders_is_that_of_the_split(draw, read, tmp_path, caplog):
    draw("train/1.png", "train/2.png", "test/1.png", "test/2.png", "test/3.png")
    assert {*read("id,label\n1,cat\n2,dog\n")} == {"train"}
    assert "left out 3 of 5 images, which no row of the labels names: test/1.png" in caplog.text
    (tmp_path / "test.csv").write_text("id,label\n2,cat\n")
    tables = {"train": "labels.csv", "test": "test.csv"}
    splits = read("id,label\n1,cat\n2,dog\n", tables)
    assert kinds(splits["train"]) == ["cat", "dog"] and kinds(splits["test"]) == ["cat"]


def test_images_in_folders_of_splits_are_of_these_in_a_single_table(draw, read):
    draw("images/train/a.png", "images/train/b.png", "images/val/c.png")
    splits = read("file,label\na.png,x\nb.png,y\nc.png,x\n")
    assert {role: kinds(table) for role, table in splits.items()} == {
        "train": ["x", "y"], "validation": ["x"],
    }  # fmt: skip


def test_a_config_names_the_table(draw, tmp_path):
    draw("a.png", "b.png")
    (tmp_path / "t.csv").write_text("id,x,y\na,1,cat\nb,2,dog\n")
    splits = load(
        "images", path=str(tmp_path), size=4, labels="t.csv", label="y", test_fraction=0.0
    )
    assert kinds(splits["train"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "settings", "fragments"),
    [
        ("id,label\na,x\nc,y\n", {}, ["line 3: no image 'c' below", "remove the row"]),
        ("id,label\na,x\na.png,y\n", {}, ["line 3: image 'a.png' is also in", "line 2; keep one"]),
        ("id,label\na,x\nb,\n", {}, ["line 3, column 'label': no label"]),
        ("id,label\n,x\nb,y\n", {}, ["line 2: no image ''"]),
        ("id,label\nx,1\ny,2\n", {}, ["no column names images below", "its first row is"]),
        ("id,u,v\na,1,2\nb,2,1\n", {}, ["which column is the class? set label=… to one of u, v"]),
        ("id,label\na,x\nb,y\n", {"label": "kind"}, ["has no column 'kind'", "id, label"]),
        ("id,label\na,x\nb,y\n", {"label": "id"}, ["no column twice"]),
        (
            "a.png,x\nb.png,x\nc.png,x\n",
            {},
            ["starts with a row (a.png, x)", "write a first line with names"],
        ),
        ("id,label\n", {}, ["has no rows"]),
        ("id,label\nd,x\nb,y\n", {}, ["could belong to d.jpg or d.png"]),
        ("id,label\na,x\nb,y\n", {"splits": {"train": "train"}}, ["leave them out"]),
        ("id,label\na,x\nb,y\n", {"labels": {"test": "labels.csv"}}, ["name the table of 'train'"]),
        ("id,label\na,x\nb,y\n", {"labels": "none.csv"}, ["none.csv", "No such file"]),
        ("id,label\na,x\nb,y\n", {"labels": "../x/labels.csv"}, ["leads out of its folder"]),
        ("id,label\na,x\nb,y\n", {"labels": None, "label": "label"}, ["name the table"]),
        ("id,label\na,1\nb,NA\n", {}, ["1 cells are ['NA']", "remove these rows"]),
    ],
)
def test_what_is_wrong_with_a_table_of_classes_is_one_line(
    draw, read, refuses, content, settings, fragments
):
    draw("a.png", "b.png", "d.png", "d.jpg")
    with refuses(*fragments):
        read(content, **settings)
