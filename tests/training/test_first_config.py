"""`jaxdl init`: the config that it writes is readable, and trains."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxdl import config as cfg
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.first_config import FirstConfig

RNG = np.random.default_rng(0)


def draw(path, side=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (side, side, 3), np.uint8)).save(path)


def images(side):
    def write(folder):
        for kind in ("cat's", 'dog"s'):
            for i in range(12):
                draw(folder / kind / f"{i}.png", side)

    return write


def boxes(folder):
    listed = [{"id": i, "file_name": f"{i}.png"} for i in range(4)]
    drawn = [{"id": i, "image_id": i, "category_id": 0, "bbox": [4, 4, 20, 20]} for i in range(4)]
    for split in ("train", "val"):
        for i in range(4):
            draw(folder / split / f"{i}.png", 64)
        document = {"images": listed, "annotations": drawn, "categories": [{"id": 0, "name": "a"}]}
        (folder / split / "coco.json").write_text(json.dumps(document))


def table(header, row):
    def write(folder):
        folder.mkdir()
        rows = [row(i) for i in range(60)]
        (folder / "table.csv").write_text("\n".join([header, *rows]) + "\n")

    return write


def text(folder):
    folder.mkdir()
    (folder / "a.txt").write_text("once upon a time\n" * 100)


def text_folders(folder):
    for i in range(60):
        file = folder / ("good" if i % 2 else "bad") / f"{i}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.parent.name} is what I call it")


def tunes(folder):
    folder.mkdir()
    each = (
        f"X:{i}\nT:No. {i}\nM:4/4\nL:1/8\nK:G\nGA {'BcdA'[i % 4 :]} | GFED |\n\n" * 3
        for i in range(20)
    )
    (folder / "some.abc").write_text("".join(each))


def labelled_images(folder):
    for i in range(20):
        draw(folder / "train" / f"{i}.png")
    rows = "".join(f"{i},{'xy'[i % 2]}\n" for i in range(20))
    (folder / "labels.csv").write_text(f"id,kind\n{rows}")


def captions(folder):
    for i in range(24):
        draw(folder / "Images" / f"{i}.png")
    rows = "".join(f'{i}.png,"{i} dogs, or {"so few"[i % 2 :]}"\n' for i in range(24))
    (folder / "captions.txt").write_text(f"image,caption\n{rows}")


KINDS = {
    "captions": captions,
    "tunes": tunes,
    "images and labels": labelled_images,
    "small images": images(12),
    "large images": images(80),
    "boxes": boxes,
    "classes": table("a,b,kind", lambda i: f"{i % 7},{-i},{'xyz'[i // 20]}"),
    "a number": table("a,constant,b", lambda i: f"{i},1,{2.5 * i}"),
    "texts of classes": table("said,kind", lambda i: f'"this is what {i} says",{i % 2}'),
    "rows of text": table("said", lambda i: '"this is what they all say"'),
    "text": text,
    "folders of texts": text_folders,
}


@pytest.fixture
def init(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: call("init", *words)


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_can_be_trained(kind, init, tmp_path):
    KINDS[kind](tmp_path / "data")
    status, out, err = init("data")
    assert (status, err) == (0, "")
    assert "wrote my_config.py" in out and "jaxdl train --config my_config.py" in out
    written = (tmp_path / "my_config.py").read_text()
    assert max(map(len, written.splitlines())) <= 100 and str(tmp_path) not in written
    config = cfg.read("my_config.py")
    assert config["data"]["path"].startswith("data")
    check_shapes(build_experiment(config))


def test_what_has_no_labels_is_predicted_by_the_last_command(init, tmp_path):
    KINDS["classes"](tmp_path / "data")
    (tmp_path / "data" / "table.csv").rename(tmp_path / "data" / "train.csv")
    (tmp_path / "data" / "test.csv").write_text("a,b\n1,2\n")
    out = init("data")[1]
    assert out.endswith("    jaxdl predict --workdir runs/my_config data/test.csv\n")


def test_arrays_by_keras_names(init, tmp_path):
    images, labels = RNG.integers(0, 256, (64, 28, 28), np.uint8), np.arange(64)[:, None] % 10
    for x, grey in ((images, ("image",)), (images[..., None] / np.float32(255), None)):
        splits = {"x_train": x, "y_train": labels, "x_test": x[:32], "y_test": labels[:32]}
        np.savez(tmp_path / "a.npz", **splits)
        assert init("a.npz", "--force")[0] == 0
        config = cfg.read("my_config.py")
        assert config["data"].get("grey") == grey
        assert (config["data"]["transforms"][0]["std"] == 64) == (x.dtype == np.uint8)
        check_shapes(build_experiment(config))


def test_features_in_arrays_are_brought_to_one_scale(init, tmp_path):
    x = RNG.normal(size=(80, 3)).astype(np.float32)
    far = np.array([123456.7, 8, 47])
    for scales, places, several in (
        (np.array([1, 1e4, 1e6]), 0, True),
        (100, 0, False),
        (1, far, True),
    ):
        np.savez(tmp_path / "a.npz", X=x * scales + places, y=np.arange(80) % 2)
        assert init("a.npz", "--force")[0] == 0
        experiment = build_experiment(cfg.read("my_config.py"))
        (node,) = cfg.read("my_config.py")["data"]["transforms"]
        assert isinstance(node["std"], tuple) == several
        batch = {"features": jax.numpy.asarray(experiment.splits["train"].columns["features"])}
        seen = experiment.transforms.always(batch, jax.random.key(0))["features"]
        np.testing.assert_allclose(np.std(seen, 0), 1, rtol=0.2)
        np.testing.assert_allclose(np.mean(seen, 0), 0, atol=0.2)


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("classes", "accuracy"), ("a number", "r2"), ("folders of texts", "accuracy")],
)
def test_it_trains_to_its_end(kind, metric, init, call, tmp_path):
    KINDS[kind](tmp_path / "data")
    assert init("data", "--output", "mine.py")[0] == 0
    status, _, err = call("train", "--config", "mine.py", "--workdir", "runs/mine")
    assert (status, err) == (0, "")
    result = json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())
    assert result["metrics"][f"test/{metric}"] > 0.9


def test_nothing_is_overwritten_without_force(init, tmp_path):
    text(tmp_path / "data")
    (tmp_path / "mine.py").write_text("precious")
    status, _, err = init("data", "--output", "mine.py")
    assert status == 2 and "exists" in err and (tmp_path / "mine.py").read_text() == "precious"
    assert init("data", "--output", "mine.py", "--force")[0] == 0
    assert init("data", "--output", "mine.txt")[0] == 2
    (tmp_path / "link.py").symlink_to("elsewhere.py")
    assert init("data", "--output", "link.py", "--force")[0] == 2
    assert not (tmp_path / "elsewhere.py").exists()


def test_names_of_others_are_written_as_python_has_them(tmp_path):
    names = ("it's", 'a "b"', "back\\slash", "new\nline", '"""', "é中\udcff", "x" * 200)
    made = FirstConfig("A title.", {"data": {"features": names, "n": 1}}, {"data.n": "why " * 40})
    (tmp_path / "c.py").write_text(made.text('jaxdl train --config """\\N{x}.py'))
    assert cfg.read(tmp_path / "c.py")["data"]["features"] == names


def test_labels_that_no_task_learns_write_no_config(init, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in (np.arange(40) % 2 * 1.0, np.eye(2)[np.arange(40) % 2], np.arange(40) % 3 - 1):
        np.savez("x.npz", features=np.ones((40, 3)), label=label)
        status, _, err = init("x.npz")
        assert status == 2 and "label" in err and err.count("\n") == 1
        assert not (tmp_path / "my_config.py").exists()


def test_numbers_that_no_label_has_are_told(init, tmp_path):
    rows = [f"{i},{1 + i % 3}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["a,label", *rows]))
    _, out, _ = init("t.csv")
    assert "task.classes = 4: labels count from 0, but no example to train on has 0" in out


def test_a_text_shorter_than_a_window_is_no_traceback(init, tmp_path):
    (tmp_path / "a.txt").write_text("ab " * 14)
    status, _, err = init("a.txt")
    assert (status, err) == (0, "")
