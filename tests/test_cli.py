"""The command line, as a person meets it: what it prints, and what it says to wrong input."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

DIGITS = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict()
    config.data = dict(source='digits', transforms=(dict(name='scale', by=1/16),))
    config.model = dict(name='mlp', outputs=10)
    config.task = dict(name='classification', classes=10)
    config.optimizer = dict(name='sgd', learning_rate=0.5)
    config.training = dict(batch_size=100, steps=20, evaluate_every=dict(steps=20))
    config.target = dict(metric='test/accuracy', value=0.5, source='a guess')
    return config
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "digits.py"
    path.write_text(DIGITS)
    return str(path)


@pytest.fixture
def run(call):
    """Runs a command in this process: (exit status, stdout, stderr)."""
    return call


def arrays(tmp_path, name="data", labels=None, images=None, n=20):
    """A user's own data: two npz files. Returns the overrides that name them."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        image = rng.normal(size=(n, 4)).astype(np.float32) if images is None else images
        label = rng.integers(0, 2, n) if labels is None else labels
        np.savez(tmp_path / f"{name}_{split}.npz", image=image, label=label)
    return [
        "--config.data.source=arrays",
        f"--config.data.train={tmp_path / f'{name}_train.npz'}",
        f"--config.data.test={tmp_path / f'{name}_test.npz'}",
        "--config.data.transforms=()",
        "--config.task.classes=2",
        "--config.model.outputs=2",
        "--config.training.batch_size=5",
    ]


def test_train_resume_evaluate(run, config, tmp_path):
    workdir = tmp_path / "run"
    status, out, err = run("train", "--config", config, "--workdir", workdir)
    assert (status, err) == (0, "")
    assert "evaluated 300 validation, 300 test examples at step 20" in out
    assert "target test/accuracy 0.5 (a guess): met" in out
    result = json.loads((workdir / "result.json").read_text())
    assert result["met"] is True and len(result["params_sha256"]) == 64

    curves = workdir / "figures" / "learning_curves.png"
    curves.unlink()  # as if the disk had been full
    before = (workdir / "result.json").read_bytes()
    status, out, err = run("train", "--config", config, "--workdir", workdir)
    assert (status, err) == (0, "") and "has already finished" in out
    assert curves.exists() and (workdir / "result.json").read_bytes() == before

    status, out, _ = run("evaluate", "--workdir", workdir)
    assert status == 0 and f"{result['metrics']['test/accuracy']:.6g}" in out


def test_an_override_can_name_the_closed_form(run, tmp_path):
    named = ["--config.optimizer.name=least_squares", "--config.training.steps=1"]
    words = ["--config", "bishop_descent", "--workdir", tmp_path / "run", *named]
    status, out, err = run("train", *words, "--config.figures=()")
    assert status == 0, err
    assert "test/rmse                0.516692" in out


def test_check_tells_all_and_trains_nothing(run, config, tmp_path):
    workdir = tmp_path / "run"
    status, out, err = run("check", "--config", config, "--workdir", workdir)
    assert (status, err) == (0, "")
    for told in (
        "1,197 examples",
        "parameters  650",
        "Dense_0/kernel",
        "MFLOP",
        "MiB",
        "lowers for  cpu, cuda, tpu",
        "ready to train",
    ):
        assert told in out
    assert not workdir.exists()


def test_a_target_that_is_none_is_one_line(run, config):
    status, out, err = run("check", "--config", config, "--target", "cuda:a100,tpu:v5e")
    assert (status, out) == (2, "")
    assert err == ("jaxdl: --target tpu:v5e: say the 2 sides of the slice, such as tpu:v5e:2x2\n")


def test_list_names_every_config_and_its_target(run, root):
    status, out, _ = run("list")
    assert status == 0
    for path in (root / "configs").glob("*.py"):
        assert path.stem in out
    assert "test/accuracy at least 0.995" in out


def test_a_shipped_config_is_found_by_name(run, tmp_path):
    assert run("check", "--config", "digits_softmax")[0] == 0


WRONG = {
    "typo at the top": (["--config.sead=1"], "config.sead: unknown; did you mean 'seed'?"),
    "typo in the model": (["--config.model.outputz=10"], "did you mean 'outputs'?"),
    "typo in a name": (
        ["--config.model.name=mpl"],
        "config.model.name: unknown 'mpl'; did you mean 'mlp'?",
    ),
    "typo in a group": (
        ["--config.optimiser.learning_rate=1"],
        "config.optimiser: unknown; did you mean 'optimizer'?",
    ),
    "typo in the optimiser": (["--config.optimizer.momentom=0.9"], "did you mean 'momentum'?"),
    "typo in the task": (["--config.task.label_smoothin=0.1"], "did you mean 'label_smoothing'?"),
    "typo in the training": (["--config.training.batchsize=10"], "did you mean 'batch_size'?"),
    "typo in a duration": (
        ["--config.training.evaluate_every.epoch=1"],
        "exactly one of steps and epochs",
    ),
    "no duration": (
        ["--config.training.checkpoint_every=True"],
        "config.training.checkpoint_every: expected a number of steps, or dict(steps=…) or",
    ),
    "wrong type": (
        ["--config.training.batch_size=many"],
        "config.training.batch_size: expected int",
    ),
    "a bool for a number": (["--config.model.outputs=true"], "config.model.outputs: expected int"),
    "half a step": (["--config.training.steps=2.5"], "config.training.steps: expected"),
    "no learning rate": (
        ["--config.optimizer.learning_rate=nan"],
        "learning_rate: nan is not finite",
    ),
    "negative rate": (["--config.optimizer.learning_rate=-1"], "expected a number above 0"),
    "a schedule's typo": (["--config.optimizer.learning_rate=cosine"], "learning_rate.name=cosine"),
    "smoothing out of range": (["--config.task.label_smoothing=1.5"], "must be in [0, 1)"),
    "too few outputs": (["--config.model.outputs=9"], "config.task needs shape (100, 10)"),
    "labels out of range": (["--config.task.classes=7", "--config.model.outputs=7"], "10 classes"),
    "batch above the split": (
        ["--config.training.batch_size=5000"],
        "does not fit a training split of 1197",
    ),
    "too many devices": (["--config.devices=64"], "config.devices: 64 asked for, but JAX sees"),
    "steps and epochs": (
        ["--config.training={'steps': 5, 'epochs': 1}"],
        "exactly one of steps and epochs",
    ),
    "a target never measured": (
        ["--config.target.metric=test/acuracy"],
        "did you mean 'test/accuracy'?",
    ),
    "accumulate does not divide": (["--config.training.accumulate=7"], "7 parts do not divide"),
    "no such data set": (["--config.data.source=tfds", "--config.data.dataset=mnits"], "mnist"),
    "no such column": (["--config.task.input=pixels"], "no column 'pixels'; it has"),
    "no module": (["--config.model.name=nowhere:Net"], "cannot import 'nowhere'"),
    "an override without a value": (["--config.seed"], "has no value"),
    "negative seed": (["--config.seed=-1"], "config.seed: expected at least 0"),
    "a number for a group": (
        ["--config.optimizer.learning_rate.peak=1"],
        "learning_rate is 0.5, not a group",
    ),
    "no such figure": (["--config.figures=('confuzion',)"], "did you mean 'confusion'?"),
    "precision unknown": (
        ["--config.precision.compute=float8"],
        "config.precision.compute: expected",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line(run, config, tmp_path, mistake):
    overrides, told = WRONG[mistake]
    workdir = tmp_path / "run"
    status, _, err = run("train", "--config", config, "--workdir", workdir, *overrides)
    assert status == 2
    line = [line for line in err.splitlines() if "dropped" not in line]
    assert len(line) == 1 and line[0].startswith("jaxdl: "), err
    assert told in line[0]
    assert not (workdir / "config.json").exists()  # the workdir is still free


def nan_images():
    images = np.zeros((20, 4), np.float32)
    images[13, 2] = np.nan
    return images


WRONG_DATA = {
    "label -1": (dict(labels=np.array([0] * 19 + [-1])), "example 19 has label -1, outside 0…1"),
    "label K": (dict(labels=np.array([2] + [0] * 19)), "example 0 has label 2, outside 0…1"),
    "labels as floats": (dict(labels=np.zeros(20)), "must hold one integer per example"),
    "not a number": (dict(images=nan_images()), "13"),
    "nothing": (dict(n=0), "0 rows leave none for the train split"),
    "pickled": (dict(images=np.array([{}] * 20, object)), "pickle"),
}


@pytest.mark.parametrize("mistake", WRONG_DATA)
def test_wrong_data_is_named(run, config, tmp_path, mistake):
    made, told = WRONG_DATA[mistake]
    overrides = arrays(tmp_path, **made)
    status, _, err = run("train", "--config", config, "--workdir", tmp_path / "run", *overrides)
    errors = [line for line in err.splitlines() if "dropped" not in line]
    assert status == 2 and len(errors) == 1, err
    assert told in errors[0]


@pytest.mark.parametrize("overrides", [["--config.data.twin=true"], None])
def test_other_data_is_not_held_against_the_target(run, config, tmp_path, overrides):
    overrides = arrays(tmp_path) if overrides is None else overrides
    status, out, err = run("train", "--config", config, "--workdir", tmp_path / "run", *overrides)
    assert status == 0, err
    assert "a guess" not in out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["met"] is None


def test_a_split_of_one_example_is_evaluated(run, config, tmp_path):
    overrides = arrays(tmp_path)
    np.savez(tmp_path / "data_test.npz", image=np.zeros((1, 4), np.float32), label=np.zeros(1, int))
    status, out, err = run("train", "--config", config, "--workdir", tmp_path / "run", *overrides)
    assert status == 0, err
    assert "evaluated 1 test examples" in out


def test_missing_file(run, config, tmp_path):
    overrides = [*arrays(tmp_path), f"--config.data.test={tmp_path / 'gone.npz'}"]
    status, _, err = run("train", "--config", config, "--workdir", tmp_path / "run", *overrides)
    assert status == 2 and "gone.npz" in err


def test_config_files_that_are_none(run, config, tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "raises.py").write_text("def get_config():\n    return 1 / 0\n")
    for name, told in (
        ("broken", "broken.py:1: SyntaxError"),
        ("empty", "defines no get_config"),
        ("raises", "raises.py:2: ZeroDivisionError"),
        ("gone", "no such file"),
    ):
        status, _, err = run("check", "--config", tmp_path / f"{name}.py")
        assert status == 2 and told in err and len(err.splitlines()) == 1


def test_the_workdir_of_another_config_is_refused(run, config, tmp_path):
    workdir = tmp_path / "run"
    assert run("train", "--config", config, "--workdir", workdir)[0] == 0
    before = (workdir / "result.json").read_bytes()
    status, _, err = run("train", "--config", config, "--workdir", workdir, "--config.seed=1")
    assert status == 2
    assert "holds a run of another config (config.seed: 0 -> 1)" in err
    assert (workdir / "result.json").read_bytes() == before


def test_a_tilde_that_the_shell_leaves_is_the_home_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "a.txt").write_text("once upon a time\n" * 30)
    status, _, err = run("init", tmp_path / "a.txt", "--output=~/mine.py")
    assert status == 0, err
    assert (tmp_path / "home" / "mine.py").exists()


def test_a_directory_of_other_things_is_refused(run, config, tmp_path):
    (tmp_path / "thesis.tex").touch()
    status, _, err = run("train", "--config", config, "--workdir", tmp_path)
    assert status == 2 and "so it is not a run" in err
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_workdir_without_a_run(run, tmp_path, command):
    status, _, err = run(command, "--workdir", tmp_path / "nothing")
    assert status == 2 and "nothing" in err and len(err.splitlines()) == 1


def test_a_workdir_that_cannot_be_written(run, config, tmp_path):
    (tmp_path / "file").touch()
    for command in ("train", "check"):
        status, _, err = run(command, "--config", config, "--workdir", tmp_path / "file" / "run")
        assert status == 2 and "cannot be written" in err


def test_words_that_are_no_command(run):
    for words in ([], ["trian"], ["train"], ["train", "--workdir"], ["list", "--verbose"]):
        status, _, err = run(*words)
        assert status == 2 and len(err.splitlines()) == 1


def test_overrides_need_a_config(run, tmp_path):
    status, _, err = run("sample", "--workdir", tmp_path, "--config.seed=1")
    assert status == 2 and "needs --config FILE" in err
    status, _, err = run("train", "--workdir", tmp_path, "--config.seed=1")
    assert status == 2 and "holds no run" in err and "train there first" in err
    (tmp_path / "seed=0").mkdir()
    (tmp_path / "seed=0" / "config.json").touch()
    status, _, err = run("evaluate", "--workdir", tmp_path)
    assert status == 2 and f"name one that is in it, such as {tmp_path / 'seed=0'}" in err
    for words in (("--config.seed", "--config.data.path=x"), ("--config.seed",)):
        status, _, err = run("train", "--workdir", tmp_path, *words)
        assert status == 2 and "--config.seed: has no value; write --config.seed=VALUE" in err


def test_python_m_jaxdl_without_tensorflow(config, tmp_path):
    """The whole way in a process of its own, where importing TensorFlow is an error."""
    blocker = tmp_path / "tensorflow"
    blocker.mkdir()
    (blocker / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "jaxdl", "train", "--config", config, "--workdir", "run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "target test/accuracy 0.5 (a guess): met" in done.stdout


def test_a_run_goes_on_when_nobody_reads(config, tmp_path):
    command = f"{sys.executable} -m jaxdl train --config {config} --workdir run | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "run" / "result.json").exists(), done.stderr
    assert "Traceback" not in done.stderr


def test_import_is_quick_because_it_imports_little():
    code = (
        "import sys, jaxdl, jaxdl.cli.main\n"
        "heavy = {'jax', 'flax', 'optax', 'orbax', 'tensorflow', 'tensorflow_datasets',"
        " 'matplotlib', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_output_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "jaxdl", "list"]
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "jaxdl: the disk is full (No space left on device); make room\n"
