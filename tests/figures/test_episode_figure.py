"""A strip of frames, and the returns."""

import numpy as np
import pytest

from jaxdl.data import Table
from jaxdl.errors import UserError
from jaxdl.figures import FIGURES, FinishedRun

HISTORY = [{"step": 1, "return": 3.0, "loss": 1.0}, {"step": 2, "test/return": 4.0}]
TARGET = {"metric": "test/return", "value": 5.0}


def finished(outputs):
    table = Table({"seed": np.arange(3, dtype=np.uint32)})
    return FinishedRun(
        None, {"test": table}, ("test",), None, lambda batch: outputs, None,
        {"target": TARGET}, {}, HISTORY,
    )  # fmt: skip


def played(steps, horizon):
    playing = np.arange(horizon + 1)[None] < steps + (steps == horizon)
    scene = np.random.default_rng(0).random((1, horizon + 1, 3, 2, 2))
    return {"scene": scene, "playing": playing, "reward": playing[:, :-1] * 1.0}


@pytest.mark.parametrize(("steps", "frames"), [(30, 8), (20, 8), (3, 4)])
def test_frames_are_of_the_episode_alone_above_the_returns(steps, frames):
    *strip, below = FIGURES["episode"](finished(played(steps, 30))).axes
    titles = [ax.get_title() for ax in strip]
    assert len(strip) == frames and titles[0] == "step 0" and titles[-1] == f"step {steps}"
    assert all(len(ax.lines) == 3 for ax in strip)
    assert below.get_title("left") == f"the episode above: return {steps}"
    labels = [text.get_text() for text in below.get_legend().get_texts()]
    assert labels == ["training batch", "test/return", "target 5"]


@pytest.mark.parametrize("outputs", [np.zeros(3), {"scene": np.zeros(3)}])
def test_what_plays_no_episode_has_no_frames(outputs):
    with pytest.raises(UserError, match="'episode' needs a model that plays"):
        FIGURES["episode"](finished(outputs))
