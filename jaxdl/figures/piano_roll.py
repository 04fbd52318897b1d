"""Music, as a piano roll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxdl.figures.canvas import canvas
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@needs(lambda run: run.has("keys", "length"), "the task 'music'")
def piano_roll(run: FinishedRun) -> Figure:
    """The first piece of the last evaluated split, above what was expected of each of its frames.

    Below is the probability of each key, given the frames before.

    Raises:
      UserError: the task is not music.
    """
    split = run.last_split
    batch = run.splits[split][np.zeros(1, int)]
    if not {"keys", "length"} <= {*batch}:
        raise lacking(piano_roll)
    from jaxdl.data.piano_roll import LOWEST

    length = int(batch["length"][0])
    played, expected = batch["keys"][0, 1 : 1 + length], run.predict(batch)[0, :length]
    sounding = np.flatnonzero(played.any(axis=0) | (expected > 0.1).any(axis=0))
    low, high = (sounding[0] - 2, sounding[-1] + 2) if len(sounding) else (0, played.shape[1])
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(min(4 + length / 12, 14), 6)
    axes = figure.subplots(2, 1, sharex=True)
    octaves = np.arange(12, 120, 12)  # each C, by its number in MIDI
    titles = (f"{split}: the first piece", "the probability of each key, given the frames before")
    for ax, roll, title in zip(axes, (played, expected), titles, strict=True):
        extent = (0, length, LOWEST - 0.5, LOWEST + played.shape[1] - 0.5)
        image = ax.imshow(
            roll.T, origin="lower", aspect="auto", extent=extent, cmap="Blues", vmin=0, vmax=1
        )
        ax.set_yticks(octaves, [f"C{octave // 12 - 1}" for octave in octaves])
        ax.set(ylim=(LOWEST + low - 0.5, LOWEST + high + 0.5), title=title)
        ax.grid(axis="y", lw=0.5)
    axes[-1].set_xlabel("frame")
    figure.colorbar(image, ax=axes, shrink=0.6)
    return figure
