"""Hugging Face `datasets` as a source: what it reads, and what it says of what it cannot."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Crop, load
from jaxdl.data.sources.huggingface import huggingface
from jaxdl.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 6, 3), np.uint8)


def test_without_the_package_one_line_names_the_extra(monkeypatch, refuses):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with refuses("datasets is not installed; pip install", "[huggingface]"):
        load("huggingface", path="anything")


@pytest.mark.parametrize(
    "settings, shape",
    [
        ({"path": "who/ever", "crop": Crop(16)}, (16, 16, 3)),
        ({"path": "ylecun/mnist", "channels": 1}, (28, 28, 1)),
        ({"path": "uoft-cs/cifar10"}, (32, 32, 3)),
    ],
)
def test_twins(settings, shape):
    assert load("huggingface", twin=True, **settings)["train"].columns["image"].shape[1:] == shape


@pytest.mark.parametrize("settings", [{"path": "ylecun/mnist"}, {"path": "me/photos", "size": 8}])
def test_what_has_no_twin(settings, refuses):
    with refuses("no twin of huggingface"):
        load("huggingface", twin=True, **settings)


@pytest.fixture(scope="session")
def datasets():
    return pytest.importorskip("datasets")


@pytest.fixture(scope="session")
def folder(datasets, tmp_path_factory):
    """The same twelve examples, saved in every way."""
    f, root = datasets, tmp_path_factory.mktemp("huggingface")
    datasets.config.HF_DATASETS_CACHE = root / "cache"
    features = f.Features({
        "img": f.Image(), "label": f.ClassLabel(names=["cat", "dog"]), "x": f.Value("float64"),
        "n": f.Value("int64"), "text": f.Value("string"), "on": f.Value("bool"),
        "v": f.Sequence(f.Value("float32"), length=3), "boxes": f.Sequence(f.Value("int32")),
        "m": f.Array2D((2, 3), "float32"), "gap": f.Value("int32"), "big": f.Value("int64"),
        "day": f.Value("timestamp[s]"),
    })  # fmt: skip
    columns = {
        "img": [Image.fromarray(each) for each in PIXELS], "label": [0, 1] * 6,
        "x": np.arange(12) / 4, "n": range(-6, 6), "text": [f"text {i}" for i in range(12)],
        "on": [True, False] * 6, "v": [[i, 1, 2] for i in range(12)],
        "boxes": [[1] * (i % 3) for i in range(12)],
        "m": [np.full((2, 3), i) for i in range(12)], "gap": [1, None] * 6, "big": [2**40] * 12,
        "day": [0] * 12,
    }  # fmt: skip
    whole = f.Dataset.from_dict(columns, features=features)
    f.DatasetDict(train=whole, valid=whole.select(range(4))).save_to_disk(str(root / "saved"))
    whole.save_to_disk(str(root / "single"))
    whole.to_parquet(str(root / "table.parquet"))
    few = whole.select_columns(["x", "n", "label"])
    few.select(range(8)).to_parquet(str(root / "parquets" / "train.parquet"))
    few.select(range(8, 12)).to_parquet(str(root / "parquets" / "test.parquet"))
    for i, pixels in enumerate(PIXELS):
        place = root / "images" / ("train" if i < 8 else "test") / ("cat", "dog")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    broken = [{"bytes": b"no image", "path": None}]
    f.Dataset.from_dict(
        {"image": broken}, f.Features({"image": f.Image(decode=False)})
    ).cast_column("image", f.Image()).save_to_disk(str(root / "broken"))
    (root / "notes.txt").write_text("words")
    (root / "damaged.parquet").write_bytes(b"PAR1 and no more")
    return root


GOOD = ("img", "label", "x", "n", "text", "on", "v", "m")


def read(folder, path, **settings):
    return huggingface(str(folder / path), **settings)


@pytest.mark.parametrize("path", ["saved", "single", "table.parquet"])
def test_features_become_columns(folder, path):
    splits = read(folder, path, columns=GOOD, rename={"img": "image"})
    table, columns = splits["train"], splits["train"].columns
    assert set(splits) == ({"train", "validation"} if path == "saved" else {"train"})
    assert table.classes == ("cat", "dog") and len(table) == 12
    np.testing.assert_array_equal(columns["image"], PIXELS)
    np.testing.assert_array_equal(columns["label"], [0, 1] * 6)
    np.testing.assert_array_equal(columns["n"], np.arange(-6, 6))
    np.testing.assert_array_equal(columns["v"][:, 0], np.arange(12))
    assert list(columns["text"]) == [f"text {i}" for i in range(12)]
    kinds = {name: column.dtype.name for name, column in columns.items()}
    assert kinds == {
        **{"image": "uint8", "label": "int32", "x": "float32", "n": "int32", "text": "object"},
        **{"on": "bool", "v": "float32", "m": "float32"},
    }
    assert columns["m"].shape == (12, 2, 3)


def test_folders_of_parquet_and_of_images(folder):
    tables = read(folder, "parquets")
    assert [len(tables[role]) for role in ("train", "test")] == [8, 4]
    np.testing.assert_array_equal(tables["test"].columns["x"], np.arange(8, 12) / 4)
    images = read(folder, "images", size=(4, 3))
    assert images["train"].classes == ("cat", "dog")
    assert images["test"].columns["image"].shape == (4, 4, 3, 3)


def test_images_stay_where_they_are_with_crop(folder):
    settings = {"columns": ("img", "label"), "rename": {"img": "image"}, "crop": Crop(4)}
    for path in ("single", "images"):
        named = settings if path == "single" else {"crop": Crop(4)}
        lazy, again = (read(folder, path, **named)["train"].columns["image"] for _ in range(2))
        assert lazy[np.array([0, 1])].shape == (2, 4, 4, 3)
        assert bytes(lazy.fingerprint()) == bytes(again.fingerprint())
        view = lazy.train_view(np.array([2]), np.array([0]), 0)
        np.testing.assert_array_equal(view, again.train_view(np.array([2]), np.array([0]), 0))


def test_a_share_of_the_rows_is_the_test_split(folder):
    splits = read(folder, "single", columns=("x",), test_fraction=0.25, validation_fraction=0.25)
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 6, "validation": 3, "test": 3,
    }  # fmt: skip
    together = np.concatenate([table.columns["x"] for table in splits.values()])
    np.testing.assert_array_equal(np.sort(together), np.arange(12) / 4)


def test_a_run_trains_on_it(call, folder, tmp_path):
    config = {
        "data": {
            "source": "huggingface", "path": str(folder / "saved"), "columns": ("img", "label"),
            "rename": {"img": "image"}, "splits": {"train": "train", "test": "valid"},
        },
        "model": {"name": "mlp", "hidden": ()},
        "task": {"name": "classification"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"batch_size": 4, "steps": 3},
    }  # fmt: skip
    config["data"]["transforms"] = ({"name": "scale", "by": 1 / 255},)
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    status, _, said = call(
        "train", "--config", tmp_path / "config.py", "--workdir", tmp_path / "run"
    )
    assert status == 0, said
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["examples"] == {"test": 4}


@pytest.mark.parametrize(
    "path, settings, said",
    [
        ("saved", {}, "feature 'boxes' varies in length, so it cannot be a column; leave it out"),
        ("saved", {"columns": ("day",)}, "feature 'day' is of timestamp[s]"),
        ("saved", {"columns": ("imgs",)}, "no feature 'imgs'; did you mean 'img'?"),
        ("saved", {"columns": ("x",), "rename": {"n": "x"}}, "which columns leaves out"),
        ("saved", {"columns": ("x", "n"), "rename": {"n": "x"}}, "name each once"),
        ("saved", {"columns": ("gap",)}, "train example 1: no 'gap'"),
        ("saved", {"columns": ("big",)}, "a number does not fit int32"),
        ("saved", {"splits": {"train": "trian"}}, "no split 'trian' for train; did you mean"),
        ("saved", {"splits": {"test": "valid"}}, "name those for 'train'"),
        ("saved", {"splits": {"train": "train", "test": "train"}}, "has a split twice"),
        ("saved", {"validation_fraction": 0.5}, "but the data has a validation split"),
        ("single", {"columns": ("x",), "test_fraction": 1.5}, "together less than 1"),
        ("saved", {"name": "x"}, "name and revision are for the hub"),
        ("saved", {"size": 4, "crop": Crop(4)}, "not both"),
        ("saved", {"size": 4, "columns": ("x",)}, "has no images for size or crop"),
        ("saved", {"channels": 2}, "choose 1 (grey), 3 (RGB) or 4 (RGBA)"),
        ("saved", {"fit": "pad"}, "is for size"),
        ("notes.txt", {}, "is not a .parquet or .arrow file"),
        ("damaged.parquet", {}, "cannot be read ("),
        ("absent/deep", {}, "no such file or folder, and not a name on the hub"),
        ("broken", {}, "train example 0: "),
    ],
)
def test_what_cannot_be_read_is_one_line(folder, refuses, path, settings, said):
    with refuses("huggingface", said):
        read(folder, path, **settings)


def test_a_name_of_the_hub_without_network_is_one_line(datasets, folder, monkeypatch, refuses):
    def unreachable(*arguments, **others):
        raise ConnectionError("Couldn't reach 'ylecun/mnist' on the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with refuses("the hub cannot be reached (Couldn't reach 'ylecun/mnist' on the Hub)"):
        huggingface("ylecun/mnist")


def test_it_knows_offline_mode_itself(datasets, folder, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        huggingface("nobody/nothing")
