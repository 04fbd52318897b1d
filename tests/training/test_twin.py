"""A run on a twin of its data is small, but for what the command line sets."""

import logging

import pytest

from jaxdl import config as cfg
from jaxdl.configs import shipped
from jaxdl.training.build import build_experiment, read_config
from jaxdl.training.continuation import lasting, with_absolute_paths


@pytest.fixture
def told(caplog):
    """Read a config on its twin: what it is, and the lines that were said."""

    def read(name, *overrides, **how):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            config = read_config(name, ["data.twin=true", *overrides], **how)
        return config, caplog.text

    return read


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_config_is_small_on_its_twin(told, name):
    training = (config := told(name)[0])["training"]
    assert training["steps"] <= 10 and training.get("epochs") is None
    assert (training.get("batch_size") or 0) <= 8 and training["eval_batch_size"] <= 32
    assert training["buckets"] <= 2 and training["sizes"] == ()
    assert (cfg.at(config, "data.crop.size") or 0) <= 64


@pytest.mark.parametrize(
    ("name", "override", "key", "value"),
    [
        ("imagenet_resnet152", "training.epochs=3", "training.epochs", 3),
        ("imagenet_resnet152", "training.epochs=3", "training.steps", None),
        ("imagenet_resnet152", "training.batch_size=100", "training.batch_size", 100),
        ("imagenet_resnet152", "data.crop=dict(size=99)", "data.crop.size", 99),
        ("imagenet_resnet152", "data.crop.size=99", "data.crop.resize", None),
        ("imagenet_resnet152", "model.depth=50", "model.depth", 50),
        ("imagenet_resnet152", "model.name=mnist_cnn", "model.depth", None),
        ("imagenet_resnet152", "init_from=weights.pth", "model.depth", 152),
        ("imagenet_resnet152", "twin.steps=4", "training.steps", 4),
        ("imagenet_resnet152", "twin.model={}", "model.depth", 152),
        ("digits_mlp", "training.steps=300", "training.steps", 300),
        ("coco_fcos", "twin.side=300", "data.size", (178, 300)),
        ("coco_fcos", "data.size=(96, 64)", "data.size", (96, 64)),
        ("digits_cnn", "training.batch_size=4", "training.batch_size", 4),
        ("bishop_polynomial", "seed=0", "training.steps", 1),  # less stays less
    ],
)
def test_what_the_command_line_sets_stays(told, name, override, key, value):
    config, lines = told(name, override)
    assert cfg.at(config, key) == value
    smaller = lines.partition("twin: ")[2]
    assert f"{override.partition('=')[0]} " not in smaller  # it is not told of


def test_one_line_tells_what_is_smaller(told):
    _, lines = told("imagenet_resnet152", "training.batch_size=100")
    assert lines.count("\n") == 1 and "training.steps 90 epochs -> 10" in lines
    assert "data.crop.size 224 -> 64" in lines and "model.depth 152 -> 18" in lines


def test_a_check_is_of_the_real_run(told):
    config, lines = told("imagenet_resnet152", small_twin=False)
    assert config["training"]["batch_size"] == 256 and config["data"]["crop"]["size"] == 224
    assert config["model"]["depth"] == 152 and not lines


def test_a_config_that_has_the_twin_itself_is_as_it_was_written(told, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from jaxdl.configs import mnist_mlp\n"
        "def get_config():\n"
        "    config = mnist_mlp.get_config()\n"
        "    config.data.twin = True\n"
        "    return config\n"
    )
    config, lines = told(str(tmp_path / "mine.py"))
    assert config["training"]["steps"] == 10_000 and not lines


def test_a_run_goes_on_whatever_its_twin_would_be():
    config = read_config("digits_cnn")
    assert lasting(config) == lasting({**config, "twin": {"steps": 3}})


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("twin.steps=0", "config.twin.steps: expected at least 1, got 0"),
        ("twin.side=-3", "config.twin.side: expected at least 1, got -3"),
        ("twin.steps=few", "config.twin.steps: expected int, got 'few'"),
        ("twin.epochs=1", "config.twin.epochs: unknown"),
        ("twin.model=resnet", "config.twin.model: expected"),
        ("twin=5", "config.twin: expected a dict"),
        ("twin.model.depth=7", "config.model.depth: expected 18 or 34 or"),
        ("twin.model.dept=18", "config.model.dept: unknown; did you mean 'depth'?"),
        ("data.twin=1", "config.data.twin: expected true or false, got 1"),
        ("data.twin=maybe", "config.data.twin: expected true or false, got 'maybe'"),
    ],
)
def test_a_wrong_limit_is_one_line(refuses, override, line):
    with refuses(line):
        build_experiment(read_config("imagenet_resnet18", ["data.twin=true", override]))


def test_all_places_of_the_data_are_kept_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "texts.csv", "a.npz"):
        (tmp_path / name).mkdir()
    data = {"source": "captions", "path": "texts.csv", "images": "photos", "encoding": "a.npz"}
    kept = with_absolute_paths({"data": data})["data"]
    assert kept == data | {n: str(tmp_path / data[n]) for n in ("path", "images")}
    kept = with_absolute_paths({"data": {"source": "arrays", "train": "a.npz"}})["data"]
    assert kept["train"] == str(tmp_path / "a.npz")
