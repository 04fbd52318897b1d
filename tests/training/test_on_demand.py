"""Training on images that are decoded as they are needed."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxdl.checkpointing.run_directory import Run
from jaxdl.cli.main import main
from jaxdl.errors import UserError
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.loop import train_experiment
from jaxdl.training.measure import measure


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """train/ and val/ of two classes, light and dark photographs of all sizes."""
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for split, count in (("train", 15), ("val", 5)):
        for name, light in (("dark", 0), ("light", 120)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                size = tuple(rng.integers(20, 60, 2))
                pixels = light + rng.integers(0, 136, (*size, 3), np.uint8)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.JPEG")
    return root


def config(tree, crop=None, **training):
    """Epochs of 30 examples, which the batch does not divide."""
    return {
        "data": {
            "source": "images",
            "path": str(tree),
            "crop": {"size": 8, "area": (0.3, 1.0), **(crop or {})},
            "transforms": ({"name": "standardize", "mean": 128.0, "std": 60.0},),
            "augment": ({"name": "random_flip"},),
        },
        "model": {"name": "mlp", "outputs": 2, "hidden": (4,)},
        "task": {"name": "classification", "classes": 2},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {
            "batch_size": 8,
            "eval_batch_size": 4,
            "steps": 6,
            "log_every": {"steps": 1},
            "evaluate_every": {"steps": 6},
            "checkpoint_every": {"steps": 3},
            **training,
        },
    }


def started(folder, settings):
    run = Run(folder)
    run.claim(settings)
    return build_experiment(settings), run


@pytest.fixture(scope="module", params=[1, 10])
def finished(request, tree, tmp_path_factory):
    settings = config(tree, {"views": request.param})
    experiment, run = started(tmp_path_factory.mktemp("run"), settings)
    return settings, train_experiment(experiment, run), run


def test_every_example_is_evaluated_once(finished):
    _, result, run = finished
    assert result["examples"] == {"validation": 10} and 0 <= result["data_wait_share"] <= 1
    tables = (run.folder / "tables.json").read_text()
    confusion = np.array(json.loads(tables)["validation/confusion"])
    assert confusion.sum(axis=1).tolist() == [5, 5]
    step, metrics, _ = measure(build_experiment(run.config()), run)
    assert (step, metrics) == (6, result["metrics"])


def test_resume_is_exact(finished, tmp_path):
    settings, result, whole = finished
    experiment, run = started(tmp_path, settings)
    take = experiment.loader().take

    class Stopped(Exception):
        pass

    def stopping(feed, step, n):
        if step == 4:  # of 3 that are saved
            raise Stopped
        return take.__func__(feed, step, n)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("jaxdl.data.loader.DeviceLoader.take", stopping)
        train_experiment(experiment, run)
    again = train_experiment(build_experiment(settings), run)
    assert again["params_sha256"] == result["params_sha256"]
    assert again["metrics"] == result["metrics"]
    losses = [
        [(line["step"], line["loss"]) for line in each.history() if "loss" in line]
        for each in (run, whole)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_check_fits_the_views_of_evaluation(tree):
    check_shapes(build_experiment(config(tree, {"views": 10}, evaluate=("train", "validation"))))


def test_a_bad_image_in_the_middle_is_named_and_ends_with_2(tree, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxdl.training.warn._EXAMPLES", 1)  # it is not looked at beforehand
    bad = tree / "train" / "dark" / "bad.JPEG"
    bad.write_bytes((tree / "train" / "dark" / "0.JPEG").read_bytes()[:-200])
    try:
        folder, settings = tmp_path / "run", config(tree, checkpoint_every={"steps": 1})
        experiment, _ = started(folder, settings)
        place = [f"{i}.JPEG" for i in range(15)] + ["bad.JPEG"]
        row = sorted(place).index("bad.JPEG")
        step = next(t for t in range(6) if row in experiment.order.rows(t))
        with pytest.raises(SystemExit) as ended:
            main(["train", "--workdir", str(folder)])
        said = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2 and str(bad) in said[-1] and "damaged image" in said[-1]
        saved = Run(folder).checkpoints
        assert step < 1 or any(saved.glob("[0-9]*"))
    finally:
        bad.unlink()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"crop": 224}, r"config.data.crop: expected a dict"),
        ({"crop": {}}, r"config.data.crop.size: missing"),
        ({"crop": {"sise": 8}}, r"config.data.crop.sise: unknown; did you mean 'size'"),
        ({"crop": {"size": "8"}}, r"config.data.crop.size: expected int"),
        ({"crop": {"size": 8.0}}, r"config.data.crop.size: expected int"),
        ({"crop": {"size": 0}}, r"config.data.crop: size=0"),
        ({"crop": {"size": 8, "resize": 7}}, r"config.data.crop: resize=7"),
        ({"crop": {"size": 8, "area": (0.1,)}}, r"config.data.crop.area: expected"),
        ({"crop": {"size": 8, "area": 0.1}}, r"config.data.crop.area: expected"),
        ({"crop": {"size": 8, "views": 2}}, r"config.data.crop: views=2"),
        ({"crop": {"size": 8}, "size": 8}, r"config.data: images: give either size.*or crop"),
        ({"crop": None}, r"config.data: images: give either size"),
        ({"crop": {"size": 8}, "source": "digits"}, r"config.data.crop: unknown"),
    ],
)
def test_refuses(tree, data, message):
    settings = config(tree)
    settings["data"] = {**settings["data"], **data}
    if settings["data"]["source"] == "digits":
        del settings["data"]["path"]
    with pytest.raises(UserError, match=message) as caught:
        build_experiment(settings)
    assert "\n" not in str(caught.value)
