"""Images in a range that no model is made for are told of, once, by check and train."""

import numpy as np
import pytest

from jaxdl.training.build import build_experiment
from jaxdl.training.doubts import tell_doubts


@pytest.mark.parametrize(
    ("scale", "transforms", "fragment"),
    [
        (255, (), "dict(name='scale')"),
        (255, ({"name": "scale"},), None),
        (1, ({"name": "scale"},), "take the scale out"),
        (1, (), None),
    ],
)
def test_the_range_that_reaches_the_model(tmp_path, scale, transforms, fragment):
    image = np.random.default_rng(0).random((6, 4, 4, 1)) * scale
    image = image.astype(np.uint8 if scale == 255 else np.float32)
    np.savez(tmp_path / "a.npz", image=image, label=np.arange(6, dtype=np.int32) % 2)
    experiment = build_experiment(
        {
            "data": {
                "source": "arrays",
                "train": str(tmp_path / "a.npz"),
                "transforms": transforms,
            },
            "model": {"name": "mlp"},
            "task": {"name": "classification"},
            "optimizer": {"name": "adam", "learning_rate": 1e-3},
            "training": {"batch_size": 2, "steps": 1},
        }
    )
    said = []
    tell_doubts(experiment, said.append)
    assert [fragment in line for line in said] == [True] * (fragment is not None)
