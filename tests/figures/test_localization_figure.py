"""Images of one object, with the truth and what is guessed."""

import numpy as np

from jaxdl.data.table import Table
from jaxdl.figures import FIGURES, FinishedRun
from jaxdl.tasks import Classification, Localization

TRUTH = [5.0, 5.0, 25.0, 15.0]
AWAY = [30.0, 5.0, 40.0, 15.0]


def finished(guesses, task=None):
    """A run that guesses these (class, box) of images of an ant, 32 by 48 on their canvases."""
    n = len(guesses)
    columns = {
        "image": np.zeros((n, 40, 60, 1), np.uint8),
        "boxes": np.tile(np.float32(TRUTH), (n, 1, 1)),
        "labels": np.zeros((n, 1), np.int32),
        "crowd": np.zeros((n, 1), bool),
        "extent": np.tile(np.float32([32, 48]), (n, 1)),
        "scale": np.ones(n, np.float32),
    }
    labels, boxes = zip(*guesses, strict=True)

    def predict(batch):
        return {
            "labels": np.array(labels)[:, None],
            "boxes": np.float32(boxes)[:, None],
            "scores": np.full((n, 1), 0.75, np.float32),
        }

    return FinishedRun(
        task=task or Localization(2),
        splits={"test": Table(columns, classes=("ant $", "bee"))},
        eval_splits=("test",),
        params=None,
        predict=predict,
        trajectory=None,
        result={},
        tables={},
        history=(),
    )


def test_a_guess_has_the_color_of_how_right_it_is():
    run = finished([(0, TRUTH), (0, AWAY), (1, TRUTH), (1, AWAY)])
    figure = FIGURES["localizations"](run)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["ant $ 0.75, IoU 1.00", "ant $ 0.75, IoU 0.00",
                      "bee 0.75, IoU 1.00\nnot ant $", "bee 0.75, IoU 0.00\nnot ant $"]  # fmt: skip
    colors = []
    for ax in figure.axes:
        assert ax.images[0].get_array().shape[:2] == (32, 48)  # the picture, not its canvas
        black, white, guess = ax.patches
        assert black.get_xy() == white.get_xy() == (4.5, 4.5)
        assert white.get_edgecolor()[:3] == (1, 1, 1) and white.get_width() == 20
        colors.append(guess.get_edgecolor())
    assert colors[1] == colors[2] and len({*colors}) == 3
    figure.canvas.draw()


def test_refuses_another_task(refuses):
    with refuses("'localizations' needs the task localization"):
        FIGURES["localizations"](finished([(0, TRUTH)], Classification(2)))
