"""`jaxdl explain`: the command from end to end, and what it refuses."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxdl.cli.main import main
from jaxdl.data.synthetic.builtin import digits
from jaxdl.inference.loaded import load

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mnist_cnn", "widths": (4, 6), "kernels": (3, 3), "strides": (2, 1),
              "dense": 8},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 50, "steps": 2, "evaluate": ()},
}  # fmt: skip
TEXTS = "text,kind\n" + "a good film,pos\na bad film,neg\n" * 20


def start(folder, **changed):
    """Train a config for two steps."""
    (folder / "config.py").write_text(f"def get_config():\n    return {CONFIG | changed!r}\n")
    main(["train", "--config", str(folder / "config.py"), "--workdir", str(folder / "run")])
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on digits."""
    return start(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A run on photographs of two classes, ten views of each in evaluation, and their folder."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, color in {"red": (150, 0, 0), "blue": (0, 0, 150)}.items():
        (folder / "data" / name).mkdir(parents=True)
        for i in range(8):
            image = (rng.integers(0, 60, (20, 16, 3)) + color).astype(np.uint8)
            Image.fromarray(image).save(folder / "data" / name / f"{i}.png")
    crop = {"size": 8, "resize": 10, "views": 10}
    data = {"source": "images", "path": str(folder / "data"), "crop": crop,
            "transforms": ({"name": "scale"},)}  # fmt: skip
    task, training = {"name": "classification"}, {"batch_size": 4, "steps": 2, "evaluate": ()}
    return start(folder, data=data, task=task, training=training), folder / "data"


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Runs that cannot be explained: on texts, and without a convolution."""
    texts, dense = (tmp_path_factory.mktemp(name) for name in ("texts", "dense"))
    (texts / "texts.csv").write_text(TEXTS)
    data = {"source": "csv", "path": str(texts / "texts.csv"), "label": "kind", "text": ("text",),
            "tokenize": {"tokens": {"text": "text", "by": "words"}}}  # fmt: skip
    reads = {"name": "sequence_classifier", "hidden": 4, "embedding": 4}
    task = {"name": "classification", "input": "tokens"}
    training = {"batch_size": 8, "steps": 1, "evaluate": ()}
    return {
        "texts": start(texts, data=data, model=reads, task=task, training=training),
        "dense": start(dense, model={"name": "mlp", "hidden": (4,)}),
    }


@pytest.fixture
def explain(call):
    return lambda workdir, *words: call("explain", "--workdir", workdir, *words)


def digit(folder):
    """The file of the first digit of the test split."""
    Image.fromarray(digits()["test"].columns["image"][0, ..., 0]).save(folder / "digit.png")
    return folder / "digit.png"


def size(path):
    with Image.open(path) as image:
        return image.size


def test_layers_are_listed_and_the_first_filters_drawn(run, explain, tmp_path):
    status, out, err = explain(run, "--figure", tmp_path / "filters.png")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["Conv_0", "4×4×4", "3×3"],
        ["BatchNorm_0", "4×4×4", "3×3"],
        ["Conv_1", "4×4×6", "7×7"],
    ]
    assert lines[-1] == f"the 4 filters of Conv_0 are in {tmp_path / 'filters.png'}"
    assert min(size(tmp_path / "filters.png")) > 200
    status, out, _ = explain(run)
    assert status == 0 and out.splitlines() == lines[:-1]


def test_units_are_shown_by_what_excites_them(run, explain, tmp_path):
    words = ("--layer", "BatchNorm_1", "--units", "0,5", "--split", "validation")
    status, out, err = explain(run, *words, "--figure", tmp_path / "units.png")
    assert (status, err) == (0, "")
    first, *units = out.splitlines()
    assert first == "BatchNorm_1: patches of 7×7 pixels, from 300 validation images"
    table = digits()["validation"]
    found = load(run).explainer.strongest(table, "BatchNorm_1", [0, 5])
    for line, unit, values, rows in zip(units, (0, 5), found.values, found.rows, strict=True):
        counts = np.bincount(table.columns["label"][rows])
        told = f"{values[0]:.4g} to {values[-1]:.4g}  {counts.max()} of 9 are {counts.argmax()}"
        assert line == f"unit {unit:4}  {told}"
    assert size(tmp_path / "units.png")[0] > 400
    assert len(explain(run, "--layer", "Dense_1")[1].splitlines()) == 1 + 9


def test_maps_show_where_a_class_is_seen(run, explain, tmp_path):
    path = digit(tmp_path)
    words = ("--class", "3", "--layer", "Conv_0", "--figure", tmp_path / "maps.png")
    status, out, err = explain(run, path, *words)
    maps = load(run).explainer.maps([path], name="3", layer="Conv_0")
    assert (status, err) == (0, "") and out == f"{path}  3  {maps.probabilities[0]:.3f}\n"
    assert maps.images.shape == (1, 8, 8, 1) and maps.grad_cam.shape == (1, 4, 4)
    across, down = size(tmp_path / "maps.png")
    assert across > 2 * down > 200


@pytest.mark.slow
def test_maps_of_photographs_are_of_the_view_in_the_middle(photos, explain, tmp_path):
    workdir, folder = photos
    path = folder / "red" / "0.png"
    status, out, err = explain(workdir, path, "--class", "blue", "--figure", tmp_path / "maps.png")
    assert (status, err) == (0, "")
    run = load(workdir)
    maps = run.explainer.maps([path], name="blue")
    assert out == f"{path}  blue  {maps.probabilities[0]:.3f}\n"
    table = run.predictor.table([path])
    np.testing.assert_array_equal(maps.images, table[np.arange(1)]["image"][:, 4])


@pytest.mark.slow
def test_another_data_set_is_searched(photos, explain, tmp_path):
    workdir, folder = photos
    shutil.copytree(folder, tmp_path / "more")
    words = ("--layer", "Conv_1", f"--config.data.path={tmp_path / 'more'}")
    status, out, _ = explain(workdir, *words, "--figure", tmp_path / "units.png")
    assert status == 0 and "other images" in out and "of 9 are " in out


WRONG = {
    "layer": (("--layer", "Conv_9"), "layer: unknown 'Conv_9'; did you mean 'Conv_"),
    "unit": (("--layer", "Conv_0", "--units", "0,4"), "units: Conv_0 has units 0 to 3, not 4"),
    "huge unit": (("--layer", "Conv_0", "--units", "9" * 30), "units 0 to 3, not 9999999999999"),
    "units": (("--layer", "Conv_0", "--units", "first"), "--units: expected numbers such as 0,5,7"),
    "many units": (("--layer", "Conv_0", "--units", "0," * 36 + "0"), "up to 36 units, not 37"),
    "units of none": (("--units", "3"), "--units: is for the units of a layer; name one with"),
    "split": (("--layer", "Conv_0", "--split", "tset"), "--split: unknown 'tset'; did you mean 't"),
    "split of none": (("--split", "test"), "--split: is for the units of a layer"),
    "class": (("IMAGE", "--class", "cat", "--figure", "NEW"), "class: unknown 'cat'; the run has"),
    "class of none": (("--class", "3"), "--class: is for maps of images; name the images"),
    "no figure": (("IMAGE",), "--figure: name the file to draw the maps to"),
    "no image": (("none.png", "--figure", "NEW"), "none.png: no such file"),
    "no positions": (("IMAGE", "--layer", "Dense_0", "--figure", "NEW"), "have no positions"),
    "figure that exists": (("--figure", "IMAGE"), "exists; choose another, or overwrite it with"),
    "figure of another kind": (("--figure", "maps.bmp"), "name a file that ends in .png or .pdf"),
    "override": (("--config.data.path=x",), "only a search for patches, with --layer"),
    "override of the net": (("--layer", "Conv_0", "--config.model.dense=9"), "cannot be changed"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line(case, run, explain, tmp_path):
    words, told = WRONG[case]
    places = {"IMAGE": digit(tmp_path), "NEW": tmp_path / "new.png"}
    status, out, err = explain(run, *(places.get(word, word) for word in words))
    assert (status, out) == (2, "") and told in err and err.count("\n") == 1, err
    assert not (tmp_path / "new.png").exists()


def test_a_folder_without_a_run_is_one_line(explain, tmp_path):
    status, _, err = explain(tmp_path)
    assert status == 2 and "holds no run" in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("texts", "reads texts; only image networks can be explained"),
        ("dense", "its model, mlp, has no convolution"),
    ],
)
def test_runs_that_cannot_be_explained_are_refused(name, told, others, explain, tmp_path):
    status, out, err = explain(others[name], "--figure", tmp_path / "new.png")
    assert (status, out) == (2, "") and told in err and err.count("\n") == 1, err
