"""`jaxdl.load`: a run in Python answers and measures as the run itself did, or refuses."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import jaxdl
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.cli.main import main
from jaxdl.data import load as load_data
from jaxdl.data.synthetic.builtin import digits

MODEL = {"name": "mnist_cnn", "widths": (4,), "kernels": (3,), "strides": (2,), "dense": 8}
DIGITS = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": MODEL,
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 50, "steps": 60, "evaluate_every": {"steps": 60}},
}
TEXTS = {"text": ("good film", "very good", "bad film", "so bad", "good", "bad") * 5,
         "kind": ("pos", "pos", "neg", "neg", "pos", "neg") * 5}  # fmt: skip


def start(folder, config):
    """Train a config."""
    folder.mkdir(exist_ok=True)
    (folder / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    main(["train", "--config", str(folder / "config.py"), "--workdir", str(folder / "run")])
    return folder / "run"


def write_csv(path, columns):
    """A CSV file of columns."""
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on digits, whose transforms scale them."""
    return start(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A run on a table whose features are standardized, and the columns of its file."""
    folder = tmp_path_factory.mktemp("houses")
    rng = np.random.default_rng(0)
    area, rooms = rng.integers(20, 99, 60), rng.integers(1, 8, 60)
    columns = {"area": area, "rooms": rooms, "price": area + 7 * rooms}
    path = write_csv(folder / "houses.csv", columns)
    run = start(folder, {
        "data": {"source": "csv", "path": str(path), "target": "price", "standardize": True},
        "model": {"name": "mlp", "hidden": (), "outputs": None},
        "task": {"name": "regression"},
        "optimizer": {"name": "sgd", "learning_rate": 0.3},
        "training": {"steps": 100, "evaluate_every": {"steps": 100}},
    })  # fmt: skip
    return run, columns


@pytest.fixture(scope="module")
def opinions(tmp_path_factory):
    """A run on texts."""
    folder = tmp_path_factory.mktemp("texts")
    path = write_csv(folder / "texts.csv", TEXTS)
    return start(folder, {
        "data": {"source": "csv", "path": str(path), "label": "kind", "text": ("text",),
                 "tokenize": {"tokens": {"text": "text", "by": "words"}}},
        "model": {"name": "sequence_classifier", "outputs": 2, "hidden": 8, "embedding": 8},
        "task": {"name": "classification", "classes": 2, "input": "tokens"},
        "optimizer": {"name": "adam", "learning_rate": 0.05},
        "training": {"batch_size": 8, "steps": 30, "evaluate_every": {"steps": 30}},
    })  # fmt: skip


def test_raw_columns_are_answered_as_the_run_was_evaluated(run):
    loaded, table = jaxdl.load(run), digits()["test"]
    images, labels = table.columns["image"], table.columns["label"]
    accuracy = loaded.metrics["test/accuracy"]
    assert accuracy > 0.6
    assert np.mean(loaded.predict(images) == labels) == pytest.approx(accuracy)
    for data in (table, {"image": images, "label": labels}):
        assert loaded.evaluate(data)["accuracy"] == pytest.approx(accuracy)
    assert loaded.config["model"]["name"] == "mnist_cnn"
    assert {*loaded.params} >= {"Dense_0"} and loaded.columns["image"]["shape"] == (8, 8, 1)


def test_an_unfinished_run_has_the_metrics_of_its_last_evaluation(run, tmp_path):
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "result.json").unlink()
    assert jaxdl.load(tmp_path / "unfinished").metrics == jaxdl.load(run).metrics


def test_any_number_of_examples_by_few_programs(run):
    loaded, images = jaxdl.load(run), digits()["test"].columns["image"]
    whole = loaded.predict(images)
    traced = []
    task = loaded.parts.task
    predict = type(task).predict
    type(task).predict = lambda *words: (traced.append(1), predict(*words))[1]
    try:
        for count in (33, 40, 64, 31, 17):
            np.testing.assert_array_equal(loaded.predict(images[:count]), whole[:count])
    finally:
        type(task).predict = predict
    assert not traced  # batches of 32, as those before
    features = loaded.features(images[:3], ["Conv_0", "Dense_0"])
    assert {name: len(x) for name, x in features.items()} == {"Conv_0": 3, "Dense_0": 3}


WRONG = {
    "of floats": (lambda x: x / 16, "'image' must be uint8, raw as in training"),
    "beyond the type": (lambda x: x.astype(int) * 99, "got int64 from 0 to 1584"),
    "one example": (lambda x: x[0], "this is a single example, make it a batch: x[None]"),
    "no channels": (lambda x: x[..., 0], "add an axis for the channels: x[..., None]"),
    "another size": (lambda x: x[:, 1:], "must have shape (examples, 8, 8, 1), got (300, 7, 8, 1)"),
    "nothing": (lambda x: x[:0], "has no examples"),
    "another name": (lambda x: {"imge": x}, "no column 'image'; did you mean 'imge'?"),
    "a path alone": (lambda x: "a.png", "'image' is 'a.png'; give a list"),
    "no file": (lambda x: ["gone.png"], "gone.png: no such file"),
    "ragged": (lambda x: {"image": [[1], [2, 3]]}, "image 0: expected uint8 of shape"),
    "texts": (lambda x: np.array(["a"]), "'image' must be uint8"),
    "columns of two lengths": (lambda x: {"image": x, "label": [1]}, "must have the same length"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_in_the_data_is_one_line(run, refuses, mistake):
    make, told = WRONG[mistake]
    with refuses(told):
        jaxdl.load(run).predict(make(digits()["test"].columns["image"]))


def test_what_a_run_cannot_is_one_line(run, refuses, tmp_path):
    loaded, images = jaxdl.load(run), digits()["test"].columns["image"]
    with refuses("holds no run (no config.json)"):
        jaxdl.load(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with refuses("its model does not generate text"):
        loaded.generate("Once")
    with refuses("no module 'Conv'; did you mean 'Conv_0'?"):
        loaded.features(images, ["Conv"])
    with refuses("expected a list of names"):
        loaded.features(images, "Conv_0")
    with refuses("overlap: Classification", "it takes: score, top"):
        loaded.answers(images, overlap=0.5)
    with refuses("no column 'label'"):
        loaded.evaluate({"image": images})
    with refuses("its classes are ('a', 'b')"):
        loaded.evaluate(jaxdl.Table({"image": images}, classes=("a", "b")))


def test_features_are_standardized_as_in_training(houses, call, refuses, tmp_path):
    workdir, columns = houses
    loaded, raw = jaxdl.load(workdir), {k: columns[k] for k in ("area", "rooms")}
    assert loaded.metrics["test/rmse"] < 1
    np.testing.assert_allclose(loaded.predict(raw), columns["price"], atol=2)
    with refuses("the run standardized its features", "'area', 'rooms'"):
        loaded.predict(np.stack([*raw.values()], 1))
    with refuses("no column 'rooms'"):
        loaded.predict({"area": raw["area"]})
    with refuses("not finite"):
        loaded.predict({**raw, "area": np.full(60, np.nan)})
    # Another file has another mean, and its tables are standardized by it; the run's own is used.
    few = {name: column[:7] + (100 if name == "area" else 0) for name, column in columns.items()}
    few["price"] = few["area"] + 7 * few["rooms"]
    path = write_csv(tmp_path / "few.csv", few)
    splits = load_data("csv", path=str(path), target="price", standardize=True, test_fraction=0.0)
    assert loaded.evaluate(splits["train"])["mae"] < 5
    # Nothing was learnt of it, so no row is held out.
    status, out, _ = call("evaluate", "--workdir", workdir, f"--config.data.path={path}")
    mae = next(line.split() for line in out.splitlines() if line.startswith("other/mae"))
    assert status == 0 and float(mae[1]) < 5 and out.count("over 7 examples") == 5
    path = path.rename(tmp_path / "FEW.CSV")
    status, out, err = call("predict", "--workdir", workdir, path, "--csv")
    assert (status, err) == (0, "") and out.splitlines()[0] == "area,rooms,price,answer,value"
    answers = [float(line.split(",")[-1]) for line in out.splitlines()[1:]]
    np.testing.assert_allclose(answers, few["price"], atol=5)


def test_the_runs_own_data_is_known_wherever_it_lies_and_divided_as_it_was(houses, call, tmp_path):
    workdir, columns = houses
    _, own, _ = call("evaluate", "--workdir", workdir)
    moved = write_csv(tmp_path / "moved.csv", columns)
    status, out, _ = call("evaluate", "--workdir", workdir, f"--config.data.path={moved}")
    assert status == 0 and out == own and "test/rmse" in out
    changed = {name: [*column[:-1], column[-1] + 1] for name, column in columns.items()}
    path = write_csv(tmp_path / "changed.csv", changed)
    status, out, _ = call("evaluate", "--workdir", workdir, f"--config.data.path={path}")
    assert status == 0 and "other/rmse" in out and "over 60 examples" in out
    words = (f"--config.data.path={path}", "--config.data.test_fraction=0.5", "--split", "test")
    status, out, _ = call("evaluate", "--workdir", workdir, *words)
    assert status == 0 and "test/rmse" in out and "over 30 examples" in out


def test_a_file_of_the_test_split_is_not_taken_for_other_data(tmp_path, call):
    def table(name, rows):
        x = np.arange(rows) / rows
        return str(write_csv(tmp_path / name, {"x": x, "price": 2 * x}))

    files = {"path": table("train.csv", 20), "test": table("test.csv", 8)}
    run = start(tmp_path, {
        "data": {"source": "csv", "target": "price", **files},
        "model": {"name": "mlp", "hidden": (), "outputs": None},
        "task": {"name": "regression"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"batch_size": 4, "steps": 1},
    })  # fmt: skip
    other = table("other.csv", 5)
    for setting, split in {"test": "test", "path": "other"}.items():
        status, out, _ = call("evaluate", "--workdir", run, f"--config.data.{setting}={other}")
        assert status == 0 and f"{split}/rmse" in out
        assert "over 5 examples" in out and "over 8 examples" not in out


def test_texts_are_tokens_of_the_runs_vocabulary(opinions, call, refuses, tmp_path):
    loaded = jaxdl.load(opinions)
    assert [a[0].name for a in loaded.answers(["very good", "so bad"], top=1)] == ["pos", "neg"]
    assert len(loaded.predict(["good " * 40] * 3)) == 3  # longer than any in training
    lines = tmp_path / "lines.txt"
    lines.write_text("good film\n\nbad\x0cfilm\n")  # a form feed ends no line
    words = ("--workdir", opinions, "--top", "1", "--csv")
    status, out, err = call("predict", *words, "very good", "--lines", lines)
    assert (status, err) == (0, "")
    assert [row.split(",")[:2] for row in out.splitlines()[1:]] == [
        ["very good", "pos"], ["good film", "pos"], [r"bad\x0cfilm", "neg"],
    ]  # fmt: skip
    for asked, told in (
        ([lines], f"is a file; to read each line as a text, use --lines {lines}"),
        ([], "this run reads texts; give some"),
        ([" "], "has no tokens"),
        (["good", "--figure", tmp_path / "a.png"], "--figure: draws images"),
        (["good", "--output", tmp_path / "a"], "this run draws no pictures; name a .json"),
        (["--lines", tmp_path / "gone"], "No such file"),
    ):
        status, out, err = call("predict", "--workdir", opinions, *asked)
        assert (status, out) == (2, "") and told in err and err.count("\n") == 1, err
    # A vocabulary built from other texts would give the same words other numbers.
    other = {"text": ("good bad bad", "good", "zebra bad"), "kind": ("neg", "pos", "neg")}
    path = write_csv(tmp_path / "other.csv", other)
    status, out, _ = call("evaluate", "--workdir", opinions, f"--config.data.path={path}")
    assert status == 0 and "other/accuracy           1   over 3 examples" in out
    table = load_data("csv", path=str(path), label="kind", text=("text",), test_fraction=0.0,
                      tokenize={"tokens": {"text": "text", "by": "words"}})["train"]  # fmt: skip
    with refuses("of another vocabulary than the run's"):
        loaded.evaluate(table)


REFUSED = {
    "--config.model.dense=4": "--config.model.dense=4: cannot be changed",
    "--config.data.transforms=()": "--config.data.transforms=(): cannot be changed",
    "--config.data.pth=1": "config.data.pth: unknown",
    "--config.data.source=blobs": "no column 'image'",
}


@pytest.mark.parametrize("override", REFUSED)
def test_other_data_is_of_the_same_kind(run, call, override):
    status, out, err = call("evaluate", "--workdir", run, override)
    assert (status, out) == (2, "") and REFUSED[override] in err and err.count("\n") == 1, err


def test_a_split_by_name(run, call):
    status, out, _ = call("evaluate", "--workdir", run, "--split", "validation")
    assert status == 0 and {line.split("/")[0] for line in out.splitlines()[1:]} == {"validation"}
    status, _, err = call("evaluate", "--workdir", run, "--split", "tst")
    assert status == 2 and "--split: unknown 'tst'; did you mean 'test'?" in err


def test_data_may_lack_classes_of_the_run(opinions, call, tmp_path):
    for texts, kinds in (
        (("very good", "good"), ("pos", "pos")),
        (("so bad", "bad"), ("neg",) * 2),
    ):
        path = write_csv(tmp_path / "o.csv", {"text": texts, "kind": kinds})
        status, out, _ = call("evaluate", "--workdir", opinions, f"--config.data.path={path}")
        assert status == 0 and "other/accuracy           1   over 2 examples" in out


def test_other_classes_are_refused(opinions, call, tmp_path):
    path = write_csv(tmp_path / "o.csv", {"text": ("good", "bad"), "kind": ("up", "down")})
    status, _, err = call("evaluate", "--workdir", opinions, f"--config.data.path={path}")
    assert status == 2 and "its classes are ('down', 'up'), but the run has ('neg', 'pos')" in err
    path = write_csv(tmp_path / "n.csv", {"text": ("good", "bad"), "kind": (0, 1)})
    status, _, err = call("evaluate", "--workdir", opinions, f"--config.data.path={path}")
    assert status == 2 and "its classes are numbers, but the run has ('neg', 'pos')" in err


def test_reprs_are_short(run):
    loaded = jaxdl.load(run)
    for shown in (loaded, loaded.parts.state, loaded.parts.directory, digits()["test"]):
        assert len(repr(shown)) < 200 and "\n" not in repr(shown)
    assert "300 examples" in repr(digits()["test"]) and "uint8 8×8×1" in repr(digits()["test"])


def test_rooms_are_attributes_and_cost_nothing():
    code = "import sys, jaxdl; a = 'jax' in sys.modules; jaxdl.models.ResNet; print(a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_run_of_an_older_jaxdl_has_no_names_of_features(houses, refuses, tmp_path, call):
    import shutil

    run = shutil.copytree(houses[0], tmp_path / "run")
    data = json.loads((run / "data.json").read_text())
    del data["features"]
    (run / "data.json").write_text(json.dumps(data))
    with refuses("the run standardized its features"):
        jaxdl.load(run).predict(np.zeros((3, 2)))
    path = write_csv(tmp_path / "a.csv", {"area": (1, 2), "rooms": (3, 4)})
    status, _, err = call("predict", "--workdir", run, path)
    assert status == 2 and "jaxdl 0.1, which made it" in err


def test_a_schedule_free_run_is_used_with_the_parameters_that_it_was_evaluated_with(tmp_path):
    config = {
        **DIGITS,
        "model": {"name": "mlp", "hidden": ()},
        "optimizer": {"name": "contrib.schedule_free_sgd", "learning_rate": 1.0, "clip_norm": 9.0},
        "training": {"batch_size": 50, "steps": 6, "evaluate_every": {"steps": 6}},
    }
    folder = start(tmp_path, config)
    loaded = jaxdl.load(folder)
    table = load_data("digits")["test"]
    expected = json.loads((folder / "result.json").read_text())["metrics"]["test/loss"]
    assert loaded.evaluate(table)["loss"] == pytest.approx(expected, rel=1e-5)
    saved = Checkpoints(folder / "checkpoints").read()["params"]["Dense_0"]["kernel"]
    assert np.abs(loaded.params["Dense_0"]["kernel"] - saved).max() > 1e-3
