"""What is probably not meant is told of, once, by check and train."""

import numpy as np
import pytest

from jaxdl.data import Table
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.warn import warn_of_doubts, warn_of_overlaps


@pytest.fixture
def told(tmp_path):
    """What is told of images in an archive, by a config with these settings."""

    def told(image, figures=(), task=(), **data):
        np.savez(tmp_path / "a.npz", image=image, label=np.arange(len(image), dtype=np.int32) % 2)
        experiment = build_experiment(
            {
                "data": {"source": "arrays", "train": str(tmp_path / "a.npz"), **data},
                "model": {"name": "mlp"},
                "task": {"name": "classification", **dict(task)},
                "optimizer": {"name": "adam", "learning_rate": 1e-3},
                "training": {"batch_size": 2, "steps": 1},
                "figures": figures,
            }
        )
        said = []
        warn_of_doubts(experiment, check_shapes(experiment), said.append)
        return said

    return told


SPLIT = {"test_fraction": 0.34}
NOISE = np.random.default_rng(0).random((6, 4, 4, 1))


@pytest.mark.parametrize(
    ("scale", "dtype", "transforms", "fragment"),
    [
        (255, np.uint8, (), "dict(name='scale')"),
        (255, np.uint8, ({"name": "scale"},), None),
        (4095, np.uint16, ({"name": "scale"},), "values up to 1"),
        (1, np.float32, ({"name": "scale"},), "take `scale` out"),
        (1, np.float32, (), None),
    ],
)
def test_the_range_that_reaches_the_model(told, scale, dtype, transforms, fragment):
    said = told((NOISE * scale).astype(dtype), transforms=transforms, **SPLIT)
    assert [fragment in line for line in said] == [True] * (fragment is not None)


def test_features_in_unlike_units_are_told(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 2))
    config = {
        "data": {"source": "arrays", "train": str(tmp_path / "a.npz"), **SPLIT},
        "model": {"name": "mlp"},
        "task": {"name": "classification", "input": "features"},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "training": {"batch_size": 2, "steps": 1},
    }
    for scale, number in ((1, 0), (1e4, 1)):
        np.savez(tmp_path / "a.npz", features=x * [1, scale], label=np.arange(30) % 2)
        said, experiment = [], build_experiment(config)
        warn_of_doubts(experiment, check_shapes(experiment), said.append)
        assert len(said) == number and all("which few models learn" in line for line in said)


def test_that_nothing_is_evaluated_and_what_cannot_be_drawn(told):
    nothing, figure = told(NOISE.astype(np.float32), ("confusion",))
    assert "no validation or test split" in nothing and "'confusion' cannot be drawn" in figure


def test_figures_that_can_be_drawn_are_not_told(told):
    images = NOISE.astype(np.float32)
    assert told(images, ("confusion", "class_accuracy"), **SPLIT) == []
    (line,) = told(images, ("confusion", "class_accuracy"), {"confusion": False}, **SPLIT)
    assert "'confusion' cannot be drawn" in line and "100 classes" in line
    (line,) = told(images, ("own_parts:scatter",), **SPLIT)
    assert line.endswith("'own_parts:scatter' cannot be drawn: it needs a column brightness")
    lines = told(images, ("captions", "detections", "episode", "steering", "codes"), **SPLIT)
    assert len(lines) == 5 and all("cannot be drawn: it needs" in line for line in lines)


@pytest.mark.parametrize(("negative", "told_of"), [(0.05, 0), (0.9, 3)])
def test_classes_whose_objects_no_anchor_fits(negative, told_of):
    experiment = build_experiment(
        {
            "data": {
                "source": "drawn_boxes",
                "size": (64, 64),
                "train_examples": 30,
                "transforms": ({"name": "scale"},),
            },
            "model": {"name": "tiny_detector:TinyDetector"},
            "task": {"name": "retinanet", "negative": negative, "positive": 0.95},
            "optimizer": {"name": "adam", "learning_rate": 1e-3},
            "training": {"batch_size": 4, "steps": 1},
        }
    )
    said = []
    warn_of_doubts(experiment, check_shapes(experiment), said.append)
    print(said)
    assert len(said) == told_of
    assert all("have a size that no anchor has" in line for line in said)


def test_examples_that_two_splits_share_are_counted():
    x = np.arange(6, dtype=np.float32)
    splits = {
        "train": Table({"x": x[:4], "y": x[:4] % 2}),
        "test": Table({"x": x[2:], "y": x[2:] % 2}),
    }
    said = []
    warn_of_overlaps(splits, said.append)
    assert len(said) == 1 and "train and test share 2 identical examples" in said[0]
    warn_of_overlaps({**splits, "test": Table({"x": x[2:], "y": x[2:]})}, said.append)
    assert len(said) == 1  # equal in one column is not the same example
