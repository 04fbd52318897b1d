"""The numbers of classes and outputs come from the data unless the config sets them."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.checkpointing.run_directory import Run
from jaxdl.inference.restored import RestoredRun
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.start import train_config

CONFIG = {
    "data": {"source": "images", "size": 4, "transforms": ({"name": "scale"},)},
    "model": {"name": "mlp"},
    "task": {"name": "classification"},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"batch_size": 2, "steps": 1},
}


def changed(**nodes):
    return CONFIG | {name: CONFIG[name] | node for name, node in nodes.items()}


@pytest.fixture
def pets(tmp_path):
    for split in ("train", "test"):
        for i, name in enumerate(("ape", "bee", "cow")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for k in range(2):
                Image.new("RGB", (4, 4), (i, k, 0)).save(folder / f"{k}.png")
    return {"path": str(tmp_path / "pets")}


@pytest.fixture
def table(tmp_path):
    def write(labels):
        rows = "".join(f"{i},{label}\n" for i, label in enumerate(labels))
        (tmp_path / "t.csv").write_text("x,kind\n" + rows)
        data = {"source": "csv", "path": str(tmp_path / "t.csv"), "label": "kind"}
        return CONFIG | {"data": data, "task": {"name": "classification", "input": "features"}}

    return write


def test_a_folder_says_how_many(pets):
    experiment = build_experiment(changed(data=pets))
    check_shapes(experiment)
    assert experiment.task.classes == 3
    assert experiment.abstract_state.params["Dense_0"]["bias"].shape == (3,)


def test_what_the_config_sets_stays(table):
    config = table([0, 1, 2] * 4)
    config |= {"task": config["task"] | {"classes": 7}}
    assert build_experiment(config).task.classes == 7  # numbers, so there may be more of them


def test_numbers_say_how_many_too_and_a_run_knows_without_its_data(table, tmp_path):
    config = table([0, 1, 2] * 4)
    run = Run(tmp_path / "run")
    with run.locked():
        train_config(config, run)
    (tmp_path / "t.csv").unlink()
    restored = RestoredRun(run)
    assert restored.task.classes == 3 and restored.state.params["Dense_0"]["bias"].shape == (3,)


def test_boxes_say_how_many():
    config = changed(model={"name": "detector", "depth": 18, "width": 8, "head": "fcos"})
    config |= {"task": {"name": "fcos"}, "data": {"source": "drawn_boxes", "train_examples": 4}}
    experiment = build_experiment(config)
    assert experiment.task.classes == 3 and len(experiment.splits["train"].classes) == 3


def test_contradictions_are_told_with_both_numbers(refuses, pets, table):
    with refuses("3 classes (ape, bee, cow)", "config.task.classes=2", "set it to 3"):
        build_experiment(changed(data=pets, task={"classes": 2}))
    experiment = build_experiment(changed(data=pets, model={"outputs": 5}))
    with refuses("float32[2, 5]", "(2, 3)", "config.model.outputs"):
        check_shapes(experiment)
    with refuses("2 numbers from 1 to 2", "config.task.classes"):
        build_experiment(table([1, 2] * 6))
    config = table([0, 1] * 6)
    with refuses("no column 'kind'", "config.task.label"):
        build_experiment(config | {"task": config["task"] | {"label": "kind"}})


def test_a_twin_need_not_have_the_classes_of_its_original(pets):
    data = {"source": "coco", "size": (64, 64), "twin": True, "path": "nowhere"}
    model = {"name": "detector", "depth": 18, "width": 8, "head": "fcos"}
    config = CONFIG | {"data": data, "model": model, "task": {"name": "fcos", "classes": 80}}
    assert build_experiment(config).task.classes == 80
    assert np.max(build_experiment(config).splits["train"].columns["labels"]) == 2
