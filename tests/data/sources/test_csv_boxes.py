"""Images with boxes in tables."""

import numpy as np
import pytest

from jaxdl.data.recognition import recognize
from jaxdl.data.sources.csv_boxes import csv_boxes

TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def write(tmp_path):
    def write(name, *lines):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join(lines) + "\n")

    return write


@pytest.fixture
def read(tmp_path):
    def read(**settings):
        settings = {"train": "t.csv", "test_fraction": 0.0, **settings}
        return csv_boxes(str(tmp_path), size=(20, 40), **settings)

    return read


@pytest.mark.parametrize(
    ("lines", "classes"),
    [
        ([TENSORFLOW, "a.png,40,20,dog,4,2,14,12"], ("dog",)),
        (["image_id,width,height,bbox,source", 'a,40,20,"[4.0, 2.0, 10.0, 10.0]",x'], ("object",)),
        (["image,x,y,w,h,label", "train/a.png,4,2,10,10,dog"], ("dog",)),
        (["image_name;x1;y1;x2;y2;label_name", "a.png;4;2;14;12;dog"], ("dog",)),
        (["C:\\data\\train\\a.png,4,2,14,12,dog"], ("dog",)),
    ],
)
def test_boxes_as_tools_write_them(draw, write, read, lines, classes):
    draw("train/a.png")
    write("t.csv", *lines)
    table = read()["train"]
    assert table.classes == classes
    assert table.columns["boxes"][0].tolist() == [[4, 2, 14, 12]]
    assert table.columns["labels"].tolist() == [[0]]


@pytest.mark.parametrize("name", ["ClassId", "category_id", "label id", "species"])
def test_classes_by_other_names(draw, write, read, name):
    draw("a.png", "b.png")
    write("t.csv", f"{name},file,xmin,ymin,xmax,ymax", "dog,a,4,2,14,12", "cat,b,4,2,14,12")
    assert read()["train"].classes == ("cat", "dog")


def test_that_no_column_is_of_the_classes_is_told(draw, write, read, caplog):
    draw("a.png")
    write("t.csv", "file,xmin,ymin,xmax,ymax,what", "a,4,2,14,12,dog")
    assert read()["train"].classes == ("object",)
    assert "of one class, as no column is called class; not read: what" in caplog.text


def test_an_image_may_have_several_rows_or_an_empty_one(draw, write, read, caplog):
    draw("a.png", "b.png", "c.png")
    write("t.csv", "b.png,4,2,14,12,dog", "a.png,,,,,", "b.png,0,0,5,5,cat")
    table = read()["train"]
    assert table.classes == ("cat", "dog")
    assert table.columns["labels"].tolist() == [[1, 0], [-1, -1]]
    assert "left out 1 of 3 images, which no row names: c.png" in caplog.text


def test_each_split_has_its_table_and_a_name_is_that_of_its_folder(draw, write, read):
    draw("train/a.png")
    draw("valid/a.png", size=(20, 20))
    for split, width in (("train", 40), ("valid", 20)):
        write(f"{split}/_annotations.csv", TENSORFLOW, f"a.png,{width},20,dog,4,2,14,12")
    splits = read(train="train/_annotations.csv", validation="valid/_annotations.csv")
    assert {*splits} == {"train", "validation"}
    assert splits["validation"].columns["extent"].tolist() == [[20, 20]]


def test_init_finds_the_tables_of_boxes(draw, write, tmp_path, refuses):
    draw("test/a.png", "train/a.png", *(f"train/{i}.png" for i in range(9)))
    rows = (f"{i}.png,40,20,{'cat' if i else 'dog'},4,2,14,12" for i in range(9))
    write("train.csv", TENSORFLOW, "a.png,40,20,dog,4,2,14,12", *rows)
    write("sample_submission.csv", "image_id,PredictionString", "a,0.5 0 0 5 5")
    write("classes.csv", "dog,0", "cat,1")
    found = recognize(str(tmp_path))
    assert (found.source, found.settings["train"]) == ("csv_boxes", "train.csv")
    assert found.to_predict == (str(tmp_path / "test"),)
    write("test.csv", TENSORFLOW, "a.png,40,20,dog,4,2,14,12")
    assert recognize(str(tmp_path)).settings["test"] == "test.csv"
    (tmp_path / "train.csv").rename(tmp_path / "more.csv")
    with refuses("has 2 tables of boxes, more.csv, test.csv; call that to train on train.csv"):
        recognize(str(tmp_path))


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("c.png,40,20,dog,4,2,14,12", ["line 3: no image 'c.png' below", "remove the row"]),
        ("a.png,40,20,dog,4,2,140,12", ["line 3: box (4, 2, 140, 12) is outside its image"]),
        ("a.png,40,20,dog,14,2,4,12", ["line 3: box (14, 2, 4, 12) ends before it begins"]),
        ("a.png,40,20,dog,x,2,4,12", ["line 3: xmin is 'x', not a number"]),
        ("a.png,40,20,dog,4,,4,12", ["line 3: ymin is '', not a number"]),
        ("a.png,40,20,,4,2,14,12", ["line 3: an object without a class; name it in 'class'"]),
        ("b.png,50,20,dog,4,2,14,12", ["line 3", "50"]),
        ("b.png,wide,20,dog,4,2,14,12", ["line 3: width is 'wide', not a number"]),
        ("d,40,20,dog,4,2,14,12", ["line 3: could belong to d.jpg or d.png"]),
        ("a.png,40,20,dog,inf,2,14,12", ["line 3: box (inf, 2, 14, 12) is not finite"]),
        ("a.png,40,20,dog", ["line 3 has 4 cells, the header 8"]),
    ],
)
def test_a_wrong_row_is_named(draw, write, read, refuses, line, fragments):
    draw("a.png", "b.png", "d.png", "d.jpg")
    write("t.csv", TENSORFLOW, "a.png,40,20,dog,4,2,14,12", line)
    with refuses("t.csv", *fragments):
        read()


@pytest.mark.parametrize(
    ("lines", "fragments"),
    [
        (["id,label", "a.png,dog"], ["no columns of boxes among", "call them xmin"]),
        ([TENSORFLOW, "x.png,40,20,dog,4,2,14,12"], ["no column names images below"]),
        ([TENSORFLOW, "a.png,40,20,dog,.1,.1,.5,.6"], ["shares of the sides?"]),
        (["id,bbox", 'a,"[1, 2, 3]"'], ["line 2: bbox '[1, 2, 3]'; it must be [x, y, width"]),
        ([TENSORFLOW, "a.png,40,20,,,,,"], ["no image has an object"]),
        ([TENSORFLOW], ["has no rows"]),
    ],
)
def test_a_wrong_table_is_named(draw, write, read, refuses, lines, fragments):
    draw("a.png")
    write("t.csv", *lines)
    with refuses("t.csv", *fragments):
        read()


def test_splits_that_do_not_agree_are_refused(draw, write, read, refuses):
    draw("a.png", "b.png")
    write("t.csv", TENSORFLOW, "a.png,40,20,dog,4,2,14,12")
    write("u.csv", TENSORFLOW, "b.png,40,20,owl,4,2,14,12")
    with refuses("u.csv line 2: class 'owl' is unknown; those in the train split are dog"):
        read(test="u.csv", test_fraction=None)
    with refuses("a.png is both in the train and the test split"):
        read(test="t.csv", test_fraction=None)
    with refuses("none.csv", "No such file"):
        read(train="none.csv")
    with refuses("the data has a test split"):
        read(test="u.csv", test_fraction=0.5)


def test_a_large_table_is_held_out_by_images(draw, write, read):
    names = [f"{i}.png" for i in range(30)]
    draw(*names)
    write("t.csv", TENSORFLOW, *(f"{n},40,20,dog,{x},2,14,12" for n in names for x in (1, 2)))
    splits = read(test_fraction=None)
    assert {*splits} == {"train", "test"} and sum(map(len, splits.values())) == 30
    assert np.all(splits["test"].columns["labels"] == 0)
