"""What the figures of a run show."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.figures import FIGURES, Finished

COLUMNS = {"label": np.arange(3)}


def finished(tables, classes=()):
    experiment = SimpleNamespace(splits={"test": Table(COLUMNS, classes=classes)})
    return Finished(experiment, None, {}, tables, ())


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
