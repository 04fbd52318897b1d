"""Real data, whole runs, published numbers: `pytest -m slow` (some ten minutes on 2 cores)."""

import pytest

from jaxdl import config as cfg
from jaxdl.runs import Run
from jaxdl.training.experiment import REGISTRIES, Experiment
from jaxdl.training.loop import train


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_softmax", "mnist_mlp", "mnist_cnn"])
def test_the_published_number_is_reached(name, tfds_dir, tmp_path):
    experiment, run = Experiment.of(cfg.read(name, [], REGISTRIES)), Run(tmp_path)
    run.claim(experiment.config)
    result = train(experiment, run)
    assert result["examples"] == {"test": 10_000}
    assert result["met"], result["metrics"]
