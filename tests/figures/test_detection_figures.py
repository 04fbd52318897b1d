"""Boxes on images, and curves of precision."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.figures import FIGURES, FinishedRun, answers_gallery, boxes_gallery
from jaxdl.figures.canvas import canvas
from jaxdl.figures.detection import draw_boxes
from jaxdl.tasks.answer import Answer

CLASSES = ("ant", "bee")


def table(images=11, channels=3):
    """Canvases of 40 by 60 pixels, each with a crowd, another object, and room for a third."""
    random = np.random.default_rng(0)
    columns = {
        "image": random.integers(0, 256, (images, 40, 60, channels)).astype(np.uint8),
        "boxes": np.tile(
            np.float32([[5, 5, 25, 15], [20, 10, 40, 30], [0, 0, 0, 0]]), (images, 1, 1)
        ),
        "labels": np.tile(np.int32([0, 1, -1]), (images, 1)),
        "crowd": np.tile([False, True, False], (images, 1)),
        "extent": np.tile(np.float32([32, 48]), (images, 1)),
        "scale": np.ones(images, np.float32),
    }
    return Table(columns, classes=CLASSES)


def finished(splits, eval_splits=("validation", "test"), predict=None, score=0.5, tables=None):
    """A run that finds the same two boxes in every image; the first has the score."""

    def detect(batch):
        rows = len(batch["image"])
        return {
            "boxes": np.tile([[6.0, 5, 26, 15], [1, 1, 9, 9], [2, 2, 8, 8]], (rows, 1, 1)),
            "labels": np.tile([1, 0, -1], (rows, 1)),
            "scores": np.tile([score, 0.29, 0.9], (rows, 1)),
        }

    return FinishedRun(
        task=None,
        splits=splits,
        eval_splits=eval_splits,
        params=None,
        predict=predict or detect,
        trajectory=None,
        result={},
        tables=tables or {},
        history=(),
    )


def detections(run):
    return FIGURES["detections"](run)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def corners(ax):
    return [
        tuple(np.add((*p.get_xy(), p.get_width(), p.get_height()), (0.5, 0.5, 0, 0)))
        for p in ax.patches
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_detections_are_drawn_over_the_truth_within_the_picture(channels):
    split = table(channels=channels)
    figure = detections(finished({"validation": table(2), "test": split}, score=0.75))
    assert len(figure.axes) == 9 and "test" in figure.get_suptitle()
    for i, ax in enumerate(figure.axes):
        expected = split.columns["image"][i, :32, :48]
        np.testing.assert_array_equal(ax.images[0].get_array(), expected.squeeze())
        truth = [(5, 5, 20, 10)] * 2 + [(20, 10, 20, 20)] * 2  # each on a dark ground
        assert corners(ax) == [*truth, (6, 5, 20, 10)]
        dashed = [p.get_linestyle() not in ("solid", "-") for p in ax.patches]
        assert dashed == [False, False, True, True, False]
        # Truth shows on either side of a detection that covers it, on white and on black.
        widths = [p.get_linewidth() for p in ax.patches]
        assert widths[0] > widths[1] > widths[-1]
        assert [p.get_edgecolor()[:3] for p in ax.patches[:2]] == [(0, 0, 0), (1, 1, 1)]
        assert texts(ax) == ["bee 0.75"]


def test_without_evaluated_splits_the_training_split_is_shown():
    axes = detections(finished({"train": table(3)}, eval_splits=())).axes
    assert [texts(ax) for ax in axes] == [["bee 0.50"]] * 3


def test_a_class_has_one_color():
    (ax,) = detections(finished({"test": table(1)}, eval_splits=("test",))).axes
    (other,) = boxes_gallery(
        [np.zeros((9, 9, 3), np.uint8)],
        [[Answer("ant", 0.9, (1, 1, 5, 5)), Answer("bee", 0.8, (2, 2, 7, 7))]],
    ).axes
    assert ax.patches[-1].get_edgecolor() == other.patches[1].get_edgecolor()
    assert other.patches[0].get_edgecolor() != other.patches[1].get_edgecolor()


@pytest.mark.parametrize(
    "wrong",
    [
        finished({"test": Table({"image": np.zeros((2, 4, 4, 3), np.uint8)})}, ("test",)),
        finished({"test": table(2)}, ("test",), lambda batch: batch["labels"]),
    ],
)
def test_detections_of_another_task(wrong):
    with pytest.raises(UserError, match=r"config\.figures: 'detections' needs a detection task"):
        detections(wrong)


def curves(tables):
    return FIGURES["precision_recall"](finished({}, tables=tables))


def test_a_curve_a_class():
    half = [1.0] * 51 + [0.0] * 50
    tables = {
        "validation/precision_recall": {"ant": [0.0] * 101},
        "test/precision_recall": {"ant": half, "bee": [0.5] * 101},
        "test/class_AP": {"ant": 0.1},
    }
    validation, test = curves(tables).axes
    assert validation.get_title() == "validation" and test.get_title() == "test"
    assert validation.lines[0].get_xydata().tolist() == [[0, 0]]
    ant, bee = test.lines
    assert [ant.get_label(), bee.get_label()] == ["ant, AP50 0.505", "bee, AP50 0.500"]
    np.testing.assert_allclose(ant.get_xdata(), [*np.arange(51) / 100, 0.5])
    assert ant.get_ydata().tolist() == [1.0] * 51 + [0]
    assert bee.get_xdata()[-1] == 1 and ant.get_color() != bee.get_color()


def test_a_class_has_one_color_on_every_split():
    good, bad = [0.9] * 101, [0.1] * 101
    splits = {"validation": {"ant": good, "bee": bad}, "test": {"ant": bad, "bee": good}}
    axes = curves({f"{name}/precision_recall": table for name, table in splits.items()}).axes
    colors = [{line.get_label()[:3]: line.get_color() for line in ax.lines} for ax in axes]
    assert colors[0] == colors[1] and colors[0]["ant"] != colors[0]["bee"]


def test_of_many_classes_the_mean_is_named():
    tables = {"test/precision_recall": {str(i): [i / 11] * 101 for i in range(12)}}
    (ax,) = curves(tables).axes
    assert len(ax.lines) == 13
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "mean of 12 classes, AP50 0.500"
    ]


@pytest.mark.parametrize("tables", [{}, {"test/precision_recall": {}}, {"test/confusion": [[1]]}])
def test_curves_of_what_was_not_measured(tables):
    with pytest.raises(UserError, match=r"config\.figures: 'precision_recall' needs a detection"):
        curves(tables)


def test_images_of_any_size_with_what_is_found():
    images = [
        np.full((20, 90, 1), 90, np.uint8),
        np.linspace(-3, 5, 40 * 10 * 3).reshape(40, 10, 3),
        np.zeros((30, 30, 3), np.uint8),
    ]
    found = [[Answer("ant", 0.512, (3, 4, 30, 18))], [], [Answer("bee", 0.9, (1, 2, 5, 6))]]
    figure = boxes_gallery(images, found)
    assert [texts(ax) for ax in figure.axes] == [["ant 0.51"], [], ["bee 0.90"]]
    assert [corners(ax) for ax in figure.axes] == [[(3, 4, 27, 14)], [], [(1, 2, 4, 4)]]
    gray, wide, _ = (ax.images[0] for ax in figure.axes)
    assert gray.get_clim() == (0, 255)  # a gray image is not black
    assert (wide.get_array().min(), wide.get_array().max()) == (0, 1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_text_covers_another_or_leaves_the_image(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(20, 500, 2)
    size = (width, height, width, height)
    found = [
        Answer(
            "a class"[: random.integers(1, 8)], score, tuple(np.sort(box, axis=0).ravel() * size)
        )
        for box, score in zip(random.random((12, 2, 2)), random.random(12), strict=True)
    ]
    image = np.zeros((height, width, 3), np.uint8)
    figure = boxes_gallery([image] * 2, [found] * 2)
    figure.draw_without_rendering()
    ax = figure.axes[-1]
    best = max(found, key=lambda answer: answer.value)
    assert len(ax.patches) == 12 and len(ax.texts) <= 12
    areas = [text.get_window_extent() for text in ax.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(areas, 2))
    assert all(area.y0 > ax.bbox.y0 - 4 and area.y1 < ax.bbox.y1 + 4 for area in areas)
    if areas:
        assert texts(ax)[0] == f"{best.name} {best.value:.2f}"


def test_the_surest_lies_on_top():
    _, (ax,) = canvas(1)
    boxes = np.array([[0, 0, 50, 50], [5, 5, 45, 45], [9, 9, 30, 30]])
    scores = np.array([0.4, 0.9, 0.6])
    draw_boxes(ax, np.zeros((60, 60, 3), np.uint8), boxes, np.array([0, 1, 1]), scores, CLASSES)
    order = sorted(ax.patches, key=lambda patch: patch.get_zorder())
    assert [patch.get_width() for patch in order] == [50, 21, 40]


def test_answers_have_boxes_or_titles():
    images = [np.zeros((8, 8, 3), np.uint8)] * 2
    named = answers_gallery(images, [[Answer("ant", 0.75), Answer("bee", 0.2)], []])
    assert [ax.get_title() for ax in named.axes] == ["ant  0.750", ""]
    boxed = answers_gallery(images, [[], [Answer("bee", 0.5, (1, 1, 4, 4))]])
    assert [len(ax.patches) for ax in boxed.axes] == [0, 1]
