"""`predict` makes of an image exactly what training and evaluation saw."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.sources import images
from jaxdl.inference.predictor import Predictor
from jaxdl.inference.restored import RestoredRun
from jaxdl.training.start import train_config


@pytest.mark.parametrize("fit", ["crop", "squeeze", "pad"])
def test_pixels_are_those_of_training(tmp_path, fit):
    random = np.random.default_rng(0)
    for name in "ab":
        path = tmp_path / "data" / name / "x.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(random.integers(0, 256, (9, 20, 4), np.uint8)).save(path)
    settings = {"path": str(tmp_path / "data"), "size": (6, 8), "fit": fit, "test_fraction": 0}
    config = {
        "data": {"source": "images", "transforms": ({"name": "scale"},), **settings},
        "model": {"name": "mlp"},
        "task": {"name": "classification"},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "training": {"batch_size": 2, "steps": 1},
    }
    run = Run(tmp_path / "run")
    with run.locked():
        train_config(config, run)
    table = Predictor(RestoredRun(run)).table([tmp_path / "data" / "b" / "x.png"])
    (seen,) = table[np.zeros(1, int)]["image"]
    np.testing.assert_array_equal(seen, images(**settings)["train"].columns["image"][1])
