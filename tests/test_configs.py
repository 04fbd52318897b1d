"""Every shipped config, offline on its twin: check, train, save, restore, evaluate."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl.checkpointing.run_directory import Run
from jaxdl.configs import LECTURE, shipped
from jaxdl.parallel import mesh as devices
from jaxdl.training.build import build_experiment, read_config
from jaxdl.training.check import check, check_shapes
from jaxdl.training.loop import train_experiment
from jaxdl.training.measure import measure

# What takes long to compile is only traced, unless with `-m slow`. mnist_cnn stands for networks
# with batch norm; steering, images decoded on demand, boxes, sums, translations, tunes, music,
# captions, autoencoders and agents have tests of their own.
LARGE = ("addition_lstm", "cartpole", "mnist_autoencoder", "mnist_mlp", "mnist_vae",
         "nottingham_lstm", "pedestrians_cnn", "fcos", "retinanet", "faster_rcnn", "cifar10_fast",
         "cifar10_wide", "folk_lstm", "pixels_mnist_lstm", "alexnet", "googlenet", "vgg19",
         "plain20", "plain56", "resnet18", "resnet20", "resnet34", "resnet50", "resnet56",
         "resnet101", "resnet110", "resnet152", "captions_lstm", "driving_lstm",
         "driving_pilotnet", "shakespeare_gru", "shakespeare_large", "shapes_localization",
         "translation_lstm", "music_lstm", "rows_mnist_lstm", "pedestrians_logistic",
         "driving_deeptesla", "sentiment_lstm", "digits_cnn", "digits_mlp")  # fmt: skip
# Of those that differ in depth or data alone one is always traced, the others with `-m slow`.
ALIKE = (
    "bccd_faster_rcnn",
    "bccd_retinanet",
    "cifar10_wide",
    "coco_fcos",
    "googlenet",
    "nottingham_lstm",
    "shapes_faster_rcnn",
    "shapes_fcos",
    "plain56",
    "resnet34",
    "imagenet_resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "shapes_localization",  # tests/test_localize.py trains one
)
TRACED = [
    pytest.param(name, marks=pytest.mark.slow) if name.endswith(ALIKE) else name
    for name in sorted(shipped())
    if name.endswith(LARGE)
]
TRAINED = [
    pytest.param(name, marks=pytest.mark.slow) if name.endswith(LARGE) else name
    for name in sorted(shipped())
]


OVERRIDES = ["data.twin=true", "training.steps=2"]


@pytest.mark.parametrize("name", TRACED)
def test_large_config(name):
    """The network itself, also where a twin's is a smaller one."""
    check_shapes(build_experiment(read_config(name, [*OVERRIDES, "twin.model={}"])))


@pytest.mark.parametrize("name", TRAINED)
def test_config(name, tmp_path, monkeypatch):
    config = read_config(name, OVERRIDES)
    experiment = build_experiment(config)
    check(experiment, say=lambda line: None)

    compiled = []
    jit = devices.jit
    monkeypatch.setattr(devices, "jit", lambda f, **kw: compiled.append(f.__name__) or jit(f, **kw))
    run = Run(tmp_path)
    run.claim(config)
    result = train_experiment(experiment, run)
    assert result["step"] == 2
    assert set(result["examples"]) == set(experiment.eval_splits)
    # Training, all evaluations and all generation are compiled once each.
    generation = ["generation"] * bool(experiment.scores_text)
    assert compiled == ["initial", "run_steps", "evaluation", *generation]

    step, metrics, _ = measure(build_experiment(run.config()), run)
    assert (step, metrics) == (2, result["metrics"])
    assert (run.figures / "learning_curves.png").exists()


@pytest.mark.parametrize("installed", [False, True])
def test_a_config_of_ones_own_begins_with_a_shipped_one(tmp_path, installed):
    """From any folder, in a checkout and where the configs lie inside the package."""
    import jaxdl

    package, site = Path(jaxdl.__file__).parent, tmp_path / "site"
    if installed:
        (site / "jaxdl").mkdir(parents=True)
        for part in package.iterdir():
            (site / "jaxdl" / part.name).symlink_to(part)
        (site / "jaxdl" / "configs").symlink_to(package.parent / "configs")
    (tmp_path / "mine.py").write_text(
        "from jaxdl.configs import bccd_fcos\n"
        "def get_config():\n"
        "    config = bccd_fcos.get_config()\n"
        "    config.data.size = (64, 64)\n"
        "    return config\n"
    )
    program = (
        "from jaxdl import config, configs, overrides; read = config.read('mine.py');"
        "fcos = overrides.override(config.read('bccd_fcos'), ['data.size=(64, 64)']);"
        "print(read['data']['size'], read == fcos,"
        "len(configs.shipped()), configs.__path__[0])"
    )
    path = os.pathsep.join([str(site if installed else package.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    folder = site / "jaxdl" / "configs" if installed else package.parent / "configs"
    assert done.stdout == f"(64, 64) True {len(shipped())} {folder}\n", done.stderr


@pytest.mark.parametrize("name", sorted(shipped()))
def test_config_says_what_it_is(name):
    document = (shipped()[name]).read_text()
    assert document.startswith('"""') and f"jaxdl train --config configs/{name}.py" in document


def test_every_config_has_its_place_in_the_lecture():
    placed = [name for names in LECTURE.values() for name in names]
    assert sorted(placed) == sorted(shipped())
