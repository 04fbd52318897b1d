import json
import subprocess
import sys

import numpy as np
import pytest
import tiny_tfds
from tiny_tfds import ANY_SIZE, IMAGE, LABEL, TEXT, sequence, tensor

from jaxdl.data import Crop, LazyImages, duplicates, validate
from jaxdl.data.sources import tfds, tfds_records


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = tmp_path / "prepared"
    root.mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    return root


@pytest.fixture
def pictures():
    return np.random.RandomState(0).randint(0, 256, (25, 4, 6, 1), np.uint8)


@pytest.fixture
def shapes(root, png, pictures):
    """A data set of 20 train and 5 test images."""
    examples = [{"image": png(p), "label": [i % 3]} for i, p in enumerate(pictures)]
    splits = {"train": examples[:20], "test": examples[20:]}
    tiny_tfds.write(root, "shapes", splits, {"image": IMAGE, "label": LABEL})
    return splits


def test_columns(shapes, pictures):
    splits = tfds("shapes")
    validate(splits)
    assert {role: len(table) for role, table in splits.items()} == {"train": 20, "test": 5}
    image, label = splits["train"].columns["image"], splits["train"].columns["label"]
    assert image.dtype == np.uint8 and label.dtype == np.int32
    np.testing.assert_array_equal(image, pictures[:20])
    np.testing.assert_array_equal(label, np.arange(20) % 3)
    np.testing.assert_array_equal(splits["test"].columns["image"], pictures[20:])


def test_blocks_do_not_show(shapes, pictures, monkeypatch):
    monkeypatch.setattr(tfds_records, "_BLOCK", 7)
    columns = tfds("shapes")["train"].columns
    np.testing.assert_array_equal(columns["image"], pictures[:20])
    np.testing.assert_array_equal(columns["label"], np.arange(20) % 3)


def test_slices_are_disjoint_and_together_the_whole(shapes, pictures):
    splits = tfds("shapes", train="train[:75%]", validation="train[75%:]")
    np.testing.assert_array_equal(
        np.concatenate([splits[role].columns["image"] for role in ("train", "validation", "test")]),
        pictures,
    )
    assert set(duplicates(splits).values()) == {0}


def test_other_dtypes(root):
    features = {"text": TEXT, "box": tensor("float32", 4), "when": tensor("int64")}
    examples = [
        {"text": b"one", "box": [0.0, 1.0, 2.0, 3.0], "when": [2**40]},
        {"text": "dreißig\n".encode(), "box": [4.0, 5.0, 6.0, 7.0], "when": [-1]},
    ]
    tiny_tfds.write(root, "mixed", {"train": examples}, features)
    columns = tfds("mixed", test=None)["train"].columns
    assert columns["text"].tolist() == ["one", "dreißig\n"] and columns["text"].dtype == object
    np.testing.assert_array_equal(columns["box"], np.arange(8, dtype=np.float32).reshape(2, 4))
    assert columns["when"].tolist() == [2**40, -1]
    assert list(tfds("mixed", test=None, columns=("box",))["train"].columns) == ["box"]


def test_texts_beside_images_are_the_same_from_the_cache(root, png, pictures, monkeypatch):
    import tensorflow_datasets

    examples = [{"image": png(p), "text": b"%d" % i} for i, p in enumerate(pictures)]
    tiny_tfds.write(root, "titled", {"train": examples}, {"text": TEXT, "image": IMAGE})
    for _ in range(2):
        columns = tfds("titled", test=None)["train"].columns
        assert list(columns) == ["image", "text"]
        assert columns["text"].tolist() == [str(i) for i in range(25)]
        np.testing.assert_array_equal(columns["image"], pictures)
    with monkeypatch.context() as patch:
        patch.setattr(tensorflow_datasets.features.Image, "decode_example", None)
        texts = tfds("titled", test=None, columns=("text",))["train"]  # decodes no image
    assert list(texts.columns) == ["text"]


def test_names_the_text_that_is_damaged(root, refuses, monkeypatch):
    monkeypatch.setattr(tfds_records, "_BLOCK", 2)
    examples = [{"text": text} for text in (b"a", b"b", b"c", "ü".encode("latin-1") + b"d")]
    tiny_tfds.write(root, "notes", {"train": examples}, {"text": TEXT})
    with refuses("notes", "'text'", "example 3", "byte 0", "UTF-8"):
        tfds("notes", test=None)


def test_images_of_all_sizes_are_resized(root, png):
    pixels = [np.full((h, w, 3), 80, np.uint8) for h, w in ((5, 9), (12, 3))]
    examples = [{"image": png(p), "label": [0]} for p in pixels]
    tiny_tfds.write(root, "wild", {"train": examples}, {"image": ANY_SIZE, "label": LABEL})
    image = tfds("wild", test=None, size=8)["train"].columns["image"]
    np.testing.assert_array_equal(image, np.full((2, 8, 8, 3), 80, np.uint8))


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip"])
def test_cache_gives_the_same_and_mends_itself(shapes, pictures, damage, monkeypatch):
    from jaxdl.data import cache
    from jaxdl.data.images import pixels

    tfds("shapes")
    files = sorted(cache.folder().iterdir())
    assert len(files) == 2
    with monkeypatch.context() as patch:
        patch.setattr(pixels, "decode", None)  # a second decoding would fail
        np.testing.assert_array_equal(tfds("shapes")["train"].columns["image"], pictures[:20])
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes({"truncate": content[:-50], "empty": b"", "flip": content}[damage])
    np.testing.assert_array_equal(tfds("shapes")["train"].columns["image"], pictures[:20])


def test_changed_files_are_read_anew(root, shapes, png):
    before = tfds("shapes")["train"].columns["image"]
    (root / "shapes").rename(root / "old")
    examples = [{"image": png(np.zeros((4, 6), np.uint8)), "label": [0]}] * 20
    splits = {"train": examples, "test": examples[:5]}
    tiny_tfds.write(root, "shapes", splits, {"image": IMAGE, "label": LABEL})
    after = tfds("shapes")["train"].columns["image"]
    assert before.any() and not after.any()


def test_without_a_cache_nothing_is_written(shapes):
    from jaxdl.data import cache

    tfds("shapes", cache=False)
    assert not cache.folder().exists()


@pytest.mark.parametrize(
    ("settings", "fragments"),
    [
        (dict(dataset="shaps"), ["'shaps'", "did you mean 'shapes'?", "TFDS_DATA_DIR"]),
        (dict(dataset="mnst"), ["'mnst'", "did you mean 'mnist'?"]),
        (dict(dataset="shapes:9.9.9"), ["shapes:9.9.9"]),
        (dict(dataset="a/b/c"), ["'a/b/c'"]),
        (dict(dataset=""), ["dataset"]),
        (
            dict(dataset="mnist"),
            ["not prepared", "pip install -e '.[prepare]'", "download_and_prepare", "twin"],
        ),
        (dict(dataset="shapes", train="trian"), ["'trian'", "train (20)", "test (5)"]),
        (dict(dataset="shapes", train="train["), ["train='train['"]),
        (dict(dataset="shapes", test="validation"), ["test='validation'", "config.data.test"]),
        (dict(dataset="shapes", train="train[:0]"), ["train='train[:0]'", "no example"]),
        (dict(dataset="shapes", train="train[60%:40%]"), ["no example"]),
        (dict(dataset="shapes", train="train[50:]"), ["[50:20]"]),
        (dict(dataset="shapes", test="train"), ["train='train'", "test='train'", "disjoint"]),
        (
            dict(dataset="shapes", validation="train[90%:]"),
            ["train='train'", "validation='train[90%:]'"],
        ),
        (dict(dataset="shapes", train="all"), ["train='all'", "test='test'"]),
        (dict(dataset="shapes", train="train[:9]+train[5:]"), ["share"]),
        (dict(dataset="shapes", columns=("image", "lable")), ["did you mean 'label'?"]),
        (dict(dataset="shapes", columns=()), ["columns"]),
        (dict(dataset="shapes", size=0), ["size=0"]),
        (dict(dataset="shapes", size=4, crop=Crop(4)), ["size", "crop", "not both"]),
        (dict(dataset="shapes", columns=("label",), crop=Crop(4)), ["crop", "label"]),
    ],
)
def test_refuses(shapes, refuses, settings, fragments):
    with refuses(*fragments):
        tfds(**settings)


def test_names_the_other_config_that_is_prepared(root, refuses):
    tiny_tfds.write(root, "imagenette/160sq", {"train": []}, {"label": LABEL})
    with refuses("not prepared", "imagenette/160sq"):
        tfds("imagenette")


def test_refuses_tfrecord(root, refuses):
    tiny_tfds.write(root, "shapes", {"train": []}, {"label": LABEL}, file_format="tfrecord")
    with refuses("tfrecord", "only TensorFlow", "array_record"):
        tfds("shapes")


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        (sequence(tensor("int64")), "varies in length"),
        (sequence({**ANY_SIZE}), "varies"),
        (ANY_SIZE, "give size"),
        (tensor("string", 2), "several texts"),
    ],
)
def test_refuses_a_ragged_feature(root, refuses, feature, reason):
    tiny_tfds.write(root, "ragged", {"train": [{"label": [1]}]}, {"it": feature, "label": LABEL})
    with refuses("'it'", reason, "columns=('label',)"):
        tfds("ragged", test=None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no image", "not an image"),
        (None, "damaged"),  # half an image
        (np.zeros((4, 7), np.uint8), "4×7 pixels where 4×6"),
        (np.full((4, 6), 300, np.uint16), "almost black"),
    ],
)
def test_names_the_damaged_image(root, refuses, png, content, reason):
    sound = png(np.random.RandomState(0).randint(0, 256, (4, 6), np.uint8))
    if content is None:
        content = sound[: len(sound) // 2 + 8]
    if isinstance(content, np.ndarray):
        content = png(content)
    examples = [{"image": sound}, {"image": content}]
    tiny_tfds.write(root, "shapes", {"train": examples}, {"image": IMAGE})
    with refuses("example 1", reason):
        tfds("shapes", test=None)


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_names_damaged_files(root, shapes, refuses, damage):
    file = root / "shapes" / "1.0.0" / "shapes-train.array_record-00000-of-00001"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"\x07" * 70000)
    with refuses("shapes", "damaged"):
        tfds("shapes")


@pytest.fixture
def wild(root, png):
    """Images of all sizes, as imagenet2012 has them, and a text."""
    examples = [
        {
            "image": png(np.full((5 + i, 30 - i, 3), 10 * i, np.uint8)),
            "label": [i % 3],
            "file_name": b"%d.JPEG" % i,
        }
        for i in range(20)
    ]
    features = {"image": ANY_SIZE, "label": LABEL, "file_name": TEXT}
    tiny_tfds.write(root, "wild", {"train": examples}, features)
    return examples


def test_with_crop_images_are_read_on_demand(wild):
    settings = dict(dataset="wild", train="train[:15]", test="train[15:]")
    held = tfds(size=4, columns=("image", "label"), **settings)
    splits = tfds(crop=Crop(4, resize=4), **settings)
    validate(splits)
    for role, table in splits.items():
        assert list(table.columns) == ["image", "label"] and isinstance(
            table.columns["image"], LazyImages
        )
        np.testing.assert_array_equal(table.columns["image"][:], held[role].columns["image"])
        np.testing.assert_array_equal(table.columns["label"], held[role].columns["label"])
    prints = [bytes(table.columns["image"].fingerprint()) for table in splits.values()]
    assert len(set(prints)) == 2
    again = tfds(crop=Crop(9), **settings)["train"].columns["image"]
    assert bytes(again.fingerprint()) == prints[0]
    named = tfds("wild", test=None, crop=Crop(4), columns=("file_name", "image"))["train"]
    assert named.columns["file_name"][:2].tolist() == ["0.JPEG", "1.JPEG"]


def test_with_crop_labels_come_from_the_cache(root, wild, monkeypatch):
    labels = tfds("wild", test=None, crop=Crop(4))["train"].columns["label"]
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[tfds.__module__], "_read", None)
        again = tfds("wild", test=None, crop=Crop(4))["train"].columns["label"]
    np.testing.assert_array_equal(again, labels)
    (root / "wild").rename(root / "old")
    changed = [{**example, "label": [2]} for example in wild]
    features = {"image": ANY_SIZE, "label": LABEL, "file_name": TEXT}
    tiny_tfds.write(root, "wild", {"train": changed}, features)
    assert set(tfds("wild", test=None, crop=Crop(4))["train"].columns["label"]) == {2}


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda example: {**example, "image": b""}, ["wild", "example 3", "empty file"]),
        (lambda example: {**example, "image": b"<html>"}, ["example 3", "not an image"]),
        (lambda example: {"label": [0]}, ["example 3", "no 'image'", "prepare"]),
    ],
)
def test_with_crop_the_bad_image_is_named(root, wild, refuses, change, fragments):
    wild[3] = change(wild[3])
    features = {"image": ANY_SIZE, "label": LABEL}
    (root / "wild").rename(root / "old")
    tiny_tfds.write(root, "wild", {"train": wild}, features)
    table = tfds("wild", test=None, crop=Crop(4))["train"]
    table[np.array([2, 4])]
    with refuses(*fragments):
        table[np.array([2, 3])]
    with refuses(*fragments):
        table.train_view(np.array([3]), np.array([0]), 0)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported; the mark."""
    code = "import pathlib; pathlib.Path(__file__).with_name('mark').touch()"
    (tmp_path / "planted.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "mark"


OTHER = {"pythonClassName": "planted.Feature", "jsonFeature": {"json": "{}"}}
LEGACY = {"type": "planted.Feature", "content": {}}


@pytest.mark.parametrize(
    "feature",
    [
        OTHER,
        {"python_class_name": "planted.Feature", "json_feature": {"json": "{}"}},
        tiny_tfds.sequence(OTHER),
        {**tiny_tfds.LABEL, "pythonClassName": "tensorflow_datasets.core.features.planted.X"},
        {**tiny_tfds.LABEL, "pythonClassName": "planted.tensorflow_datasets.core.features.X"},
        {  # within a text within the text
            "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "jsonFeature": {"json": json.dumps({"deep": LEGACY})},
        },
    ],
)
def test_features_that_are_not_of_tfds_are_not_imported(root, refuses, planted, feature):
    tiny_tfds.write(root, "odd", {"train": [{"label": [0]}]}, {"label": LABEL, "odd": feature})
    with refuses("tfds 'odd'", "features.json names", "not one of TFDS's own"):
        tfds("odd", test=None)
    assert not planted.exists()


def test_the_description_names_a_module_in_vain(root, shapes, planted):
    file = root / "shapes" / "1.0.0" / "dataset_info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "moduleName": "planted"}))
    tfds("shapes")
    assert not planted.exists()


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"\xff", b"[" * 10**5, b'{"a": ' + b"7" * 5000 + b"}", b'{"a":1,"a":2}'],
)
def test_a_damaged_description_is_named(root, shapes, refuses, name, content):
    (root / "shapes" / "1.0.0" / name).write_bytes(content)
    with refuses("tfds 'shapes'", name, "prepare the data set again"):
        tfds("shapes")


def test_mnist(tfds_dir):
    """The first examples of the original files."""
    splits = tfds("mnist", train="train[:500]", test="test[:500]", cache=False)
    validate(splits)
    image, label = splits["train"].columns["image"], splits["train"].columns["label"]
    assert image.shape == (500, 28, 28, 1) and image.dtype == np.uint8
    assert label[:5].tolist() == [4, 1, 0, 7, 8]
    assert splits["train"].classes == tuple("0123456789")
    assert 30 < image.mean() < 36  # 33.3 over the whole


def test_no_tensorflow_is_imported(shapes):
    code = (
        "import sys, jaxdl.data.sources as sources\n"
        "heavy = {'jax', 'PIL', 'sklearn', 'tensorflow_datasets'} & set(sys.modules)\n"
        "sources.tfds('shapes')\n"
        "print(sorted(heavy), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] False"
    assert done.stderr == ""
