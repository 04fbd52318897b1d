"""Real data, whole runs, published numbers: `pytest -m slow -n 0` (some two hours on 2 cores)."""

import pytest

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.overrides import override
from jaxdl.training.build import NODES, build_experiment
from jaxdl.training.loop import train_experiment

DIGITS = {"test": 10_000}
# What is evaluated, and what is changed: char-rnn's number is that of its 1,000th step.
PUBLISHED = {
    "mnist_softmax": (DIGITS, []),
    "mnist_mlp": (DIGITS, []),
    "mnist_cnn": (DIGITS, []),
    "rows_mnist_lstm": (DIGITS, []),
    "shakespeare_lstm": ({"validation": 1116}, ["training.steps=1000", "training.epochs=None"]),
    "shakespeare_large": ({"validation": 1116}, []),
    "translation_lstm": ({"validation": 1014, "test": 1000}, []),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_number_is_reached(name, tfds_dir, tmp_path):
    examples, overrides = PUBLISHED[name]
    experiment, run = build_experiment(override(cfg.read(name), overrides, NODES)), Run(tmp_path)
    run.claim(experiment.config)
    result = train_experiment(experiment, run)
    assert result["examples"] == examples
    assert result["met"], result["metrics"]
