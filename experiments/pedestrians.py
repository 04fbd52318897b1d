"""Person or not, on INRIA's crops: a linear SVM on HOG beside finished runs, by their mistakes.

    python experiments/pedestrians.py [RUN …] [--figure pedestrians.png] [--twin]

Histograms of oriented gradients as Dalal and Triggs (2005) describe them: 8x8 cells, 9 bins, blocks
of 2x2 cells, L2-Hys; votes are shared between bins, not between cells. The SVM's C is chosen on the
validation split; the test split is looked at once. Images of the other class are few, so the
rate of false alarms has no steps smaller than one of them.
"""

import argparse
from pathlib import Path

import numpy as np
from arguments import in_one_line
from sklearn.svm import LinearSVC

import jaxdl
from jaxdl import data
from jaxdl.errors import UserError
from jaxdl.figures import save
from jaxdl.figures.canvas import canvas
from jaxdl.terminal import say

_CELL, _BINS, _CLIP = 8, 9, 0.2
_RATES = (0.01, 0.1)  # of false alarms


def hog(images: np.ndarray) -> np.ndarray:
    """(N, height, width, 3) uint8 -> (N, features): 3,780 of 128x64."""
    x = np.pad(np.sqrt(images.astype(np.float32)), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down, right = x[:, 2:, 1:-1] - x[:, :-2, 1:-1], x[:, 1:-1, 2:] - x[:, 1:-1, :-2]
    strongest = np.argmax(down**2 + right**2, axis=-1)[..., None]  # of the three channels
    down, right = (np.take_along_axis(d, strongest, -1)[..., 0] for d in (down, right))
    place = np.mod(np.arctan2(down, right) / np.pi, 1) * _BINS - 0.5
    low = np.floor(place)
    count, height, width = len(images), images.shape[1] // _CELL, images.shape[2] // _CELL
    cells = np.zeros((count, height, width, _BINS), np.float32)
    for b, share in ((low, 1 - place + low), (low + 1, place - low)):
        for i in range(_BINS):
            votes = np.where(np.mod(b, _BINS) == i, np.hypot(down, right) * share, 0)
            cells[..., i] += votes.reshape(count, height, _CELL, width, _CELL).sum((2, 4))
    blocks = np.concatenate(
        [cells[:, y : y + height - 1, z : z + width - 1] for y in (0, 1) for z in (0, 1)], axis=-1
    )
    for _ in range(2):
        norm = np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-3)
        blocks = np.minimum(blocks / norm, _CLIP)
    return (blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-3)).reshape(count, -1)


def curve(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False alarms and misses, as shares of their class, at each threshold from the highest."""
    thresholds = np.unique(score)[::-1]
    found = score >= thresholds[:, None]
    return found[:, label == 0].mean(1), 1 - found[:, label == 1].mean(1)


def svm(splits: dict[str, data.Table]) -> tuple[str, np.ndarray]:
    """The name of the best linear SVM on HOG, and its scores of the test split."""
    features = {role: hog(table.columns["image"]) for role, table in splits.items()}
    label = {role: table.columns["label"] for role, table in splits.items()}
    models = {
        c: LinearSVC(C=c).fit(features["train"], label["train"]) for c in (0.001, 0.01, 0.1, 1)
    }
    best = max(models, key=lambda c: models[c].score(features["validation"], label["validation"]))
    return f"HOG and linear SVM, C = {best}", models[best].decision_function(features["test"])


def likely(folder: str, images: np.ndarray) -> np.ndarray:
    """How likely a run finds the second class in images, less a half."""
    run = jaxdl.load(folder)
    classes = run.parts.classes
    if len(classes) != 2:
        raise UserError(f"{folder}: a run of two classes is needed; it has {len(classes)}")
    chances = [{a.name: a.value for a in each}[classes[1]] for each in run.answers(images, top=2)]
    return np.array(chances) - 0.5


def main(runs: list[str], path: str | None, twin: bool) -> None:
    splits = data.load(
        "tfds", dataset="pedestrians", validation="validation", columns=("image", "label"),
        twin=twin,
    )  # fmt: skip
    test, label = splits["test"].columns["image"], splits["test"].columns["label"]
    scores = dict([svm(splits)]) | {Path(run).name: likely(run, test) for run in runs}
    rates = "  ".join(f"missed at {rate:.0%}" for rate in _RATES)
    say(f"{len(label)} test images, {np.sum(label)} of a person   right  {rates} of false alarms")
    figure, (ax,) = canvas(1, side=4.5)
    for name, score in scores.items():
        alarms, missed = curve(score, label)
        accuracy = np.mean((score > 0) == label)
        at = "  ".join(f"{missed[alarms <= rate].min(initial=1):13.4f}" for rate in _RATES)
        say(f"{name:36} {accuracy:.4f}  {at}")
        ax.step(alarms, missed, where="post", label=name, lw=1.8)
    ax.set(xlabel="false alarms, of backgrounds", ylabel="missed, of persons", xlim=(0, 0.5))
    ax.legend(frameon=False)
    if path:
        save(figure, Path(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="of the same data")
    parser.add_argument("--figure", help="where to draw misses against false alarms")
    parser.add_argument("--twin", action="store_true", help="on the twin, offline")
    options = parser.parse_args()
    with in_one_line(parser):
        main(options.runs, options.figure, options.twin)
