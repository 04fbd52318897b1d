"""`jaxdl predict`: what runs answer, from their directories alone."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.boxes import box_iou
from jaxdl.checkpointing.run_directory import Run
from jaxdl.cli.main import main
from jaxdl.data.synthetic.builtin import digits
from jaxdl.inference.loaded import load
from jaxdl.inference.restored import RestoredRun
from jaxdl.models import functional
from jaxdl.models.cnn import MnistCNN
from jaxdl.training.build import build_experiment
from jaxdl.training.measure import measure

MODEL = {"name": "mnist_cnn", "widths": (4,), "kernels": (3,), "strides": (2,), "dense": 8}
CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": MODEL,
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 50, "steps": 3, "ema_decay": 0.5, "evaluate": ()},
}


def start(folder, config):
    """Train a config."""
    folder.mkdir(exist_ok=True)
    (folder / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    main(["train", "--config", str(folder / "config.py"), "--workdir", str(folder / "run")])
    return folder / "run"


def paint(folder, color, count, size=(20, 16)):
    """So many images of about one colour."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(color))
    for i in range(count):
        noise = rng.integers(0, 60, (*size, 3))
        Image.fromarray((noise + color).astype(np.uint8)).save(folder / f"{i}.png")


@pytest.fixture(scope="session")
def digit_run(tmp_path_factory):
    """A run, and images of its kind: (workdir, folder of 40 images, their pixels)."""
    folder = tmp_path_factory.mktemp("digits")
    images = digits()["test"].columns["image"][:40]
    (folder / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / "images" / f"{i:02}.png")
    return start(folder, CONFIG), folder / "images", images


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory):
    """A run on images that are cropped as they are read, ten views of each in evaluation."""
    folder = tmp_path_factory.mktemp("photos")
    paint(folder / "data" / "red", (150, 0, 0), 12)
    paint(folder / "data" / "blue", (0, 0, 150), 12)
    crop = {"size": 8, "resize": 10, "views": 10}
    data = {"source": "images", "path": str(folder / "data"), "crop": crop}
    run = start(folder, {
        **CONFIG,
        "data": {**data, "transforms": ({"name": "scale"},)},
        "model": {**MODEL, "outputs": 2},
        "task": {"name": "classification", "classes": 2},
        "training": {"batch_size": 6, "steps": 30, "evaluate": ()},
    })  # fmt: skip
    shutil.rmtree(folder / "data")  # what a run has learnt is in its directory
    return run


@pytest.fixture(scope="session")
def boxes_run(tmp_path_factory):
    """A run of a small detector, which has learnt nothing yet."""
    return start(tmp_path_factory.mktemp("boxes"), {
        "data": {"source": "drawn_boxes", "size": (32, 48), "train_examples": 8,
                 "transforms": ({"name": "scale"},)},
        "model": {"name": "tiny_detector:TinyDetector"},
        "task": {"name": "retinanet", "classes": 3, "threshold": 0.0},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "training": {"batch_size": 4, "steps": 2, "evaluate": ()},
    })  # fmt: skip


@pytest.fixture
def predict(call):
    """Runs `jaxdl predict` in this process: (exit status, stdout, stderr)."""
    trust = ("--trust", "tiny_detector")  # of the runs here, one names code
    return lambda workdir, *words: call("predict", "--workdir", workdir, *trust, *words)


def test_views_of_evaluation_are_those_of_prediction(tmp_path):
    """Both average the probabilities of an image and of its mirror image."""
    config = {**CONFIG, "data": {**CONFIG["data"], "views": ({"name": "views"},)}}
    workdir = start(tmp_path, config)
    test, state = digits()["test"], RestoredRun(Run(workdir)).state
    model = functional(MnistCNN(**{k: v for k, v in MODEL.items() if k != "name"}))
    x = jnp.asarray(test.columns["image"], jnp.float32) / 16
    p = [
        jax.nn.softmax(model.apply(state.ema, state.model_state, (seen,), None, False)[0])
        for seen in (x, x[:, :, ::-1])
    ]
    mean = np.mean(p, axis=0)
    labels = test.columns["label"]
    whole = {**config, "training": {**CONFIG["training"], "evaluate": ("test",)}}
    _, metrics, _ = measure(build_experiment(whole), Run(workdir))
    expected = -np.log(mean[np.arange(len(labels)), labels]).mean()
    assert metrics["test/loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["test/accuracy"] == pytest.approx(np.mean(mean.argmax(axis=1) == labels))
    Image.fromarray(test.columns["image"][0, ..., 0]).save(tmp_path / "digit.png")
    ((best,),) = load(workdir).answers([tmp_path / "digit.png"], top=1)
    assert best.value == pytest.approx(mean[0].max(), rel=1e-4)


def test_probabilities_are_those_of_the_learnt_average(digit_run, predict):
    workdir, folder, images = digit_run
    state = RestoredRun(Run(workdir)).state
    model = functional(MnistCNN(**{k: v for k, v in MODEL.items() if k != "name"}))
    inputs = (jnp.asarray(images, jnp.float32) / 16,)
    logits, _ = model.apply(state.ema, state.model_state, inputs, None, False)
    expected = np.asarray(jax.nn.softmax(logits))
    paths = sorted(folder.iterdir())
    run = load(workdir)
    found = run.answers(paths, top=10)
    for answers, row in zip(found, expected, strict=True):
        names, values, _ = zip(*answers, strict=True)
        assert list(values) == sorted(values, reverse=True)
        np.testing.assert_allclose(values, row[[int(name) for name in names]], atol=1e-5)
    assert run.answers(images, top=10) == found


def test_what_is_printed(digit_run, predict):
    workdir, folder, _ = digit_run
    status, out, err = predict(workdir, folder / "03.png", folder / "01.png", "--top", "3")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [lines[0], lines[4]] == [str(folder / "03.png"), str(folder / "01.png")]
    assert len(lines) == 8 and {len(line) for line in lines[1:4] + lines[5:]} == {4 + 1 + 2 + 6}
    status, out, _ = predict(workdir, folder)
    assert status == 0 and len(out.splitlines()) == 40 * 6
    # More classes than there are: all of them. Also of any other image, in any shape and colour.
    other = folder.parent / "photo.jpg"
    Image.fromarray(np.full((30, 50, 3), 90, np.uint8)).save(other)
    status, out, _ = predict(workdir, other, "--top", "50")
    assert status == 0 and len(out.splitlines()) == 11


def test_photos_are_seen_as_evaluation_sees_them(photo_run, predict, tmp_path):
    paint(tmp_path / "red", (150, 0, 0), 2, size=(31, 40))
    paint(tmp_path / "blue", (0, 0, 150), 2)
    status, out, err = predict(photo_run, tmp_path / "blue", tmp_path / "red", "--top", "1")
    assert (status, err) == (0, "")
    answers = [line.split() for line in out.splitlines()[1::2]]
    assert [name for name, _ in answers] == ["blue", "blue", "red", "red"]
    run, path = load(photo_run), tmp_path / "red" / "0.png"
    (first,) = run.answers([path], top=2)
    assert sum(answer.value for answer in first) == pytest.approx(1)
    # An array of any size is cropped as a file is, and features are of the middle.
    image = np.asarray(Image.open(path))
    assert run.answers([image], top=2) == [first]
    (name,) = {*run.features([image, image], ["Dense_1"])}
    assert name == "Dense_1" and run.predict([image, path.as_posix()][:1]).tolist() == [1]


def test_boxes_are_in_pixels_of_the_image_as_it_was(boxes_run, predict, tmp_path):
    rng = np.random.default_rng(0)
    for name, size in {"small": (32, 48), "wide": (64, 192)}.items():
        shown = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((size[0] // 8, size[1] // 8, 1)))
        Image.fromarray(shown.astype(np.uint8)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / "small.png", tmp_path / "wide.png"]
    run = load(boxes_run, trust=["tiny_detector"])
    small, wide = run.answers(paths, score=0)
    for answers, (height, width) in ((small, (32, 48)), (wide, (64, 192))):
        boxes = np.array([answer.box for answer in answers])
        assert len(boxes) > 3 and np.all(boxes >= 0)
        assert np.all(boxes[:, ::2] <= width) and np.all(boxes[:, 1::2] <= height)
    assert max(answer.box[2] for answer in wide) > 48  # the canvas ends there
    predicted = run.predict([np.asarray(Image.open(path)) for path in paths])
    assert predicted["boxes"].shape[::2] == (2, 4) and predicted["boxes"][1].max() > 48
    # One box an object: no two overlap by more than 0.4, whatever their classes.
    more, _ = run.answers(paths, score=0, overlap=1)
    assert len(more) > 10 and {answer.name for answer in more} == {"circle", "square", "triangle"}
    boxes = jnp.array([answer.box for answer in small])
    assert np.sum(np.asarray(box_iou(boxes, boxes)) > 0.4) == len(small)
    status, out, err = predict(boxes_run, tmp_path / "wide.png", "--score", "0", "--top", "2")
    name, value, *place = out.splitlines()[1].replace(" at ", " ").replace(",", "").split()
    assert (status, err, len(out.splitlines())) == (0, "", 3)
    assert name == wide[0].name and float(value) == pytest.approx(wide[0].value, abs=1e-4)
    np.testing.assert_allclose(np.array(place, float), wide[0].box, atol=0.06)


def test_where_nothing_is_found_that_is_said(boxes_run, predict, digit_run):
    status, out, err = predict(boxes_run, digit_run[1] / "00.png", "--score", "1")
    assert (status, err) == (0, "") and out.splitlines()[1:] == [
        "    nothing; a lower --score shows more"
    ]


@pytest.mark.parametrize("run", ["digit_run", "photo_run", "boxes_run"])
def test_a_figure(run, digit_run, predict, tmp_path, request):
    found = request.getfixturevalue(run)
    workdir = found[0] if isinstance(found, tuple) else found
    file, images = tmp_path / "new" / "figure.png", sorted(digit_run[1].iterdir())[:5]
    status, _, err = predict(workdir, *images, "--figure", file)
    assert (status, err) == (0, "")
    with Image.open(file) as figure:
        assert np.asarray(figure).std() > 10 and figure.width > 800
    file.write_text("a year's work")
    status, out, err = predict(workdir, *images, "--figure", file)
    assert (status, out) == (2, "") and err.count("\n") == 1 and "--force" in err
    assert file.read_text() == "a year's work"
    assert predict(workdir, *images, "--figure", file, "--force")[0] == 0
    with Image.open(file) as figure:
        assert figure.width > 800


WRONG = {
    "top": (["{images}", "--top", "0"], "--top: expected at least 1, got 0"),
    "no top": (["{images}", "--top", "five"], "invalid int value: 'five'"),
    "score": (["{images}", "--score", "1.5"], "--score: expected 0 to 1, got 1.5"),
    "no image": ([], "INPUT: this run reads images; name them"),
    "overlap": (["{images}", "--overlap", "-1"], "--overlap: expected 0 to 1, got -1.0"),
    "no boxes": (["{images}", "--overlap", "0.5"], "overlap: Classification, the task of this"),
    "lines": (["--lines", "{images}/00.png"], "--lines: is for texts, and this run reads images"),
    "two forms": (["{images}", "--json", "--csv"], "not allowed with argument"),
    "output's file": (["{images}", "--output", __file__], "is a file; name a folder, or a .json"),
    "output's place": (["{images}", "--output", "/dev/null/a"], "--output /dev/null/a: cannot"),
    "no file": (["{images}/00.png", "gone.png"], "gone.png: no such file"),
    "no folder": (["{images}/gone"], "gone: no such file; give images, or folders of them"),
    "an empty folder": (["{tmp}"], "a folder without images"),
    "no picture": ([__file__], "not an image"),
    "damaged": (["{images}/00.png", "{tmp}/../short.png"], "short.png: "),
    "figure's place": (["{images}", "--figure", "/dev/null/a.png"], "--figure /dev/null: cannot"),
    "figure's name": (["{images}", "--figure", "a.txt"], "--figure a.txt: name a file that ends"),
    "figure's folder": (["{images}", "--figure", "{tmp}"], "is a directory; name a file"),
    "a vast figure": (["{images}"] * 3 + ["--figure", "a.png"], "--figure: shows up to 100 images"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("mistake", "run"),
    [(mistake, "digit_run") for mistake in WRONG]
    + [
        (mistake, run)
        for run in ("photo_run", "boxes_run")
        for mistake in ("no picture", "damaged")
    ],
)
def test_a_mistake_is_one_line(digit_run, predict, tmp_path, mistake, run, request):
    found = request.getfixturevalue(run)
    workdir = found[0] if isinstance(found, tuple) else found
    empty, images = tmp_path / "empty", digit_run[1]
    empty.mkdir()
    (tmp_path / "short.png").write_bytes((images / "00.png").read_bytes()[:60])
    words, told = WRONG[mistake]
    words = [word.format(images=images, tmp=empty) for word in words]
    status, out, err = predict(workdir, *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1 and told in err, err


def edited(config):
    """A config that is not the one that was trained."""
    changed = json.loads(config.read_text())
    changed["optimizer"]["learning_rate"] = 0.123
    config.write_text(json.dumps(changed))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: shutil.rmtree(run / "checkpoints"), "its checkpoint is missing; restore it"),
        (lambda run: edited(run / "config.json"), "config.json: differs from the config that made"),
        (lambda run: (run / "config.json").unlink(), "holds no run"),
        (lambda run: (run / "data.json").write_text("{"), "data.json: not JSON"),
        (lambda run: (run / "data.json").write_text('{"columns": {}}'), "data.json: damaged"),
    ],
)
def test_a_damaged_run_is_one_line(digit_run, predict, tmp_path, damage, told):
    run = shutil.copytree(digit_run[0], tmp_path / "run")
    damage(run)
    status, _, err = predict(run, digit_run[1])
    assert status == 2 and told in err and len(err.splitlines()) == 1, err


def test_files_of_texts_are_read_as_in_training(predict, tmp_path, call):
    for i in range(12):
        for kind in ("cat", "dog"):
            file = tmp_path / "texts" / kind / f"{i}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"a {kind} is a {kind}")
    config = {
        "data": {
            "source": "text_folders",
            "path": str(tmp_path / "texts"),
            "tokenize": {"tokens": {"text": "text", "by": "words", "length": 8}},
        },
        "model": {"name": "sequence_classifier", "outputs": 2, "hidden": 8, "embedding": 4},
        "task": {"name": "classification", "input": "tokens"},
        "optimizer": {"name": "adam", "learning_rate": 0.05},
        "training": {"batch_size": 8, "steps": 40},
    }
    workdir = start(tmp_path, config)
    status, out, _ = predict(
        workdir, tmp_path / "texts" / "dog", tmp_path / "texts/cat/1.txt", "--json"
    )
    answers = json.loads(out)
    assert status == 0 and len(answers) == 13
    found = [answer["answers"][0]["name"] for answer in answers]
    assert found == ["dog"] * 12 + ["cat"]
    long = f"a cat is a {'c' * 300}"
    assert predict(workdir, long, "--json")[0] == 0
    status, _, err = predict(workdir, tmp_path / "texts" / "cat" / "99.txt")
    assert status == 2 and "99.txt: no such file" in err


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("blobs_logistic", "this run reads tables with features; name one CSV or Parquet file"),
        ("bishop_descent", "this run reads tables with x; name one CSV or Parquet file, not"),
    ],
)
def test_a_run_that_is_not_of_images(digit_run, predict, tmp_path, config, told):
    words = ["--workdir", str(tmp_path / "run"), "--config.training.steps=1"]
    main(["train", "--config", config, *words, "--config.figures=()"])
    status, _, err = predict(tmp_path / "run", digit_run[1])
    assert status == 2 and told in err and len(err.splitlines()) == 1, err


def test_answers_as_json_and_csv(digit_run, predict, tmp_path):
    workdir, folder, _ = digit_run
    paths = [folder / "03.png", folder / "01.png"]
    expected = load(workdir).answers(paths, top=2)
    status, out, err = predict(workdir, *paths, "--top", "2", "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert [each["input"] for each in told] == [{"image": str(path)} for path in paths]
    for each, answers in zip(told, expected, strict=True):
        assert [(a["name"], a["value"]) for a in each["answers"]] == [a[:2] for a in answers]
    status, out, _ = predict(workdir, *paths, "--top", "1", "--csv")
    assert status == 0 and out.splitlines()[0] == "image,answer,value"
    assert out.splitlines()[1] == f"{paths[0]},{expected[0][0].name},{expected[0][0].value}"
    file = tmp_path / "new" / "answers.json"
    status, out, _ = predict(workdir, *paths, "--top", "2", "--output", file)
    assert status == 0 and len(out.splitlines()) == 6 and json.loads(file.read_text()) == told
    capital = tmp_path / "answers.JSON"
    assert predict(workdir, *paths, "--top", "2", "--output", capital)[0] == 0
    assert json.loads(capital.read_text()) == told
    status, out, err = predict(workdir, *paths, "--output", file)
    assert (status, out) == (2, "") and err.count("\n") == 1 and "--force" in err


def test_pictures_in_a_folder(boxes_run, digit_run, predict, tmp_path):
    _, folder, _ = digit_run
    same = tmp_path / "same" / "00.png"
    same.parent.mkdir()
    shutil.copy(folder / "00.png", same)
    words = (folder / "00.png", same, "--score", "0", "--output", tmp_path / "drawn")
    assert predict(boxes_run, *words)[0] == 0
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["00-2.png", "00.png"]
    with Image.open(tmp_path / "drawn" / "00.png") as picture:
        assert np.asarray(picture).std() > 10
    status, _, err = predict(boxes_run, *words)
    assert status == 2 and "exists; choose another, or overwrite it with --force" in err
    assert predict(boxes_run, *words, "--force")[0] == 0
    before = same.read_bytes()
    status, _, err = predict(boxes_run, same, "--output", same.parent, "--force")
    assert status == 2 and "would overwrite" in err and same.read_bytes() == before


def test_hostile_names_of_classes_and_files_are_escaped(digit_run, predict, tmp_path):
    """A terminal obeys none of them, and the figure takes no dollar for mathematics."""
    workdir, folder, _ = digit_run
    workdir = shutil.copytree(workdir, tmp_path / "run")
    data = json.loads((workdir / "data.json").read_text())
    names = [r"$\frac{1}{0$ $", "\x1b]0;owned\x07", "a\nb", "\u202ec", "\udcff", "\0", "é" * 10**6]
    data["classes"] = [*names, "中文", "🙂", "$x$"]
    (workdir / "data.json").write_text(json.dumps(data))
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\x1b[2J\n\xff.png")
    shutil.copy(folder / "00.png", path)
    drawn = tmp_path / "drawn.png"
    status, out, err = predict(workdir, path, "--top", 10, "--figure", drawn)
    assert (status, err) == (0, "") and drawn.exists()
    assert all(c.isprintable() or c == "\n" for c in out)
    assert len(out.splitlines()) == 11 and max(map(len, out.splitlines())) < 300
    for shown in (r"\x1b[2J\n\udcff.png", r"\x1b]0;owned\x07", r"a\nb", r"\u202ec", "中文", "🙂"):
        assert shown in out
