import json

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.sources.captions import captions


@pytest.fixture
def album(tmp_path):
    """A folder of images 0.png to 9.png, each of its own red, and a file of captions for them."""
    (tmp_path / "photos").mkdir()
    for i in range(10):
        Image.new("RGB", (8, 6), (20 * i, 0, 0)).save(tmp_path / "photos" / f"{i}.png")

    def write(content, name="captions.txt"):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "photos" / name).write_bytes(content)
        return str(tmp_path / "photos" / name)

    return write


def rows(path, **settings):
    settings = dict(size=4, validation_fraction=0.0, test_fraction=0.0) | settings
    table = captions(path, **settings)["train"]
    image, caption = (table.columns[name] for name in ("image", "caption"))
    return list(zip((image[:, 0, 0, 0] // 20).tolist(), caption, strict=True))


EXPECTED = [(0, "a dog, running"), (3, 'a "red" ball'), (0, "a dog")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", 'image,caption\n0.png,"a dog, running"\n3.png,"a ""red"" ball"\n0.png,a dog\n'),
        ("a.csv", 'image,caption\n0.png,a dog, running\n\n3.png,a "red" ball\n0.png, a  dog \n'),
        ("a.csv", '\ufeffid,caption,image\n1,"a dog,\nrunning",0.png\n2,"a ""red"" ball",3.png\n'
                  '3,a dog,0.png'),
        ("a.tsv", 'image\tcaption\r\n0.png\ta dog, running\r\n3.png\ta "red" ball\r\n'
                  "0.png\ta dog\r\n"),
        ("a.jsonl", "\n".join(json.dumps({"caption": text, "image": f"{i}.png", "id": 7})
                              for i, text in EXPECTED)),
    ],
)  # fmt: skip
def test_formats(album, name, content):
    assert rows(album(content, name)) == EXPECTED


def test_images_may_lie_elsewhere(album, tmp_path):
    album("image,caption\n0.png,x\n")
    file = tmp_path / "captions.csv"
    file.write_text("image,caption\n3.png,a ball\n")
    assert rows(str(file), images=str(tmp_path / "photos")) == [(3, "a ball")]
    file.write_text("image,caption\nphotos/3.png,a ball\n")
    assert rows(str(file)) == [(3, "a ball")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.csv", 'image_name| comment_number| comment\n1.png| 0| a "dog", | in\n'),
        ("Flickr8k.token.txt", '1.png#0\ta "dog", | in\n'),
        (
            "captions_val2017.json",
            '{"info": {}, "images": [{"id": 7, "file_name": "1.png"}], "annotations": '
            '[{"id": 1, "image_id": 7, "caption": "a \\"dog\\", | in"}]}',
        ),
    ],
)
def test_captions_as_the_usual_data_sets_have_them(album, name, content):
    table = captions(album(content, name), size=4, validation_fraction=0.0, test_fraction=0.0)
    assert table["train"].columns["caption"].tolist() == ['a "dog", | in']


@pytest.mark.parametrize(
    "entry", ['{"image_id": 8, "caption": "a"}', '{"image_id": 7}', '{"image_id": 7, "caption": 1}']
)
def test_names_the_annotation_of_cocos_file(album, refuses, entry):
    path = album(
        f'{{"images": [{{"id": 7, "file_name": "1.png"}}], "annotations": [{entry}]}}', "a.json"
    )
    with refuses("a.json annotations[0]: needs a caption, and the image_id of an image"):
        captions(path, size=4)


def test_captions_of_an_image_stay_together(album):
    lines = [f"{i}.png,caption {k} of {i}" for k in range(5) for i in range(10)]
    path = album("\n".join(["image,caption", *lines]))
    splits = captions(path, size=4, validation_fraction=0.2, test_fraction=0.3)
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 25, "validation": 10, "test": 15,
    }  # fmt: skip
    seen = set()
    for table in splits.values():
        image, caption = (table.columns[name] for name in ("image", "caption"))
        assert image.shape[1:] == (4, 4, 3) and image.dtype == np.uint8 and caption.dtype == object
        for pixel, text in zip(image[:, 0, 0, 0] // 20, caption, strict=True):
            assert text.endswith(f"of {pixel}")
        seen |= set(caption)
    assert len(seen) == 50


def test_an_image_by_two_spellings_of_its_path_is_one(album):
    lines = [f"{i}.png,one\n./{i}.png,two\n" for i in range(10)]
    path = album("image,caption\n" + "".join(lines), "a.csv")
    splits = captions(path, size=4, validation_fraction=0.0, test_fraction=0.5)
    seen = [{*table.columns["image"][:, 0, 0, 0].tolist()} for table in splits.values()]
    assert [len(each) for each in seen] == [5, 5] and not seen[0] & seen[1]


def test_grey_transparent_and_wide_images(album, tmp_path):
    stripes = np.zeros((4, 12, 3), np.uint8)
    stripes[:, 4:8] = 200
    wide = Image.fromarray(stripes)
    for mode in ("L", "RGBA", "P"):
        wide.convert(mode).save(tmp_path / "photos" / f"{mode}.png")
    path = album("image,caption\nL.png,grey\nRGBA.png,clear\nP.png,few colours\n")
    table = captions(path, size=4, validation_fraction=0.0, test_fraction=0.0)["train"]
    # A palette holds a near colour.
    np.testing.assert_allclose(table.columns["image"], np.full((3, 4, 4, 3), 200), atol=4)


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ["line 1", "not a header"]),
        ("0.png,a dog\n1.png,a cat\n", ["line 1", "'0.png,a dog'", "not a header"]),
        ("image,text\n0.png,a dog\n", ["line 1", "'image,text'", "image and caption"]),
        ("image,caption,caption\n0.png,a,b\n", ["line 1", "each once"]),
        ("image,caption\n", ["no captions"]),
        ("image,caption\n0.png,a dog\n1.png,  \n", ["line 3", "no caption"]),
        ("image,caption\n0.png,a dog\n1.png\n", ["line 3", "no caption"]),
        ("image,caption\n,a dog\n", ["line 2", "no image"]),
        ("image,caption,id\n0.png,a dog, running,1\n", ["line 2", "4 cells, the header 3"]),
        ('image,caption\n0.png,"a dog\n1.png,a cat\n', ["line 3", "unexpected end of data"]),
        ("image,caption\n0.png,a dog\n77.png,a cat\n", ["line 3", "77.png", "no such file"]),
        ("image,caption\n0.png,a dog\ncut.png,a cat\n", ["line 3", "cut.png", "damaged"]),
        ("image,caption\nempty.png,a cat\n", ["line 2", "empty.png", "empty file"]),
        ("image,caption\ncaptions.txt,a cat\n", ["line 2", "captions.txt", "not an image"]),
        ("image,caption\n0.png,un café\n".encode("latin-1"), ["not utf-8", "byte", "cp1252"]),
    ],
)
def test_names_the_line(album, tmp_path, refuses, content, fragments):
    noise = np.random.RandomState(0).randint(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos" / "cut.png")
    sound = (tmp_path / "photos" / "cut.png").read_bytes()
    (tmp_path / "photos" / "cut.png").write_bytes(sound[:-40])
    (tmp_path / "photos" / "empty.png").touch()
    path = album(content)
    with refuses("captions:", path, *fragments):
        rows(path)


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("not json", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('["0.png", "a dog"]', "both text"),
        ('{"image": "0.png"}', "both text"),
        ('{"image": "0.png", "caption": 7}', "both text"),
        ('{"image": "0.png", "caption": ""}', "no caption"),
    ],
)
def test_names_the_line_of_json(album, refuses, line, fragment):
    path = album('{"image": "0.png", "caption": "a dog"}\n' + line, "a.jsonl")
    with refuses("captions:", path, "line 2", fragment):
        rows(path)


def test_refuses_settings(album, tmp_path, refuses):
    path = album("image,caption\n0.png,a dog\n1.png,a cat\n")
    with refuses("captions", "size=0"):
        rows(path, size=0)
    with refuses("captions", "cannot read", "none.csv"):
        rows(str(tmp_path / "none.csv"))
    with refuses("captions", "no folder", "nowhere"):
        rows(path, images=str(tmp_path / "nowhere"))
    with refuses("captions", "2 rows leave none for the test split"):
        rows(path, test_fraction=0.1)
    with refuses("captions", "test_fraction=1"):
        rows(path, test_fraction=1.0)
    with refuses("captions", "GB"):
        rows(path, size=10**7)
