"""What plain, independent writers write is read back right: pixels, boxes, labels and names."""

import csv as plain_csv
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.sources import arrays, captions, coco, csv, images, text, tunes, voc, yolo

SIZE = (12, 20)
CLASSES = ("007", "caf\u00e9", "no", "a b", "$x")


@pytest.fixture(params=range(2))
def rng(request):
    return np.random.default_rng(request.param)


def pictures(root, rng, names):
    """Lossless pictures, by name."""
    made = {}
    for name in names:
        made[name] = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made[name]).save(root / name)
    return made


def drawn_boxes(rng, count):
    """(x₁, y₁, x₂, y₂) within a picture, in whole pixels, and classes."""
    low = rng.integers(0, [SIZE[1] - 3, SIZE[0] - 3], (count, 2))
    high = np.minimum(low + rng.integers(1, 9, (count, 2)), [SIZE[1], SIZE[0]])
    return np.concatenate([low, high], 1), rng.integers(0, len(CLASSES), count)


def scenes(rng):
    """Pictures of sorted names, the boxes and classes of each; all classes occur."""
    names = [f"{i}-\u00e9 x.png" for i in range(4)]
    return {name: drawn_boxes(rng, count) for name, count in zip(names, (5, 0, 1, 3), strict=True)}


def holds(table, made, wanted, classes):
    """Whether a table has these pictures, boxes and the names of their classes."""
    assert table.classes == tuple(classes)
    for i, (name, (boxes, labels)) in enumerate(wanted.items()):
        np.testing.assert_array_equal(table.columns["image"][i], made[name])
        count = len(labels)
        np.testing.assert_allclose(table.columns["boxes"][i, :count], boxes, atol=1e-4)
        assert (table.columns["labels"][i, count:] == -1).all()
        read = [table.classes[label] for label in table.columns["labels"][i, :count]]
        assert read == [CLASSES[label] for label in labels]


def test_coco(tmp_path, rng):
    wanted = scenes(rng)
    made = pictures(tmp_path / "images", rng, wanted)
    entries = [
        {"image_id": i, "category_id": 3 * int(c), "bbox": [*map(int, (x, y, x2 - x, y2 - y))]}
        for i, (boxes, labels) in enumerate(wanted.values())
        for (x, y, x2, y2), c in zip(boxes, labels, strict=True)
    ]
    document = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(wanted)],
        "annotations": [{"id": i, **entry} for i, entry in enumerate(entries)],
        "categories": [{"id": 3 * i, "name": name} for i, name in enumerate(CLASSES)],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    table = coco(str(tmp_path), SIZE, ("a.json", "images"), None)["train"]
    holds(table, made, wanted, CLASSES)


def test_voc(tmp_path, rng):
    wanted = scenes(rng)
    made = pictures(tmp_path / "JPEGImages", rng, wanted)
    (tmp_path / "Annotations").mkdir()
    for name, (boxes, labels) in wanted.items():
        root = ET.Element("annotation")
        ET.SubElement(root, "filename").text = name
        for box, label in zip(np.add(boxes, [1, 1, 0, 0]), labels, strict=True):
            thing = ET.SubElement(root, "object")
            ET.SubElement(thing, "name").text = CLASSES[label]
            corners = ET.SubElement(thing, "bndbox")
            for side, number in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ET.SubElement(corners, side).text = str(number)
        ET.ElementTree(root).write(
            tmp_path / "Annotations" / name.replace(".png", ".xml"), "utf-8", xml_declaration=True
        )
    table = voc(str(tmp_path), SIZE, classes=CLASSES, test_fraction=0.0)["train"]
    holds(table, made, wanted, CLASSES)


@pytest.mark.parametrize("folders", [("images", "labels"), ("", "")])
def test_yolo(tmp_path, rng, folders):
    wanted = scenes(rng)
    made = pictures(tmp_path / folders[0], rng, wanted)
    (tmp_path / folders[1]).mkdir(exist_ok=True)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES), "utf-8")
    for name, (boxes, labels) in wanted.items():
        shares = boxes / [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]
        lines = [
            f"{c} {(a + x) / 2:.9f} {(b + y) / 2:.9f} {x - a:.9f} {y - b:.9f}\n"
            for (a, b, x, y), c in zip(shares, labels, strict=True)
        ]
        (tmp_path / folders[1] / name.replace(".png", ".txt")).write_text("".join(lines))
    holds(yolo(str(tmp_path), SIZE, test_fraction=0.0)["train"], made, wanted, CLASSES)


def test_images(tmp_path, rng):
    made = pictures(tmp_path, rng, [f"{name}/{i}.png" for name in CLASSES for i in range(2)])
    table = images(str(tmp_path), size=SIZE, test_fraction=0.0)["train"]
    assert table.classes == tuple(sorted(CLASSES))
    read = zip(table.columns["image"], table.columns["label"], strict=True)
    for name, (image, label) in zip(sorted(made), read, strict=True):
        np.testing.assert_array_equal(image, made[name])
        assert table.classes[label] == name.partition("/")[0]


WORDS = ('say "hi", he said', "two\nlines, of text", "  ", "caf\u00e9;\t1,5", "'")


def test_csv(tmp_path, rng):
    rows = [
        [float(x), f"a{WORDS[i % 5]}b", CLASSES[i % 5]] for i, x in enumerate(rng.normal(size=11))
    ]
    for delimiter, encoding in ((",", "utf-8"), ("\t", "utf-16"), (";", "cp1252")):
        with open(tmp_path / "t.csv", "w", encoding=encoding, newline="") as file:
            plain_csv.writer(file, delimiter=delimiter).writerows([["x", "words", "class"], *rows])
        settings = dict(text=("words",), delimiter=delimiter, encoding=encoding, test_fraction=0.0)
        table = csv(str(tmp_path / "t.csv"), label="class", **settings)["train"]
        x, words, label = (table.columns[name] for name in ("features", "words", "label"))
        np.testing.assert_allclose(x[:, 0], [row[0] for row in rows], rtol=1e-6)
        assert words.tolist() == [row[1] for row in rows]
        assert [table.classes[each] for each in label] == [row[2] for row in rows]


def test_npz(tmp_path, rng):
    kinds = ("uint8", "int16", ">f4", "float64", "bool")
    made = {kind: (rng.random((7, 3, 2)) * 100).astype(kind) for kind in kinds}
    np.savez_compressed(tmp_path / "a.npz", **made)
    columns = arrays(str(tmp_path / "a.npz"))["train"].columns
    assert list(columns) == list(made)
    assert all((columns[kind] == made[kind]).all() for kind in kinds)


def test_captions(tmp_path, rng):
    made = pictures(tmp_path, rng, ["a b.png", "\u00e9.png"])
    pairs = [(name, f"{name} is, {word}") for name in made for word in ('"it"', "1,5")]
    with open(tmp_path / "c.csv", "w", encoding="utf-8", newline="") as file:
        plain_csv.writer(file).writerows([("image", "caption"), *pairs])
    lines = [json.dumps({"image": name, "caption": caption}) for name, caption in pairs]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    for name in ("c.csv", "c.jsonl"):
        split = dict(validation_fraction=0.0, test_fraction=0.0)
        columns = captions(str(tmp_path / name), size=SIZE, **split)["train"].columns
        assert columns["caption"].tolist() == [caption for _, caption in pairs]
        for image, (path, _) in zip(columns["image"], pairs, strict=True):
            np.testing.assert_array_equal(image, made[path])


def test_texts_and_tunes(tmp_path, rng):
    letters = [*"abc \u00e9\u4e2d\U0001f600\n"]
    written = ["x" + "".join(rng.choice(letters, 30)) + "y" for _ in range(3)]
    for i, document in enumerate(written):
        (tmp_path / f"{i}.txt").write_text(document, "utf-8", newline="\r\n")
    assert text(str(tmp_path), 0.0)["train"].columns["text"].tolist() == written
    music = ["|".join("".join(rng.choice([*"ABcd"], 4)) for _ in range(3)) for _ in range(4)]
    music = sorted({*music})
    tune = "X:{}\nT:caf\u00e9\nM:4/4\nL:1/4\nK:D\n{}|]\n\n"
    (tmp_path / "t.abc").write_text("".join(tune.format(i, m) for i, m in enumerate(music)))
    rows = tunes(str(tmp_path), 0.0)["train"].columns["text"].tolist()
    assert rows == [f"M:4/4\nL:1/4\nK:D\n{m}|]\n" for m in music]
