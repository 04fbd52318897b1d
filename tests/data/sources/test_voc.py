"""Pascal VOC's XML, sound and not."""

import numpy as np
import pytest

from jaxdl.data import load
from jaxdl.data.sources import voc

NOTES = """<annotation>
  <folder>VOC</folder>
  <filename>{name}.jpg</filename>
  <size>
    <width>40</width>
    <height>30</height>
    <depth>3</depth>
  </size>
{objects}</annotation>
"""
OBJECT = """  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <bndbox>
      <xmin>{x1}</xmin><ymin>{y1}</ymin>
      <xmax>{x2}</xmax><ymax>{y2}</ymax>
    </bndbox>
    <part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>
  </object>
"""


def an_object(name, x1, y1, x2, y2, difficult=0):
    return OBJECT.format(name=name, x1=x1, y1=y1, x2=x2, y2=y2, difficult=difficult)


@pytest.fixture
def data(tmp_path, picture):
    """`data(lists, **files)` writes six images; a file's text may be given."""

    def write(lists=None, **given):
        objects = {
            "a": an_object("dog", 5, 7, 20, 16) + an_object("cat", 1, 1, 40, 30, difficult=1),
            "b": "",
            "c": an_object("cat", 2, 3, 3, 4),
            "d": an_object("dog", 2.5, 3, 30, 4),
            "e": an_object("cat", 2, 3, 30, 4),
            "f": an_object("dog", 2, 3, 30, 40),
        }
        objects["f"] = an_object("dog", 2, 3, 30, 20)
        for i, (name, inside) in enumerate(objects.items()):
            picture(tmp_path / "JPEGImages" / f"{name}.jpg", 30, 40, seed=i)
            text = given.get(name) or NOTES.format(name=name, objects=inside)
            (tmp_path / "Annotations").mkdir(exist_ok=True)
            (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
        for split, names in (lists or {}).items():
            folder = tmp_path / "ImageSets" / "Main"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{split}.txt").write_text("\n".join(names) + "\n")
        return str(tmp_path)

    return write


def test_images_without_an_xml_file_are_told_where_nothing_lists_them(data, caplog, tmp_path):
    path = data()
    voc(path, (60, 80))
    assert not caplog.messages
    (tmp_path / "Annotations" / "b.xml").unlink()
    splits = voc(path, (60, 80))
    assert sum(map(len, splits.values())) == 5
    (told,) = caplog.messages
    assert "left out 1 of 6 images, which have no XML file: b.jpg" in told
    caplog.clear()
    voc(data({"train": "acdf", "val": "e"}), (60, 80), test=None)
    assert not caplog.messages


def test_classes_that_differ_in_case_alone_are_told(data, caplog):
    path = data(c=NOTES.format(name="c", objects=an_object("Dog", 2, 3, 9, 9)))
    splits = voc(path, (60, 80), test=None)
    assert splits["train"].classes == ("Dog", "cat", "dog")
    assert "classes ['Dog', 'dog'] differ only in case or blanks" in caplog.text


LISTS = {"train": "abc", "val": "d", "test": "ef"}


def test_splits_are_listed(data):
    splits = load("voc", path=data(LISTS), size=(60, 80))
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 3, "validation": 1, "test": 2,
    }  # fmt: skip
    table = splits["train"]
    assert table.classes == ("cat", "dog")
    columns = table.columns
    np.testing.assert_array_equal(columns["labels"], [[1, 0], [-1, -1], [0, -1]])
    np.testing.assert_array_equal(columns["crowd"][0], [False, True])
    # Pixels 5 to 20 begin at 4 and end at 20; the whole image is 1 to 40.
    np.testing.assert_array_equal(columns["boxes"][0], [[8, 12, 40, 32], [0, 0, 80, 60]])
    np.testing.assert_array_equal(columns["boxes"][2, 0], [2, 4, 6, 8])
    np.testing.assert_array_equal(splits["validation"].columns["boxes"][0, 0], [3, 4, 60, 8])


def test_classes_may_be_given_and_splits_chosen(data):
    path = data({"trainval": "abcd", "test": "e"})
    given = dict(train="trainval", validation=None, classes=("dog", "fox", "cat"))
    splits = voc(path, (60, 80), **given, lazy=True)
    assert set(splits) == {"train", "test"} and splits["train"].classes == ("dog", "fox", "cat")
    np.testing.assert_array_equal(splits["train"].columns["labels"][0], [0, 2])
    assert set(splits["train"].lazy) == {"image"}


def test_without_lists_a_hash_decides(data, tmp_path):
    path = data()
    splits = voc(path, (60, 80), test_fraction=0.4, validation_fraction=0.0)
    assert set(splits) == {"train", "test"} and sum(map(len, splits.values())) == 6
    only = voc(path, (60, 80), test_fraction=0.0)
    assert set(only) == {"train"} and len(only["train"]) == 6


def test_folders_may_have_other_names(data, tmp_path):
    path = data()
    for file in (tmp_path / "Annotations").iterdir():
        file.rename(file.with_suffix(".XML"))
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    (tmp_path / "Annotations").rename(tmp_path / "notes")
    splits = voc(path, (60, 80), images="images", annotations="notes", test_fraction=0.0)
    assert len(splits["train"]) == 6


def test_what_is_not_said_is_taken_from_the_image(data):
    notes = f"<annotation>{an_object('dog', 5, 7, 20, 16)}</annotation>"
    columns = voc(data(LISTS, a=notes), (60, 80))["train"].columns
    np.testing.assert_array_equal(columns["boxes"][0, 0], [8, 12, 40, 32])
    assert columns["scale"][0] == 2


def a(objects="", **changes):
    text = NOTES.format(name="a", objects=objects)
    for old, new in changes.items():
        text = text.replace(f"<{old}>", f"<{old}>{new}", 1)
    return text


DOG = an_object("dog", 1, 2, 3, 4)
SOUND = an_object("cat", 1, 2, 3, 4)
BOMB = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;">]>\n'
BAD = {
    "outside": (a(SOUND + an_object("dog", 5, 5, 43, 9)), "line 18", "outside its image"),
    "no area": (a(an_object("dog", 5, 5, 4, 9)), "line 9", "no area"),
    "nan": (a(an_object("dog", 5, "nan", 9, 9)), "line 9", "not finite"),
    "text": (a(an_object("dog", 5, "five", 9, 9)), "line 13", "ymin", "'five', not a number"),
    "empty": (a(an_object("dog", 5, 9, "", 9)), "line 14", "xmax", "'', not a number"),
    "no corner": (a(SOUND).replace("<ymax>4</ymax>", ""), "line 12", "0 elements <ymax>"),
    "two corners": (a(SOUND).replace("<ymax>4</ymax>", "<ymax>4</ymax>" * 2), "2 elements <ymax>"),
    "no box": (a("<object><name>cat</name></object>"), "line 9", "0 elements <bndbox>"),
    "no name": (a(SOUND).replace("<name>cat</name>", ""), "line 9", "0 elements <name>"),
    "size": (a(DOG).replace(">40<", ">44<"), "says 30×44", "a.jpg has 30×40"),
    "negative size": (a(SOUND).replace(">40<", ">-4<"), "line 4", "30×-4"),
    "half size": (a(SOUND).replace("<width>40</width>", ""), "line 4", "0 elements <width>"),
    "size of text": (a(SOUND).replace(">40<", ">4x<"), "line 4", "width", "'4x'"),
    "malformed": (a(SOUND).replace("</object>", ""), "line 18", "not XML (mismatched tag)"),
    "no xml": ("hello", "line 1", "not XML"),
    "nothing": (" ", "not XML (no element found)"),
    "another": ("<html></html>", "line 1", "<html>", "<annotation>"),
    "bomb": (BOMB + a(SOUND), "line 1", "DOCTYPE"),
    "encoding": ('<?xml version="1.0" encoding="utf-7"?>' + a(SOUND), "not XML"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_by_file_and_line(refuses, data, name):
    text, *fragments = BAD[name]
    path = data(LISTS, a=text)
    with refuses("voc: ", ".xml", *fragments):
        voc(path, (60, 80))


def test_refuses_an_unknown_class(refuses, data):
    path = data(LISTS, e=a(an_object("cow", 1, 2, 3, 4)).replace("a.jpg", "e.jpg"))
    with refuses("e.xml line 9", "'cow'", "cat, dog"):
        voc(path, (60, 80))
    with refuses("a.xml line 9", "'dog'", "cat", "config.data.classes"):
        voc(path, (60, 80), classes=("cat", "cow"))


@pytest.mark.parametrize(
    ("lists", "fragments"),
    [
        ({**LISTS, "train": ["a", "", "zz"]}, ("train.txt line 3", "zz.xml")),
        ({**LISTS, "train": ["a", "b", "a"]}, ("a.xml", "listed twice")),
        ({**LISTS, "val": "a"}, ("a.jpg", "train and the validation")),
        ({**LISTS, "train": ["../a"]}, ("train.txt line 1", "leads out")),
        ({**LISTS, "test": []}, ("test: no images",)),
        ({"train": "ab", "val": "c"}, ("test.txt", "train, val", "config.data.test", "None")),
        ({"val": "c"}, ("train.txt", "config.data.train")),
    ],
)
def test_refuses_lists(refuses, data, lists, fragments):
    with refuses("voc: ", *fragments):
        voc(data(lists), (60, 80))


def test_refuses_settings(refuses, data, tmp_path):
    with refuses("no folder"):
        voc(str(tmp_path / "none"), (60, 80))
    with refuses("test_fraction=1.0"):
        voc(data(), (60, 80), test_fraction=1.0)
    with refuses("size=(60, 0)"):
        voc(data(), (60, 0))


PETS = ("cat", "dog")


def placed(path, picture, *files):
    """Files of a layout: an XML file has a cat in a picture of 30 by 40."""
    for name in files:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".xml":
            file.write_text(NOTES.format(name="elsewhere", objects=SOUND))
        else:
            picture(file, 30, 40, seed=len(name))
    return str(path)


@pytest.mark.parametrize("said", ["b.jpg", "none.jpg", "a", "A.PNG", "C:\\x\\a.jpg", "../../a.jpg"])
def test_the_image_is_that_of_the_files_own_name(data, said):
    """Whatever the file says, as long as there is such an image."""
    path = data(LISTS, a=a(SOUND).replace("a.jpg", said))
    plain = voc(data(LISTS, a=a(SOUND)), (60, 80), classes=PETS)["train"].columns["image"]
    np.testing.assert_array_equal(
        voc(path, (60, 80), classes=PETS)["train"].columns["image"], plain
    )


def test_else_it_is_the_image_that_the_file_names(refuses, data, tmp_path):
    path = data(LISTS, a=a(SOUND).replace("a.jpg", "D:\\x\\photo"))
    (tmp_path / "JPEGImages" / "a.jpg").rename(tmp_path / "JPEGImages" / "photo.jpg")
    assert len(voc(path, (60, 80), classes=PETS)["train"]) == 3
    for said, fragment in (
        ("none.jpg", "none.jpg"),
        ("../../x.jpg", "leads out"),
        ("b.jpg", "twice"),
    ):
        path = data(LISTS, a=a(SOUND).replace("a.jpg", said))
        (tmp_path / "JPEGImages" / "a.jpg").unlink()
        with refuses(fragment):
            voc(path, (60, 80), classes=PETS)


def test_sizes_that_are_0_are_those_of_the_image(data):
    path = data(LISTS, a=a(an_object("cat", 5, 7, 20, 16)).replace(">40<", ">0<"))
    columns = voc(path, (60, 80), classes=PETS)["train"].columns
    np.testing.assert_array_equal(columns["boxes"][0, 0], [8, 12, 40, 32])


def test_folders_of_splits_with_everything_side_by_side(tmp_path, picture, refuses):
    names = ("train/a.jpg", "train/a.xml", "valid/b.png", "valid/b.xml", "valid/._b.xml")
    path = placed(tmp_path / "r", picture, *names)
    assert {r: len(t) for r, t in voc(path, (60, 80), classes=PETS).items()} == {
        "train": 1,
        "validation": 1,
    }
    names = [f"train/{name}.{kind}" for name in "cdefgh" for kind in ("jpg", "xml")]
    path = placed(tmp_path / "r", picture, *names)
    assert {*voc(path, (60, 80), test_fraction=0.5)} == {"train", "validation", "test"}
    with refuses("validation_fraction=0.5", "has a validation split"):
        voc(path, (60, 80), validation_fraction=0.5)
    flat = placed(tmp_path / "f", picture, "a.jpg", "a.xml", "b.jpg", "b.xml")
    assert len(voc(flat, (60, 80), test_fraction=0)["train"]) == 2


def test_corners_from_0(data, caplog):
    path = data(LISTS, a=a(an_object("cat", 0, 0, 8, 8)))
    box = voc(path, (60, 80), classes=PETS)["train"].columns["boxes"][0, 0]
    assert box.tolist() == [0, 0, 16, 16] and "set origin=0" in caplog.text
    caplog.clear()
    columns = voc(path, (60, 80), classes=PETS, origin=0)["train"].columns
    assert columns["boxes"][2, 0].tolist() == [4, 6, 6, 8] and not caplog.text


def test_boxes_that_leave_their_image_may_be_clipped(data, caplog):
    path = data(LISTS, a=a(an_object("cat", 30, 11, 99, 20)))
    box = voc(path, (60, 80), classes=PETS, outside="clip")["train"].columns["boxes"][0, 0]
    assert box.tolist() == [58, 20, 80, 40] and "clipped 1 boxes" in caplog.text


def test_boxes_that_are_shares_are_named(data, refuses):
    shares = a(an_object("cat", 0.2, 0.2, 0.5, 0.6))
    path = data({"train": "a", "val": "d", "test": "ef"}, a=shares)
    with refuses("a.xml line 9", "shares of the sides", "width, 40"):
        voc(path, (60, 80), classes=("cat", "dog"), origin=0)


def test_lists_name_images_as_tools_do(data):
    lines = ["a.jpg", "JPEGImages\\b.jpg", "c  1", "/home/x/VOC/JPEGImages/d.png"]
    splits = voc(data({"train": lines, "val": ["e -1"]}), (60, 80), test=None)
    assert {role: len(table) for role, table in splits.items()} == {"train": 4, "validation": 1}


def test_what_would_have_no_effect_is_refused(data, refuses):
    path = data()
    with refuses("no ImageSets/Main", "train='trainval'"):
        voc(path, (60, 80), train="trainval")
    with refuses("no folder 'images'", "config.data.images"):
        voc(path, (60, 80), images="images")
    assert list(voc(path, (60, 80), test=None)) == ["train"]


def test_objects_without_a_name_or_with_a_strange_mark_are_refused(data, refuses):
    for thing, fragment in (
        (an_object("", 1, 1, 2, 2), "<name> is empty"),
        (an_object("cat", 1, 1, 2, 2, difficult="perhaps"), "<difficult> is 'perhaps'"),
    ):
        with refuses("a.xml line 9", fragment):
            voc(data(a=NOTES.format(name="a", objects=thing)), (60, 80), test_fraction=0.0)


def test_a_size_that_is_empty_is_that_of_the_image(data):
    notes = NOTES.format(name="a", objects=an_object("cat", 1, 1, 40, 30))
    notes = notes.replace("<width>40</width>", "<width/>")
    columns = voc(data(a=notes), (30, 40), test_fraction=0.0)["train"].columns
    assert columns["boxes"][0, 0].tolist() == [0, 0, 40, 30]
