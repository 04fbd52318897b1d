"""Classification and localisation of a user's own images, from a folder to a picture."""

import json
import re

import numpy as np
import pytest
from jax import export
from PIL import Image
from safetensors.numpy import load_file

from jaxdl.cli.main import main
from jaxdl.data import load as data_of
from jaxdl.inference.loaded import load

COLORS = {"red": (250, 20, 20), "blue": (20, 20, 250)}


def pictures(folder, counts):
    """Images of two sizes in YOLO's layout, each with a rectangle of the color of its class."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for i in range(count):
            high, wide = ((40, 60), (30, 24))[i % 2]
            image = rng.integers(90, 110, (high, wide, 3)).astype(np.uint8)
            h, w = rng.integers(8, 14, 2)
            y, x = rng.integers(0, high - h), rng.integers(0, wide - w)
            label = i // 2 % 2
            image[y : y + h, x : x + w] = [*COLORS.values()][label]
            Image.fromarray(image).save(folder / "images" / split / f"{i}.png")
            numbers = ((x + w / 2) / wide, (y + h / 2) / high, w / wide, h / high)
            line = " ".join(map(str, (label, *numbers)))
            (folder / "labels" / split / f"{i}.txt").write_text(line + "\n")
    (folder / "classes.txt").write_text("\n".join(COLORS))


def config(folder, **task):
    return {
        "data": {
            "source": "yolo",
            "path": str(folder),
            "size": (32, 48),
            "transforms": ({"name": "standardize", "mean": 100.0, "std": 64.0},),
            "augment": ({"name": "random_flip", "boxes": "boxes"},),
        },
        "model": {
            "name": "localizer",
            "trunk": {"name": "mnist_cnn", "widths": (4,), "kernels": (3,), "strides": (2,),
                      "dense": 8},
            "hidden": 8,
        },
        "task": {"name": "localization", **task},
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "training": {"batch_size": 8, "steps": 2, "eval_batch_size": 8},
        "figures": ("localizations",),
    }  # fmt: skip


def write(folder, config):
    (folder / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    return folder / "config.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    pictures(folder, {"train": 16, "val": 6})
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of them."""
    folder = tmp_path_factory.mktemp("localized")
    main(["train", "--config", str(write(folder, config(data))), "--workdir", str(folder / "run")])
    return folder / "run"


@pytest.mark.slow
def test_a_run_says_what_is_in_an_image_and_where(call, data, run):
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    assert {"validation/top1_error", "validation/top1_localization_error"} <= {*metrics}
    assert (run / "figures" / "localizations.png").exists()
    status, out, err = call("predict", "--workdir", run, data / "images" / "val" / "1.png")
    assert (status, err) == (0, "")
    (found,) = re.findall(r"^    (?:red|blue)  [01]\.\d+  at ([\d., ]+)$", out, re.MULTILINE)
    corners = np.array(found.split(","), float)
    # Within the image as it is, but for half a pixel of its canvas.
    assert (corners >= 0).all() and (corners <= [24.5, 30.5, 24.5, 30.5]).all()


@pytest.mark.slow
def test_a_run_is_evaluated_and_exported(call, tmp_path, data, run):
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    status, out, _ = call("evaluate", "--workdir", run)
    assert status == 0 and f"{metrics['validation/top1_localization_error']:.6g}" in out
    words = ("predict", "--workdir", run, data / "images" / "val", "--top", "2", "--json")
    status, out, _ = call(*words, "--figure", tmp_path / "drawn.png")
    assert status == 0 and (tmp_path / "drawn.png").exists()
    assert [len(said["answers"]) for said in json.loads(out)] == [2] * 6

    assert call("export", "--workdir", run, "--output", tmp_path / "out")[0] == 0
    weights = load_file(tmp_path / "out" / "model.safetensors")
    program = export.deserialize(bytearray((tmp_path / "out" / "model.stablehlo").read_bytes()))
    photo = data / "images" / "val" / "1.png"
    seen = data_of("yolo", path=str(data), size=(32, 48))["validation"].columns
    columns = {name: np.asarray(seen[name][1:2]) for name in ("image", "extent")}
    results = program.call(weights, columns)
    (best,) = load(run).answers([photo])[0]
    np.testing.assert_allclose(results["boxes"][0, 0] / seen["scale"][1], best.box, atol=0.1)


def test_images_with_several_boxes_are_told_with_a_remedy(call, tmp_path, data):
    pictures(tmp_path, {"train": 16, "val": 2})
    (tmp_path / "labels" / "train" / "3.txt").write_text("0 .2 .2 .2 .2\n1 .5 .5 .4 .4\n")
    status, _, err = call("check", "--config", write(tmp_path, config(tmp_path)))
    assert status == 2 and err.count("\n") == 1
    assert "has 2 objects (1 such of 16)" in err and "config.task.objects='largest'" in err
    (tmp_path / "labels" / "train" / "4.txt").unlink()
    largest = write(tmp_path, config(tmp_path, objects="largest"))
    status, _, err = call("check", "--config", largest)
    assert status == 2 and "has no object (1 such of 16)" in err
