"""Files made to take long, or much memory: they are read in proportion to their size, or refused.

The bound is far above what reading takes; without care each takes minutes, or all of the memory.
"""

import io
import json
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.sources import arrays, captions, coco, csv, text, tunes, voc, yolo
from jaxdl.data.text import abc

MANY = 40_000
SPLIT = dict(validation_fraction=0.0, test_fraction=0.0)


@pytest.fixture(autouse=True)
def in_time():
    """A test may take 40 seconds, on a machine that is busy."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 40


@pytest.fixture
def boxes(tmp_path):
    """A folder with a picture, in which files may be written; returns its path."""

    def write(**files):
        for name, content in {"labels/a.txt": "0 .5 .5 .2 .2\n", **files}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        (tmp_path / "images").mkdir()
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / "a.png")
        return str(tmp_path)

    return write


@pytest.mark.parametrize("last", ("label", "kind"))
def test_csv_of_very_many_columns(tmp_path, refuses, last):
    file = tmp_path / "t.csv"
    names = [*(f"c{i}" for i in range(100_000)), last]
    file.write_text(",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    if last == "kind":
        with refuses("no column 'label'", "c0, c1", "99,981 more"):
            csv(str(file), label="label", **SPLIT)
    else:
        table = csv(str(file), label="label", **SPLIT)["train"]
        assert table.columns["features"].shape == (1, 100_000)


def test_csv_of_very_many_columns_twice(tmp_path, refuses):
    file = tmp_path / "t.csv"
    file.write_text(",".join([f"c{i}" for i in range(50_000)] * 2) + "\n1\n")
    with refuses("occur twice"):
        csv(str(file), label="c0")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("a,b\n" + "\n" * 10**6, ["no rows"]),
        ("a,b\n" + "," * 10**6, ["1000001 cells"]),
        ("a,b\n1," + "9" * 10**6, []),
        ("a,b\n1," + "9" * 10**5, ["not a finite number"]),
        ('a,b\n1,"' + "x\n" * 10**6, []),
        ("a,b\n1,2\n\0", ["zero byte"]),
    ],
)
def test_csv(tmp_path, refuses, content, fragments):
    (tmp_path / "t.csv").write_text(content)
    with refuses(*fragments):
        csv(str(tmp_path / "t.csv"), target="b")


@pytest.mark.parametrize("mapped", (False, True))
def test_very_many_names_of_classes(boxes, mapped):
    names = [f"{i}: n{i}" if mapped else f"n{i}" for i in range(MANY)]
    opening, closing = "{}" if mapped else "[]"
    root = boxes(**{"data.yaml": f"names: {opening}{', '.join(names)}{closing}\ntrain: images\n"})
    assert len(yolo(root, (8, 8))["train"].classes) == MANY


def test_very_many_lines_of_classes_and_of_folders(boxes, refuses):
    root = boxes(**{"data.yaml": f"names: [a]\ntrain: [{'images, ' * MANY}]\n"})
    assert len(yolo(root, (8, 8))["train"]) == 1


LAUGHS = "a0: &a0 {k: lol}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)
)
LISTS = "a0: &a0 [lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("yaml", "fragments"),
    [
        (LAUGHS + "names: *a29\n", ["names must be a list"]),
        (LISTS + "names: *a29\n", ["names must be a list"]),
        (LISTS + "names: [a]\ntrain: *a29\n", ["a folder, or a list"]),
        ("names: &a [*a]\ntrain: images\n", ["data.yaml line 1", "not YAML"]),
        ("names: " + "[" * 10**5, ["data.yaml", "deep"]),
        ("- " * 10**4, ["data.yaml", "deep"]),
        ("names: " + "{a: " * 10**4, ["data.yaml", "deep"]),
        ("names: [a]\nnc: 1" + ":1" * 10**5 + "\ntrain: images\n", ["nc"]),
        ("names: [a]\nnc: 0x" + "f" * 10**6 + "\ntrain: images\n", ["nc"]),
        ("names: [a]\nnc: !!int 0x" + "f" * 10**6 + "\ntrain: images\n", ["nc"]),
        ("names: [a]\ntrain: " + "x" * 10**6, ["no folder"]),
    ],
)  # fmt: skip
def test_yaml(boxes, refuses, yaml, fragments):
    with refuses(*fragments):
        yolo(boxes(**{"data.yaml": yaml}), (8, 8))


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("0 " * 10**6, ["1000000 numbers"]),
        ("9" * 10**6 + " .5 .5 .2 .2", ["not a whole number"]),
        ("1e300 .5 .5 .2 .2", ["not a whole number"]),
        ("0 .5 .5 1e308 1e308", ["box"]),
        ("0 nan .5 .2 .2", ["finite"]),
        ("\n" * 10**6, ["no image has an object"]),
    ],
)
def test_yolo_lines(boxes, refuses, line, fragments):
    root = boxes(**{"labels/a.txt": line, "data.yaml": "names: [a]\ntrain: images\n"})
    with refuses(*fragments):
        yolo(root, (8, 8))


def test_room_for_as_many_objects_in_each_image_is_refused_where_memory_is_not(
    boxes, refuses, monkeypatch
):
    monkeypatch.setattr("os.sysconf", lambda name: 300)  # 90,000 bytes
    root = boxes(
        **{"labels/a.txt": "0 .5 .5 .2 .2\n" * 10_000, "data.yaml": "names: [a]\ntrain: images\n"}
    )
    with refuses("room for 10000 objects each"):
        yolo(root, (8, 8))


OBJECT = (
    "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax>"
    "</bndbox></object>"
)
NOTE = "<annotation><filename>a.png</filename>{}</annotation>"


@pytest.mark.slow  # the type checks of the tests take most of it
def test_very_many_classes_of_objects(boxes):
    note = NOTE.format("".join(map(OBJECT.format, range(MANY))))
    root = boxes(**{"Annotations/a.xml": note})
    assert len(voc(root, (8, 8), images="images", test_fraction=0.0)["train"].classes) == MANY


@pytest.mark.parametrize(
    ("xml", "fragments"),
    [
        (NOTE.format("<a>" * 10**5 + "</a>" * 10**5), ["deep"]),
        (NOTE.format("<a>" * 10**6), ["deep"]),
        (NOTE.format("<x>" + "a<!-- -->" * 10**6 + "</x>"), ["no image has an object"]),
        (NOTE.format(OBJECT.format("a<b/>" * 10**4)), []),
        (NOTE.format("<x " + " ".join(f'a{i}="1"' for i in range(10**5)) + "/>"), ["no image has"]),
        (NOTE.format("&a;"), ["not XML"]),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "/etc/hostname">]>' + NOTE.format("&b;"), ["DOCTYPE"]),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">' + NOTE.format(""), ["DOCTYPE"]),
        (" " * 2**25 + NOTE.format(""), ["larger than"]),
        (NOTE.format(OBJECT.format("x" * 10**6)), []),
        ('<?xml version="1.0" encoding="utf-7"?>' + NOTE.format(""), ["a.xml"]),
        ("\ufeff\ufeff" + NOTE.format(""), ["not XML"]),
    ],
)  # fmt: skip
def test_xml(boxes, refuses, xml, fragments):
    root = boxes(**{"Annotations/a.xml": xml})
    if fragments:
        with refuses(*fragments):
            voc(root, (8, 8), images="images", test_fraction=0.0)
    else:
        assert len(voc(root, (8, 8), images="images", test_fraction=0.0)["train"]) == 1


def document(**changes):
    plain = {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        "categories": [{"id": i, "name": f"n{i}"} for i in range(2)],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 2]}],
    }
    return json.dumps(plain | changes)


def test_very_many_categories(boxes):
    content = document(categories=[{"id": i, "name": f"n{i}"} for i in range(MANY)])
    splits = coco(boxes(**{"c.json": content}), (8, 8), ("c.json", "images"), None)
    assert len(splits["train"].classes) == MANY


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("[" * 10**6, ["c.json", "deep"]),
        ('{"images": ' * 10**5, ["c.json", "deep"]),
        (document()[:-1] + ', "x": ' + "9" * 10**4 + "}", ["c.json"]),
        (document().replace('"width": 8', '"width": 1e999'), ["width"]),
        (document().replace('"width": 8', f'"width": {10**300}'), ["width"]),
        (document().replace('"width": 8', '"width": NaN'), ["width"]),
        (document().replace('"id": 1,', '"id": ' + "[" * 500 + "]" * 500 + ","), ["deep"]),
        (document().replace("a.png", "a" * 10**6), ["no image"]),
        (document().replace("a.png", r"\\u0000"), ["no image"]),
        (document().replace("a.png", r"\\ud800"), ["no image"]),
        (document().replace('"image_id": 1', f'"image_id": "{"x" * 10**6}"'), ["image_id"]),
        (document().replace("[1, 1, 3, 2]", "[" + "1, " * 10**6 + "1]"), ["bbox"]),
        ("", ["c.json"]),
        ("\0", ["c.json"]),
    ],
)
def test_json(boxes, refuses, content, fragments):
    with refuses(*fragments):
        coco(boxes(**{"c.json": content}), (8, 8), ("c.json", "images"), None)


UNITS = ('["', "[A:", "{", "[K:", '"[A', "![", "[A", "{a", '"', '["a"', "X:", "%", "(3:", "|[1")


@pytest.mark.parametrize("unit", UNITS)
def test_a_tune_of_what_is_never_closed(tmp_path, unit):
    (tmp_path / "t.abc").write_text("X:1\nK:C\nc|" + unit * 30_000 + "\n")
    tunes(str(tmp_path / "t.abc"), **SPLIT)
    abc.share_of_full_bars("K:C\n" + unit * 30_000)


def test_inline_fields_and_grace_notes_are_still_read():
    tune = 'M:4/4\nL:1/4\nK:C\nabc[M:3/4]d|{cd}e"^[x] {y"fg|\n'
    assert [(b.duration, b.meter) for b in abc.bars(tune)] == [(1, 0.75), (0.75, 0.75)]


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("[" * 10**6 + "\n", ["c.jsonl line 1"]),
        ('{"image": ' + "9" * 10**4 + "}", ["c.jsonl line 1"]),
        ("\n" * 10**6, ["no captions"]),
        (json.dumps({"image": "a" * 10**6, "caption": "x"}), ["line 1", "no such file"]),
        (json.dumps({"image": "\0", "caption": "x"}), ["line 1", "no such file"]),
        (json.dumps({"image": "\ud800", "caption": "x"}), ["line 1", "no such file"]),
        (json.dumps({"image": "/dev/zero", "caption": "x"}), ["line 1", "not a file"]),
    ],
)
def test_captions(tmp_path, refuses, content, fragments):
    (tmp_path / "c.jsonl").write_text(content)
    with refuses(*fragments):
        captions(str(tmp_path / "c.jsonl"), size=4, **SPLIT)


def test_text_in_an_encoding_that_makes_zeros_of_none(tmp_path, refuses):
    (tmp_path / "t.txt").write_text("a+AAA-b")
    with refuses("zero byte"):
        text(str(tmp_path), encoding="utf-7")


def head(shape, dtype="<f8", version=b"\1\0"):
    says = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = len(says).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + says


def packed(*members, how=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for i, content in enumerate(members):
            archive.writestr(f"x{i}.npy", content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (packed(head((10**12,)) + bytes(8)), ["'x0'", "8 bytes"]),
        (packed(head((10**12,), version=b"\2\0") + bytes(8)), ["'x0'", "8 bytes"]),
        (packed(head((-1, -1)) + bytes(8)), ["'x0'", "8 bytes"]),
        (packed(head((10**18, 0))), ["'x0'", "holds no values"]),
        (packed(head((10**18,), "V0")), ["'x0'", "holds no values"]),
        (packed(head((1,), "|S1000000000") + bytes(8)), ["'x0'", "8 bytes"]),
        (packed(head((1,), "|O") + b"cos\nsystem\n."), ["'x0'", "objects", "never unpickled"]),
        (packed(head("(" * 9000)), ["not a sound .npz"]),
        (packed(head((1,)) + bytes(8), how=zipfile.ZIP_LZMA), ["compressed"]),
        (packed(head((1,)) + bytes(8)).replace(b"x0.npy", b"x0.txt"), ["'x0.txt'"]),
        (head((10**12,)), ["one unnamed array"]),
        (b"PK\5\6" + b"\xff" * 18, ["not a sound .npz"]),
    ],
)
def test_npz(tmp_path, refuses, content, fragments):
    (tmp_path / "a.npz").write_bytes(content)
    if fragments == ["'x0.txt'"]:  # whatever its name is, it holds an array
        assert len(arrays(str(tmp_path / "a.npz"))["train"]) == 1
    else:
        with refuses(*fragments):
            arrays(str(tmp_path / "a.npz"))


def test_an_archive_that_unpacks_to_gigabytes(tmp_path, refuses):
    content = bytearray(packed(head((2**27, 16)) + bytes(8)))
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = content.index(signature) + at
        content[place : place + 4] = (2**31).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(content)
    with refuses("unpacks to 2,147,483,648 bytes", "numpy.savez"):
        arrays(str(tmp_path / "a.npz"))


def test_packed_zeros_are_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    assert not arrays(str(tmp_path / "a.npz"))["train"].columns["x"].any()
