"""Every reader of a user's files, given files with faults: a result, or one line."""

import json
import time
from io import BytesIO

import numpy as np
import pytest
from fuzzing import message, mutants
from PIL import Image

from jaxdl.data import Crop
from jaxdl.data.sources import arrays, captions, coco, csv, images, text, tunes, voc, yolo

ABC = """X:1
T:The one
M:6/8
L:1/8
K:Em
|:"Em"e2f "^slow"[gB]2 {c}d|(3abc z>f !trill!A2 ::[K:D] Z2|1 d3 e/f// g:|2 [V:1]x2|]
"""
XML = """<?xml version="1.0"?>
<annotation><filename>a.png</filename><size><width>8</width><height>6</height></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>
"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
    "annotations": [
        {"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 1, 3.5, 2], "iscrowd": 0}
    ],
}
YAML = "path: .\nnames: {0: cat, 1: dog}\nnc: 2\ntrain: &a [images]\ntest: # none\n"


def picture(format, mode="RGB", **options):
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, format, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


PICTURES = {
    "jpeg": picture("JPEG"),
    "turned": picture("JPEG", exif=turned(), progressive=True),
    "png": picture("PNG", exif=turned()),
    "palette": picture("PNG", "P"),
    "gif": picture("GIF"),
    "bmp": picture("BMP"),
    "webp": picture("WEBP", lossless=True),
    "animated": picture("WEBP", save_all=True, append_images=[Image.new("RGB", (8, 6))]),
    "tiff": picture("TIFF", compression="tiff_lzw", exif=turned()),
    "tiff-jpeg": picture("TIFF", compression="jpeg"),
    "ppm": picture("PPM"),
}


def archive(save):
    stream = BytesIO()
    save(stream, x=np.arange(6.0).reshape(3, 2), label=np.arange(3, dtype=np.int32))
    return stream.getvalue()


def _held(root):
    return images(str(root), size=4, test_fraction=0.0)


def _lazy(root):
    table = images(str(root), crop=Crop(4), test_fraction=0.0)["train"]
    rows = np.zeros(1, int)
    return table.train_view(rows, rows, 0), table[rows]


def _boxes(root):
    return yolo(str(root), (8, 8), lazy=False)


def _words(root):
    return captions(str(root / "c.txt"), size=4, validation_fraction=0.0, test_fraction=0.0)


SPLIT = dict(validation_fraction=0.0, test_fraction=0.0)
# reader -> the file that is changed, what it holds, and what reads it
READERS = {
    **{f"held {name}": ("class/a", content, _held) for name, content in PICTURES.items()},
    **{f"lazy {name}": ("class/a", content, _lazy) for name, content in PICTURES.items()},
    **{f"boxes {name}": ("images/a.png", content, _boxes) for name, content in PICTURES.items()},
    "npz": ("a.npz", archive(np.savez), lambda root: arrays(str(root / "a.npz"))),
    "packed npz": ("a.npz", archive(np.savez_compressed), lambda root: arrays(str(root / "a.npz"))),
    "csv": ("t.csv", b'a,b,"c"\n1,2.5,x\n3,4e1,"y z"\n5,6,x\n',
            lambda root: csv(str(root / "t.csv"), label="c", **SPLIT)),
    "csv texts": ("t.csv", b'a,b,"c"\n1,2.5,x\n3,4e1,"y z"\n5,6,x\n',
                  lambda root: csv(str(root / "t.csv"), "b", text=("c",), **SPLIT)),
    "text": ("t.txt", "Ein Satz. Ünd noch einer.\r\n".encode(),
             lambda root: text(str(root), validation_fraction=0.1)),
    "tunes": ("t.abc", ABC.encode(), lambda root: tunes(str(root / "t.abc"), **SPLIT)),
    "captions": ("c.txt", b'image,caption\nimages/a.png,"a dog, big"\nimages/a.png,no\n', _words),
    "captions jsonl": (
        "c.jsonl", b'{"image": "images/a.png", "caption": "a dog"}\n',
        lambda root: captions(str(root / "c.jsonl"), size=4, **SPLIT),
    ),
    "coco": ("coco.json", json.dumps(COCO).encode(),
             lambda root: coco(str(root), (8, 8), ("coco.json", "images"), None)),
    "voc": ("Annotations/a.xml", XML.encode(),
            lambda root: voc(str(root), (8, 8), images="images", test_fraction=0.0)),
    "yolo labels": ("labels/a.txt", b"0 0.5 0.5 0.25 0.5\n1 .5 .5 1e-1 .5\n", _boxes),
    "yolo names": ("data.yaml", YAML.encode(), _boxes),
    "yolo classes": ("classes.txt", b"cat\ndog\n", _boxes),
}  # fmt: skip


def prepare(root, name):
    """A folder in which a reader finds all that it needs but the file that is to be changed."""
    for folder in ("images", "labels", "Annotations"):
        (root / folder).mkdir()
    (root / "images" / "a.png").write_bytes(PICTURES["png" if "captions" in name else "palette"])
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    if "classes" in name:
        for folder in ("images", "labels"):
            (root / folder).rename(root / "moved")
            (root / folder).mkdir()
            (root / "moved").rename(root / folder / "train")
    else:
        (root / "data.yaml").write_text(YAML)
    if name.startswith(("held", "lazy")):
        for folder in ("images", "labels", "Annotations"):
            for file in (root / folder).iterdir():
                file.unlink()
            (root / folder).rmdir()
        (root / "class").mkdir()


def told(read, root):
    """What the user is told, and which file it is about; None where there is a result."""
    says = message(lambda: read(root))
    assert says is None or str(root) in says, says
    return says


def survive(root, name, number, seed):
    file, content, read = READERS[name]
    prepare(root, name)
    file = root / file
    file.write_bytes(content)
    assert told(read, root) is None  # sound as it is
    messages = set()
    for mutant in mutants(content, number, seed):
        file.write_bytes(mutant)
        start = time.monotonic()
        messages.add(told(read, root))
        assert time.monotonic() - start < 20
    return messages


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_a_result_or_one_line(tmp_path, name):
    assert any(survive(tmp_path, name, 12, 0))  # not None alone: some are refused


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_files_give_a_result_or_one_line(tmp_path, name):
    assert any(survive(tmp_path, name, 100, 1))
