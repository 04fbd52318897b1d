"""`jaxdl describe`: what can be set, and what to."""

import subprocess
import sys
import time

import pytest

from jaxdl import config as cfg
from jaxdl.signatures import documentation
from jaxdl.training.describe import REGISTRIES, describe, groups


def described(name):
    return "\n".join(describe(name))


def test_all_is_listed(call):
    status, out, _ = call("describe")
    assert status == 0
    for parts in REGISTRIES.values():
        for name, part in parts.items():
            assert f"\n  {name} " in out and documentation(part).summary[:20] in out, name
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("title", REGISTRIES)
def test_whatever_has_a_name_can_be_described(title):
    for name, part in REGISTRIES[title].items():
        text = described(name)
        assert f"{name} ({title})" in text
        for argument in () if title == "figures" else cfg.parameters(part):
            assert f"\n  {argument}: " in text, name
        assert "typing." not in text and "<class" not in text and "<factory" not in text, name


@pytest.mark.parametrize("title", ["models", "tasks", "sources"])
def test_ours_say_what_each_argument_means(title):
    for name, part in REGISTRIES[title].items():
        missing = set(cfg.parameters(part)) - set(documentation(part).arguments)
        assert not missing - {"vocabulary"}, name


def test_a_model():
    text = described("resnet")
    assert "He et al. 2015" in text
    assert "  depth: 18 or 34 or 50 or 101 or 152 = 50\n      layers with weights" in text


def test_paragraphs_are_apart_and_no_line_is_longer_than_the_terminal():
    for name in (*REGISTRIES["tasks"], "images", "config.optimizer"):
        text = described(name)
        assert "\n\n\n" not in text and not text.startswith("\n"), name
        assert max(map(len, text.splitlines())) <= 100, name


def test_a_name_in_several_registries_shows_each(call):
    status, out, _ = call("describe", "polynomial", "captions")
    assert status == 0
    assert "polynomial (models)" in out and "polynomial (sources)" in out
    assert "captions (sources)" in out and "captions (figures)" in out


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("config", "  training: Training, required\n"),
        ("config.data", "  twin: bool = False\n"),
        ("config.data.crop", "  size: int, required\n"),
        ("config.data.tokenize", "'characters' or 'words' or 'subwords' = 'characters'"),
        ("config.training", "  batch_size: int or None = None\n      examples per update"),
        ("config.training.log_every", "dict = {'steps': 50}"),
        ("config.training.best", "  metric: str, required"),
        ("config.optimizer", "clip_norm: largest global norm"),
        ("config.optimizer.learning_rate", "`warmup`, a duration"),
        ("config.model", "\n  resnet "),
        ("models", "\n  resnet "),
    ],
)
def test_keys_of_a_config(path, told):
    assert told in described(path)


def test_every_group_says_what_its_keys_mean():
    for path, group in groups().items():
        if isinstance(group, type):
            assert set(cfg.parameters(group)) <= set(documentation(group).arguments), path


def test_ones_own():
    text = described("own_parts:Net")
    assert "A model." in text and "  width: int = 4" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnt", "did you mean 'resnet'"),
        ("config.trainin", "did you mean 'config.training'"),
        ("config.training.batchsize", "config.training.batch_size"),
        ("config.training.best.metric.x", "unknown"),
        ("", "unknown ''"),
        ("config.optimizer.clock", "unknown"),
        ("zzzzz\n", "lists all names"),
        ("own_parts:Nett", "did you mean 'Net'"),
        ("nowhere:Net", "cannot import 'nowhere'"),
        (":", "is not the name of code"),
        ("own_parts:np.pi", "cannot be called"),
    ],
)
def test_unknown_names_are_one_line(call, name, told):
    status, _, err = call("describe", name)
    assert status == 2 and told in err and len(err.splitlines()) == 1


def test_versions_import_nothing():
    began = time.monotonic()
    words = [sys.executable, "-X", "importtime", "-m", "jaxdl", "--version"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and time.monotonic() - began < 10
    assert done.stdout.startswith("jaxdl 0.1.0 (Python 3.") and "optax " in done.stdout
    assert "| numpy" not in done.stderr and "| jax\n" not in done.stderr
