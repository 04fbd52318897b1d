r"""Names of others in every figure: `$…$` is not mathematics, controls are escaped."""

import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.text import Text
from PIL import Image
from test_detection_figures import finished as finished_on
from test_detection_figures import table

from jaxdl.data.table import Table
from jaxdl.figures import FIGURES, answers_gallery, learning_curves, save
from jaxdl.figures.canvas import canvas
from jaxdl.figures.sweep import sweep_figure
from jaxdl.tasks import Regression
from jaxdl.tasks.answer import Answer

NAMES = (
    r"$\frac{1}{0$ and $\undefined$",
    "$x",
    r"\$x$",
    "a\nb\rc\bd",
    "\x1b]0;title\x07\x9b2J",
    "x" * 10_000,
    "שלום \u202efdp.exe",
    "👩\u200d🔬 中文 é",
    "nul\0 byte \udce9",
    "_\u200b",
)
CLASSES = len(NAMES)
IMAGES = list(np.zeros((CLASSES, 8, 8, 3), np.uint8))


def finished(tables):
    splits = {"test": Table({"image": np.stack(IMAGES)}, classes=NAMES)}
    return finished_on(splits, tables=tables)


def answers(box=None):
    return answers_gallery(IMAGES, [[Answer(name, 0.5, box)] for name in NAMES])


def confusion():
    return FIGURES["confusion"](finished({"test/confusion": np.eye(CLASSES, dtype=int).tolist()}))


def class_accuracy():
    return FIGURES["class_accuracy"](finished({"test/class_accuracy": dict.fromkeys(NAMES, 0.5)}))


def captions():
    return FIGURES["captions"](finished({"test/written": [(name, "") for name in NAMES[-8:]]}))


def detections():
    split = table()
    renamed = Table(split.columns, classes=NAMES)
    return FIGURES["detections"](finished_on({"validation": renamed, "test": renamed}, score=0.9))


def precision_recall():
    curves = {name: [1.0, 0.5, 0.0] for name in NAMES}
    return FIGURES["precision_recall"](finished({"test/precision_recall": curves}))


def steering(kind="steering"):
    name = NAMES[0] + NAMES[4]
    columns = {"image": np.stack(IMAGES), name: np.zeros(CLASSES), "drive": np.zeros(CLASSES, int)}
    task = Regression(input="image", target=name, group="drive")
    metrics = {f"test/drive0/{metric}": 0.5 for metric in ("r2", "mae")}
    tables = {"test/predictions": [0.0] * CLASSES}
    run = finished_on({"test": Table(columns)}, tables=tables)
    return FIGURES[kind](run._replace(task=task, result={"metrics": metrics}))


def curves():
    history = [
        {"step": step, **{f"{name}/loss": 10.0**-step for name in NAMES}, NAMES[0]: 0.5}
        for step in range(1, 4)
    ]
    result = {"target": {"metric": NAMES[0], "value": 0.5}}
    return learning_curves(finished({})._replace(result=result, history=history))


def sweep():
    metrics = {name: {"mean": 0.5, "std": None, "values": [0.5]} for name in NAMES[:2]}
    return sweep_figure([
        {"values": {NAMES[2]: name, NAMES[3]: other}, "metrics": metrics}
        for name in NAMES for other in NAMES[:2]
    ])  # fmt: skip


DRAWN = {
    "answers": answers,
    "boxes": lambda: answers((1.0, 1.0, 7.0, 7.0)),
    "captions": captions,
    "class_accuracy": class_accuracy,
    "confusion": confusion,
    "curves": curves,
    "detections": detections,
    "precision_recall": precision_recall,
    "steering": steering,
    "steering_strip": lambda: steering("steering_strip"),
    "sweep": sweep,
}


def shown(figure):
    """The texts of a figure that has been drawn."""
    return {text.get_text() for text in figure.findobj(Text) if text.get_visible()}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.filterwarnings("error")
def test_figures_draw_any_name(name, tmp_path):
    figure, path = DRAWN[name](), tmp_path / "figure.png"
    with warnings.catch_warnings(record=True) as warned:
        save(figure, path)
    with Image.open(path) as image:
        assert max(image.size) < 4000 and not warned
    for text in shown(figure):
        lines = text.split("\n")
        assert all(c.isprintable() or c == "\u200d" for line in lines for c in line)
        assert len(lines) < 20 and len(text) <= 300


def test_vector_formats_draw_any_name(tmp_path):
    figure = class_accuracy()
    save(figure, tmp_path / "figure.pdf")
    save(figure, tmp_path / "figure.svg")
    ElementTree.parse(tmp_path / "figure.svg")  # XML knows no controls


def test_a_dollar_is_a_dollar(tmp_path):
    figure = answers()
    save(figure, tmp_path / "figure.png")
    texts = shown(figure)
    assert r"$\frac{1}{0$ and" in {text.partition("\n")[0] for text in texts}
    assert "$x  0.500" in texts and r"\$x$  0.500" in texts
    figure, (ax,) = canvas(1)
    ax.set_title(r"$x^2$")
    figure.draw_without_rendering()
    assert not ax.title.get_parse_math()


@pytest.mark.parametrize(
    ("scale", "numbers"),
    [
        ("linear", ["\u22120.2", "0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]),
        ("log", ["0.0001", "0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_numbers_of_an_axis_are_written_out(scale, numbers):
    figure, (ax,) = canvas(1)
    ax.plot([1e-3, 1], [1e-3, 1])
    ax.set(xscale=scale, yscale=scale)
    figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_xticklabels()] == numbers


def test_a_logarithmic_axis_within_one_power_of_ten_has_numbers_too():
    figure, (ax,) = canvas(1)
    ax.plot([1, 2], [0.22, 0.61])
    ax.set_yscale("log")
    figure.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_yticklabels(minor=True)]
    assert {"0.3", "0.4", "0.6"} <= set(labels)


def test_latex_is_not_asked():
    with rc_context({"text.usetex": True}):
        figure, (ax,) = canvas(1)
        ax.set_xticks([0.5], [r"\input{/etc/passwd}"])
        ax.set_yticks([])
        ax.set_title(r"\input{/etc/passwd}")
    figure.draw_without_rendering()
    assert not any(text.get_usetex() for text in (ax.title, *ax.get_xticklabels()))


def test_a_figure_that_forgets_is_plain_all_the_same(tmp_path):
    figure, (ax,) = canvas(1)
    for i, name in enumerate(NAMES):
        ax.plot([i], [0], label=name)
    ax.set_xticks(range(CLASSES), NAMES)
    ax.set(title="\n".join(NAMES), xlabel=NAMES[0], ylabel=NAMES[4])
    ax.annotate(NAMES[0], (0, 0))
    ax.legend()
    figure.suptitle(NAMES[8])
    save(figure, tmp_path / "figure.png")
    assert all(
        len(text) <= 300 and "\x1b" not in text and "\0" not in text for text in shown(figure)
    )
