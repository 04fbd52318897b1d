"""`jaxdl sample`: what tiny runs write, from their directories alone."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxdl.cli.main import main
from jaxdl.data.text.abc import share_of_full_bars

STEPS = ("--config.training.steps=2", "--config.training.evaluate=()", "--config.figures=()")
SMALL = ("--config.model.hidden=8", "--config.training.batch_size=8", *STEPS)
TRAINED = {
    "shakespeare": ("shakespeare_lstm", "--config.model.layers=1"),
    "folk": ("folk_lstm", "--config.model.layers=1"),
    "translation": (
        "translation_lstm", "--config.model.embedding=8", "--config.training.buckets=1",
    ),
    "captions": ("captions_lstm", "--config.model.widths=(4,)"),
}  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Trains a config on its twin when it is first asked for; returns its directory."""
    folder = tmp_path_factory.mktemp("runs")

    def trained(name):
        config, *overrides = TRAINED[name]
        if not (folder / name).exists():
            words = ["train", "--config", config, "--workdir", str(folder / name)]
            main([*words, "--config.data.twin=true", *SMALL, *overrides])
        return folder / name

    return trained


@pytest.fixture
def sample(call):
    """Runs `jaxdl sample` in this process: (exit status, stdout, stderr)."""
    return lambda workdir, *words: call("sample", "--workdir", workdir, *words)


def test_a_text_depends_on_the_seed_alone(runs, sample, tmp_path):
    workdir = runs("shakespeare")
    words = (workdir, "--prompt", "The ", "--length", "40", "--temperature", "0.9")
    status, text, err = sample(*words, "--seed", "7")
    assert (status, err) == (0, "") and text.startswith("The ") and len(text) == 4 + 40 + 1
    assert sample(*words, "--seed", "7")[1] == text
    assert sample(*words, "--seed", "8")[1] != text
    # The n-th text is that of the n-th seed, and the file holds what was shown.
    output = tmp_path / "new" / "texts.txt"
    status, both, _ = sample(*words, "--seed", "6", "--count", "2", "--output", output)
    assert status == 0 and both.endswith(text) and output.read_text() == both
    shorter = sample(workdir, "--prompt", "The ", "--length", "11", "--seed", "7",
                     "--temperature", "0.9")[1]  # fmt: skip
    assert shorter == text[: 4 + 11] + "\n"


def test_greedy_top_k_and_top_p(runs, sample):
    words = (runs("shakespeare"), "--prompt", "The ", "--length", "20")
    greedy = sample(*words, "--temperature", "0")[1]
    assert sample(*words, "--top-k", "1", "--seed", "5")[1] == greedy
    assert sample(*words, "--top-p", "1e-6", "--seed", "6")[1] == greedy


@pytest.mark.slow
def test_a_translation_is_as_likely_as_can_be(runs, sample):
    words = (runs("translation"), "--input", "eht eulav fo x.", "--length", "12")
    status, greedy, err = sample(*words)
    assert (status, err) == (0, "") and greedy.strip()
    assert sample(*words, "--beam", "1")[1] == greedy
    status, beam, err = sample(*words, "--beam", "3")
    assert (status, err) == (0, "") and beam.strip()
    assert sample(*words, "--temperature", "5")[1] != greedy
    assert "<unk>" not in greedy + beam
    status, out, _ = sample(
        runs("translation"), "--input", "x.", "--prompt", "the", "--length", "3"
    )
    assert status == 0 and out.startswith("the ")  # a space stands between two words


@pytest.mark.slow
def test_a_caption_of_any_image(runs, sample, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 70, 3), np.uint8)).save(tmp_path / "photo.png")
    status, out, err = sample(runs("captions"), "--input", tmp_path / "photo.png", "--length", "9")
    assert (status, err) == (0, "") and out.strip()


def test_tunes_are_abc_that_a_player_reads(runs, sample, tmp_path):
    file = tmp_path / "tunes.abc"
    words = ("--count", "2", "--length", "60", "--prompt", "M:4/4\nK:D\nA2B2|", "--output", file)
    status, out, err = sample(runs("folk"), *words)
    assert (status, err) == (0, "")
    tunes = file.read_text()
    assert tunes.startswith("X:1\n") and "\nX:2\n" in tunes and tunes in out
    right, total = share_of_full_bars(tunes)
    assert total and f"% {right} of {total} bars add up" in out.splitlines()[-1]


def test_a_run_of_eight_devices_is_read_on_one(runs, sample, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    words = [sys.executable, "-m", "jaxdl", "train", "--config", "shakespeare_lstm"]
    words += ["--workdir", str(tmp_path / "run"), "--config.data.source=text", *SMALL]
    book = tmp_path / "book.txt"
    book.write_text("a short book, and a very short one at that. " * 200)
    subprocess.run(
        [*words, f"--config.data.path={book}", "--config.training.eval_batch_size=8"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    book.unlink()  # what a run has learnt is in its directory
    status, out, err = sample(tmp_path / "run", "--prompt", "a book", "--length", "20")
    assert (status, err) == (0, "") and len(out) == 6 + 20 + 1


WRONG = {
    "temperature": ("shakespeare", ["--prompt", "T", "--temperature", "-1"], "temperature:"),
    "top-p": ("shakespeare", ["--prompt", "T", "--top-p", "0"], "top-p: expected"),
    "top-k": ("shakespeare", ["--prompt", "T", "--top-k", "0"], "top-k: expected"),
    "length": ("shakespeare", ["--prompt", "T", "--length", "0"], "--length: expected at least 1"),
    "count": ("shakespeare", ["--prompt", "T", "--count", "0"], "--count: expected at least 1"),
    "seed": ("shakespeare", ["--prompt", "T", "--seed", "-1"], "--seed: expected at least 0"),
    "far seed": ("shakespeare", ["--prompt", "T", "--seed", str(2**40)], "--seed: expected"),
    "no number": ("shakespeare", ["--prompt", "T", "--length", "ten"], "invalid int value: 'ten'"),
    "no prompt": ("shakespeare", [], "prompt: give some text to continue"),
    "unknown character": ("shakespeare", ["--prompt", "a日"], "prompt: character '日'"),
    "no beam": ("shakespeare", ["--prompt", "T", "--beam", "4"], "beam: sequences of this model"),
    "beam of draws": ("folk", ["--beam", "4", "--top-k", "3"], "beam: excludes --temperature"),
    "input": ("shakespeare", ["--input", "T"], "input: this model answers to nothing"),
    "no input": ("translation", [], "input: this model answers to source"),
    "no image": ("captions", ["--input", "gone.png"], "input gone.png"),
    "no picture": ("captions", ["--input", __file__], "input "),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line(runs, sample, mistake):
    name, words, told = WRONG[mistake]
    status, out, err = sample(runs(name), *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1 and told in err, err


def test_an_output_that_cannot_be_is_told_before_writing(runs, sample, tmp_path):
    kept, link = tmp_path / "kept.txt", tmp_path / "link.txt"
    kept.write_text("a year's work")
    link.symlink_to(tmp_path / "nothing")
    for place in (tmp_path, "/dev/null/texts.txt", kept, link):
        status, out, err = sample(runs("shakespeare"), "--prompt", "T", "--output", place)
        assert (status, out) == (2, "") and len(err.splitlines()) == 1 and "--output" in err
    assert kept.read_text() == "a year's work" and not (tmp_path / "nothing").exists()
    status, out, _ = sample(
        runs("shakespeare"), "--prompt", "T", "--length", "2", "--output", kept, "--force"
    )
    assert status == 0 and kept.read_text() == out


def test_workdirs_without_a_run(sample, tmp_path):
    status, _, err = sample(tmp_path / "gone")
    assert status == 2 and "holds no run" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: shutil.rmtree(run / "checkpoints"), "its checkpoint is missing"),
        (lambda run: (run / "data.json").unlink(), "data.json"),
        (lambda run: (run / "data.json").write_text("{"), "data.json"),
        (lambda run: (run / "data.json").write_text("{}"), "data.json: damaged"),
        (lambda run: (run / "data.json").write_text("[]"), "data.json: it is [], not an object"),
        (lambda run: (run / "data.json").write_text('{"vocabularies": {"tokens": 3}}'), "damaged"),
    ],
)
def test_a_damaged_run_is_one_line(runs, sample, tmp_path, damage, told):
    run = shutil.copytree(runs("shakespeare"), tmp_path / "run")
    damage(run)
    status, _, err = sample(run, "--prompt", "T", "--length", "3")
    assert status == 2 and told in err and len(err.splitlines()) == 1, err


def test_a_run_that_does_not_write(sample, tmp_path):
    words = ["--workdir", str(tmp_path / "run"), "--config.training.steps=1"]
    main(["train", "--config", "blobs_logistic", *words])
    status, _, err = sample(tmp_path / "run", "--prompt", "T")
    assert status == 2 and "does not generate text" in err and len(err.splitlines()) == 1
