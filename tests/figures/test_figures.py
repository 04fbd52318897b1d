"""What the figures of a run show."""

import numpy as np
import pytest

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.figures import FIGURES, FinishedRun, learning_curves
from jaxdl.tasks import Classification, Regression

COLUMNS = {"label": np.arange(3)}


def finished(tables, classes=(), task=None, splits=None, metrics=None):
    return FinishedRun(
        task=task,
        splits=splits or {"test": Table(COLUMNS, classes=classes)},
        eval_splits=("test",),
        params=None,
        predict=None,
        trajectory=None,
        result={"metrics": metrics},
        tables=tables,
        history=(),
    )


def texts(labels):
    return [label.get_text() for label in labels]


@pytest.mark.parametrize(
    ("classes", "names"),
    [((), ["0", "1", "2"]), (("ant", "bee", "cat"), ["ant", "bee", "cat"]), (("x",), list("x12"))],
)
def test_confusion_names_classes(classes, names):
    counts = [[5, 0, 1], [0, 6, 0], [2, 0, 4]]
    (ax,) = FIGURES["confusion"](finished({"test/confusion": counts}, classes)).axes
    assert texts(ax.get_xticklabels()) == texts(ax.get_yticklabels()) == names
    assert {(*t.get_position(), t.get_text()) for t in ax.texts} == {
        *((0, 0, "5"), (1, 1, "6"), (2, 2, "4"), (2, 0, "1"), (0, 2, "2"))
    }


def test_confusion_of_many_classes_has_no_names():
    (ax,) = FIGURES["confusion"](finished({"test/confusion": np.eye(21, dtype=int).tolist()})).axes
    assert not ax.texts and len(ax.get_xticklabels()) < 21


def test_class_accuracy_is_ranked():
    found = {"test/class_accuracy": {"ant": 0.9, "bee": 0.2, "cat": 0.5}, "test/confusion": []}
    (ax,) = FIGURES["class_accuracy"](finished(found)).axes
    assert texts(ax.get_yticklabels()) == ["bee", "cat", "ant"]
    assert [bar.get_width() for bar in ax.patches] == [0.2, 0.5, 0.9]


def test_of_many_classes_the_ends_are_shown():
    accuracies = {f"n{i:08}": i / 1000 for i in range(1000)}
    (ax,) = FIGURES["class_accuracy"](finished({"test/class_accuracy": accuracies})).axes
    ends = [*range(10), *range(990, 1000)]
    assert texts(ax.get_yticklabels()) == [f"n{i:08}" for i in ends]
    assert "of 1000 classes" in ax.get_title()


@pytest.mark.parametrize("name", ["confusion", "class_accuracy"])
def test_figures_of_what_was_not_measured(name):
    with pytest.raises(UserError, match=f"config.figures: '{name}' needs a classification task"):
        FIGURES[name](finished({"test/written": []}))


# ---- Steering


def driven(images=None, split="test", **columns):
    """A finished run of two drives of 20 frames, and what it predicted."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(-1, 1, 40).astype(np.float32)
    table = {
        "image": rng.integers(0, 255, (40, 6, 10, 3), np.uint8) if images is None else images,
        "steering": angle,
        "drive": np.repeat([0, 1], 20),
        "frame": np.tile(np.arange(100, 120), 2),
        **columns,
    }
    task = Regression(input="image", target="steering", group="drive")
    metrics = {f"{split}/drive{d}/{m}": 0.5 for d in (0, 1) for m in ("r2", "mae")}
    tables = {"validation/predictions": [], f"{split}/predictions": (angle / 2).tolist()}
    return finished(tables, task=task, splits={split: Table(table)}, metrics=metrics)


def test_steering_shows_each_drive_against_its_frames():
    run = driven()
    angle = run.splits["test"].columns["steering"]
    for number, ax in enumerate(FIGURES["steering"](run).axes):
        human, network = ax.lines[:2]
        here = slice(20 * number, 20 * number + 20)
        for line, expected in ((human, angle[here]), (network, angle[here] / 2)):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(100, 120))
            np.testing.assert_allclose(line.get_ydata(), expected)
        assert f"test/drive{number}: R² 0.500" in ax.get_title("left")


@pytest.mark.parametrize("clips", [False, True])
def test_the_strip_shows_the_sharpest_turn_of_each_eighth(clips):
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((6, 10, 3), np.uint8)
    if clips:
        images = np.stack([images + 100, images], axis=1)
    run = driven(images)
    angle = run.splits["test"].columns["steering"]
    panels = FIGURES["steering_strip"](run).axes
    rows = [int(ax.images[0].get_array()[0, 0, 0]) for ax in panels]
    assert rows == [5 * i + np.argmax(np.abs(angle[5 * i : 5 * i + 5])) for i in range(8)]
    for row, ax in zip(rows, panels, strict=True):
        assert ax.get_title() == f"drive {row // 20}, frame {100 + row % 20}"
        assert texts(ax.texts) == [f"{angle[row]:+.2f}", f"{angle[row] / 2:+.2f}"]
        for wheel, turn in ((0, angle[row]), (1, angle[row] / 2)):
            (x0, x1), (y0, y1) = ax.lines[3 * wheel].get_data()  # the spoke to the right
            assert np.degrees(np.arctan2(y1 - y0, x1 - x0)) == pytest.approx(25 * turn, abs=1e-4)


@pytest.mark.parametrize("name", ["steering", "steering_strip"])
def test_steering_of_what_is_no_drive(name):
    with pytest.raises(UserError, match=f"config.figures: '{name}' needs a regression task"):
        FIGURES[name](finished({"test/confusion": []}))


def test_the_strip_needs_images():
    with pytest.raises(UserError, match="'steering_strip' needs a regression task of images"):
        FIGURES["steering_strip"](driven(np.zeros((40, 3))))


def test_what_matters_is_drawn_with_a_target_or_without():
    history = [
        {"step": i, "seconds": 1.0, "loss": 1 / i, "accuracy": 0.5, "grad_norm": 1.0}
        | {f"test/{name}": 0.5 for name in ("loss", "accuracy", "top5_accuracy", "mae")}
        for i in range(1, 4)
    ]
    run = finished({}, task=Classification(classes=9, top=5))._replace(history=history)
    target = {"metric": "test/mae", "value": 0.3}
    for result, panels in (
        ({"target": None}, ["loss", "accuracy", "top5_accuracy"]),
        ({"target": target}, ["loss", "mae", "accuracy", "top5_accuracy"]),
    ):
        axes = learning_curves(run._replace(result=result)).axes
        assert [ax.get_ylabel() for ax in axes] == panels
        legends = [texts(ax.get_legend().get_texts()) for ax in axes]
        assert legends[panels.index("accuracy")] == ["training batch", "test/accuracy"]
    assert legends[1] == ["test/mae", "target 0.3"]
