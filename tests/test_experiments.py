"""Every study and benchmark runs as its docstring says."""

import functools
import importlib.util
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.svm import LinearSVC

from jaxdl.cli.main import main
from jaxdl.errors import UserError


def attempt(root, script, *words):
    """Run a script as Python does: a study in this process, where JAX need not be imported anew."""
    command = [str(root / "experiments" / script), *map(str, words)]
    if script.startswith("benchmarks/"):
        command.insert(0, sys.executable)
        return subprocess.run(command, capture_output=True, text=True, timeout=300)
    status, out, err = 0, StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        patch.syspath_prepend(str(root / "experiments"))
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def run(root, script, *words):
    done = attempt(root, script, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def module(root, script):
    spec = importlib.util.spec_from_file_location(script[:-3], root / "experiments" / script)
    study = sys.modules[script[:-3]] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # as where a script is run
        patch.syspath_prepend(str(root / "experiments"))
        spec.loader.exec_module(study)
    return study


def test_bishop_tables(root, tmp_path):
    told = run(root, "bishop_tables.py", "--figure", tmp_path / "bishop.png")
    assert "M = 3         0.1870  0.2243   0.31 7.99 -25.43 17.37" in told
    assert (tmp_path / "bishop.png").stat().st_size > 20_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "package"), [("tpu:v5e:1x1", "libtpu"), ("cuda:h100", "jax_plugins")]
)
def test_targets(root, tmp_path, monkeypatch, target, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("--only", "digits_cnn", "--output", tmp_path / "table.md")
    told = run(root, "benchmarks/targets.py", "--targets", target, *words)
    assert (tmp_path / "table.md").read_text() == told
    cnn = told.splitlines()[-1]
    name, batch, _, flops, *_, of_bytes, of_flops = cnn.strip("| ").split(" | ")
    assert (name, batch, flops, of_flops) == ("`digits_cnn`", "100", "3.13", "1.00")
    assert 0.5 < float(of_bytes) < 1.1


@pytest.mark.slow
def test_clusters(root, tmp_path):
    small = ("--config.model.hidden=(16,)", "--config.training.steps=2", "--config.figures=()")
    words = ["train", "--config", "mnist_autoencoder", "--workdir", str(tmp_path / "run"), *small]
    main([*words, "--config.data.twin=true"])
    told = run(root, "clusters.py", "--twin", "--workdir", tmp_path / "run").splitlines()
    printed = ("k-means++", "69,545", "0.598", "0.469")
    assert any(all(word in line for word in printed) for line in told)
    errors = [float(line.split()[-3]) for line in told if "squared error" in line]
    of_train, of_test, untrained = errors
    assert of_test < of_train < untrained


@pytest.mark.slow
def test_pedestrians(root, tmp_path):
    words = ("--config.data.twin=true", "--config.training.epochs=2", "--config.figures=()")
    folder = tmp_path / "pixels"
    main(["train", "--config", "pedestrians_logistic", "--workdir", str(folder), *words])
    told = run(root, "pedestrians.py", folder, "--twin", "--figure", tmp_path / "curves.png")
    first, svm, pixels = told.splitlines()
    assert "60 test images, 30 of a person" in first and svm.startswith("HOG and linear SVM, C = ")
    assert float(svm.split()[7]) > 0.9 and pixels.startswith("pixels")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_scripts_can_be_imported(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "experiments")
    for script in (root / "experiments").glob("*.py"):
        runpy.run_path(str(script), run_name="imported")


def test_lecture(root, tmp_path):
    folder = tmp_path / "a walk"
    quick = ("lecture.py", "--workdir", folder, "--quick", "--only")
    told = run(root, *quick, "digits_softmax", "sentiment_baseline")
    assert "1 run left, about 0 minutes on two cores; now digits_softmax-0" in told
    page = (folder / "lecture.md").read_text()
    assert "features, C = " in page and "Handwritten digits" in page and "mnist" not in page
    assert "python experiments/sentiment_baseline.py --twin" in page
    assert "jaxdl train --config digits_softmax" in page and "test/accuracy" in page
    page = (folder / "lecture.html").read_text()
    assert page.count("data:image/png;base64") == 1 and "no run left" in page
    again = run(root, *quick, "digits_softmax", "sentiment_baseline")
    assert "now " not in again  # all is there

    honest = run(root, *quick[:3], "--only", "digits_softmax")
    assert "now " not in honest
    assert "config.data.twin: '(absent)' -> True" in (folder / "lecture.md").read_text()

    done = attempt(root, *quick, "digits_sofmax")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("--only digits_sofmax: no such system; did you mean 'digits_so")


@pytest.mark.slow
def test_coates(root):
    small = ("--centroids", 16, "--patches", 500, "--iterations", 2)
    told = run(root, "coates.py", "--twin", "--examples", 500, *small).splitlines()
    assert told[1].startswith("64 features of 500 training images") and "over 300" in told[-1]
    assert float(told[-1].split()[1]) > 0.4  # chance is 0.1


def test_shallow_features(root, tmp_path):
    words = ("--twin", "--words", 30, "--examples", 100, "--figure", tmp_path / "bars.png")
    told = run(root, "shallow_features.py", "cifar10", *words, "--beside", "cifar10:A net=0.9")
    first, *kinds = told.splitlines()
    assert "100 of 1,197 training images, 169 patches each, 30 words" in first
    assert [line.split("C =")[0].strip() for line in kinds] == ["bag of words", "spatial pyramid"]
    assert all(float(line.split("test/accuracy")[1].split()[0]) > 0.7 for line in kinds)
    assert (tmp_path / "bars.png").stat().st_size > 10_000


def test_ones_in_place_of_counts_make_the_intersection_of_histograms(root):
    study = module(root, "shallow_features.py")
    words, weights = np.random.default_rng(0).integers(0, 3, (2, 36)), (0.25, 0.75)
    rows = study.pyramid(words, 3, weights)
    quarters = [(slice(y, y + 3), slice(x, x + 3)) for y in (0, 3) for x in (0, 3)]
    of_level = [[(slice(None), slice(None))], quarters]

    def intersection(cells):
        counts = [
            [np.bincount(image.reshape(6, 6)[cell].ravel(), minlength=3) for cell in cells]
            for image in words
        ]
        return np.minimum(*counts).sum() / 36

    kernel = sum(w * intersection(cells) for w, cells in zip(weights, of_level, strict=True))
    assert (rows[0] @ rows[1].T)[0, 0] == pytest.approx(kernel, rel=1e-12)
    assert (rows[0] @ rows[0].T)[0, 0] == pytest.approx(sum(weights))


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ("cifar10:net", "cifar10:net: give DATA:NAME=SHARE"),
        ("cifar10:net=90", "cifar10:net=90: give DATA:NAME=SHARE"),
        ("imagenette:net=0.9", "imagenette is not measured; give cifar10"),
    ],
)
def test_what_stands_beside_a_study_is_a_share_of_its_data(root, beside, message):
    with pytest.raises(UserError, match=message):
        module(root, "shallow_features.py").beside([beside], ["cifar10"])


def test_k_means_and_whitening_are_scikit_learns(root):
    study = module(root, "coates.py")
    x = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32) * [1, 2, 3, 4, 5]
    start = x[:7].astype(np.float32)
    ours = study.k_means(x.astype(np.float32), start, 5)
    theirs = KMeans(7, init=start, n_init=1, max_iter=5, tol=0, algorithm="lloyd").fit(x)
    np.testing.assert_allclose(ours, theirs.cluster_centers_, rtol=1e-4, atol=1e-4)
    mean, whitening = study.zca(x)
    white = np.asarray((x - mean) @ whitening)
    variances = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    expected = np.sort(variances / (variances + 0.1))
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(white.T, bias=True)), expected, rtol=1e-3)


def test_svms_are_scikit_learns(root):
    study = module(root, "coates.py")
    random = np.random.default_rng(0)
    x, label = random.normal(size=(90, 4)).astype(np.float32), random.integers(0, 3, 90)
    x[:, 0] += label
    x[:, -1] = 1
    curves, start = study.curvature(x), np.zeros((4, 3))
    ours = study.train_svms(jnp.asarray(x), label, curves, 0.1, start, 100)
    theirs = LinearSVC(C=1 / (0.1 * len(x)), fit_intercept=False, tol=1e-8, max_iter=10**6)
    theirs.fit(x, label)
    np.testing.assert_allclose(ours.T, theirs.coef_, atol=2e-3)
    assert study.accuracy(ours, x, label) == pytest.approx(theirs.score(x, label), abs=0.012)


def test_codes_are_summed_over_quadrants(root):
    study = module(root, "coates.py")
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    flat = np.asarray(study.patches(image))
    assert flat.shape == (12, 108) and np.abs(flat.mean(1)).max() < 1e-5
    dictionary = study.Dictionary(np.zeros(108), np.eye(108), flat[[0, 5, 11]])
    distance = np.linalg.norm(flat[:, None] - flat[[0, 5, 11]], axis=-1)
    triangle = np.maximum(distance.mean(1, keepdims=True) - distance, 0).reshape(3, 4, 3)
    halves = [(slice(0, 2), slice(2, 3)), (slice(0, 2), slice(2, 4))]
    expected = [triangle[y, x].sum((0, 1)) for y in halves[0] for x in halves[1]]
    got = study.describe(dictionary, image, "triangle").reshape(4, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-2)
    nearest = study.describe(dictionary, image, "hard").reshape(4, 3)
    assert nearest.sum(1).tolist() == [4, 4, 2, 2]


@pytest.mark.slow
def test_understanding_alexnet(root, tmp_path):
    words = ("--config.training.steps=100", "--config.model.widths=(4, 4)", "--config.figures=()")
    small = (*words, "--config.model.kernels=(6, 3)", "--config.model.strides=(1, 2)")
    main(["train", "--config", "digits_cnn", "--workdir", str(tmp_path / "run"), *small])
    script, figure = "understanding_alexnet.py", tmp_path / "both.png"
    told = run(root, script, tmp_path / "run", "--figure", figure).splitlines()
    assert told[0] == "Conv_0: 4 filters of 6×6×1" and figure.stat().st_size > 10_000
    layers = {line.split()[0]: line.split()[2:] for line in told if line.startswith("Conv_")}
    chance = float(told[-1].split()[-1])
    assert all(float(share) > chance > 0.2 for share in layers["Conv_1"])
    faults = (
        attempt(root, script, tmp_path),
        attempt(root, script, tmp_path / "run", "--split", "x"),
    )
    assert all(done.returncode == 2 and "Traceback" not in done.stderr for done in faults)


def test_a_gabor_function_is_told_from_noise(root):
    place = root / "experiments" / "understanding_alexnet.py"
    spec = importlib.util.spec_from_file_location("understanding_alexnet", place)
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:7, :7] - 2.6
    wave = np.exp(-(x**2) / 8 - y**2 / 12) * np.cos(1.2 * (0.8 * x + 0.6 * y) + 1)
    assert study.gabor_r2(wave) > 0.99 and study.gabor_r2(rng.normal(size=(7, 7))) < 0.7
    blue = np.stack([0 * wave, 0.1 * wave, -wave], axis=-1)
    for filters, coloured in ((blue, True), (np.stack([wave] * 3, axis=-1), False)):
        found, is_coloured = study.component(filters)
        assert is_coloured == coloured
        norms = np.linalg.norm(found), np.linalg.norm(filters)
        assert norms[0] == pytest.approx(norms[1])


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        main(["train", "--config", "blobs_logistic", "--workdir", str(folder / str(seed)),
              f"--config.seed={seed}", "--config.training.steps=5"])  # fmt: skip
    return folder / "0", folder / "1"


def test_summarize(root, two_runs):
    told = run(root, "summarize.py", *two_runs)
    assert "2 runs, seeds 0, 1" in told and "test/accuracy" in told and "±" in told


@pytest.mark.parametrize(
    ("script", "words", "fault"),
    [
        ("summarize.py", ["none"], "none: has no result.json"),
        ("pedestrians.py", ["none", "--twin"], "none"),
        ("coates.py", ["--patches", "9"], "--patches 9: fewer than the 1,600 centroids"),
    ],
)
def test_what_cannot_be_is_one_line(root, tmp_path, monkeypatch, script, words, fault):
    monkeypatch.chdir(tmp_path)
    done = attempt(root, script, *words)
    assert done.returncode == 2 and done.stderr.startswith(fault)
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_image_pipeline(root, tfds_dir):
    told = run(root, "benchmarks/image_pipeline.py", "--rounds", "1")
    assert "simplejpeg alone" in told and "jaxdl" in told


@pytest.mark.slow
def test_startup(root):
    told = run(root, "benchmarks/startup.py", "blobs_logistic", "--runs", "1")
    assert "command to step 1" in told


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="compares with PyTorch")
def test_mnist_vs_torch(root):
    told = run(root, "benchmarks/mnist_vs_torch.py", "softmax", "--rounds", "1")
    assert "jaxdl" in told and "PyTorch, eager" in told


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="compares with torchvision")
def test_detection_vs_torch(root):
    told = run(root, "benchmarks/detection_vs_torch.py", "nms", "--rounds", "1")
    assert "jaxdl, best 100" in told and "torchvision" in told


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="compares with PyTorch")
@pytest.mark.parametrize("do", ["train", "write"])
def test_lstm_vs_torch(root, do):
    told = run(root, "benchmarks/lstm_vs_torch.py", "2x128", "--do", do, "--rounds", "1")
    assert f"{do} 2x128" in told and "jaxdl" in told and "PyTorch, eager" in told
