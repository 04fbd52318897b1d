"""Every study and benchmark runs as its docstring says."""

import importlib.util
import subprocess
import sys

import pytest

from jaxdl.cli.main import main


def attempt(root, script, *words):
    command = [sys.executable, str(root / "experiments" / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def run(root, script, *words):
    done = attempt(root, script, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bishop_tables(root, tmp_path):
    told = run(root, "bishop_tables.py", "--figure", tmp_path / "bishop.png")
    assert "M = 3         0.1870  0.2243   0.31 7.99 -25.43 17.37" in told
    assert (tmp_path / "bishop.png").stat().st_size > 20_000


def test_sentiment_baseline(root):
    told = run(root, "sentiment_baseline.py", "--twin")
    assert "features, C = " in told and "test/accuracy" in told


def test_clusters(root, tmp_path):
    small = ("--config.model.hidden=(16,)", "--config.training.steps=2", "--config.figures=()")
    words = ["train", "--config", "mnist_autoencoder", "--workdir", str(tmp_path / "run"), *small]
    main([*words, "--config.data.twin=true"])
    told = run(root, "clusters.py", "--twin", "--workdir", tmp_path / "run").splitlines()
    assert any("k-means++" in line and "0.598" in line and "0.469" in line for line in told)
    errors = [float(line.split()[-3]) for line in told if "squared error" in line]
    of_train, of_test, untrained = errors
    assert of_test < of_train < untrained


def test_pedestrians(root, tmp_path):
    words = ("--config.data.twin=true", "--config.training.epochs=2", "--config.figures=()")
    folder = tmp_path / "pixels"
    main(["train", "--config", "pedestrians_logistic", "--workdir", str(folder), *words])
    told = run(root, "pedestrians.py", folder, "--twin", "--figure", tmp_path / "curves.png")
    first, svm, pixels = told.splitlines()
    assert "60 test images, 30 of a person" in first and svm.startswith("HOG and linear SVM, C = ")
    assert float(svm.split()[7]) > 0.9 and pixels.startswith("pixels")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


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
    ],
)
def test_what_is_no_finished_run_is_named(root, tmp_path, monkeypatch, script, words, fault):
    monkeypatch.chdir(tmp_path)
    done = attempt(root, script, *words)
    assert done.returncode == 2 and done.stderr.startswith(fault)
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_image_pipeline(root, tfds_dir):
    told = run(root, "benchmarks/image_pipeline.py", "--rounds", "1")
    assert "simplejpeg alone" in told and "jaxdl" in told


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
