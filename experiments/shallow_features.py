"""Features that are not learned: SIFT on a grid, visual words, a spatial pyramid and an SVM.

    python experiments/shallow_features.py [imagenette/160px-v2 cifar10] [--figure shallow.png]
        [--beside imagenette:ResNet-18=0.752 …] [--twin]

Lazebnik, Schmid and Ponce (2006), "Beyond Bags of Features": SIFT of patches of 16x16 pixels, 8
apart (of CIFAR-10's images, made twice as large, 4 apart), in one of `--words` words that k-means
finds; an image is the counts of its words, of the whole (a bag of words), or of the whole, its
quarters and its sixteenths, weighted 1/4, 1/4 and 1/2 (a spatial pyramid of levels 0 to 2). On 15
scenes, with 200 words, the bag reached 72.2 % and the pyramid 81.1 %.

The kernel of the SVM is theirs, the intersection of histograms. As all images have as many patches,
counts need not be normalised, and the minimum of two whole counts is the dot product of as many
ones; so a linear SVM on ones in place of counts is exactly an SVM of that kernel (Maji and Berg
2009).

C is chosen on a fifth of the training images, and the SVM trained again on all; the test split is
looked at once, and all of it counts. `--examples` takes so many training images at most.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from arguments import count, in_one_line, seed
from scipy.sparse import csr_matrix
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from jaxdl import data
from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.figures import save
from jaxdl.figures.canvas import BLUE, GREY, canvas
from jaxdl.terminal import say

Reached = dict[str, dict[str, float]]  # data set -> what was measured -> test accuracy

_PATCH = 16  # pixels of a side, of 4x4 cells
_CV2_CELL = 1.5  # a cell of OpenCV's SIFT is so many times the `size` of its keypoint
_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # C
_WEIGHTS = {"bag of words": (1.0,), "spatial pyramid": (0.25, 0.25, 0.5)}  # of levels
_SEEN = 200_000  # descriptors that k-means sees
# What of an image is looked at: settings of the source, how much larger it is made, and the grid.
_DATA = {
    "imagenette": (dict(test="validation", crop=data.Crop(160, resize=160)), 1, 8),
    "cifar10": (dict(columns=("image", "label")), 2, 4),
}


def grid(side: int, spacing: int) -> np.ndarray:
    """The middles of the patches along one side of an image, in pixels from its edge."""
    return np.arange(_PATCH // 2, side - _PATCH // 2 + 1, spacing)


def sift(image: np.ndarray, larger: int, spacing: int) -> np.ndarray:
    """(side, side, 3) uint8 -> (patches, 128), upright, row by row."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=larger, fy=larger, interpolation=cv2.INTER_CUBIC)
    size = _PATCH / 4 / _CV2_CELL
    points = [
        cv2.KeyPoint(x - 0.5, y - 0.5, size, 0.0)  # OpenCV counts from the middle of a pixel
        for y in grid(grey.shape[0], spacing).astype(float)
        for x in grid(grey.shape[1], spacing).astype(float)
    ]
    return cv2.SIFT_create().compute(grey, points)[1]


def descriptors(table: Table, rows: np.ndarray, larger: int, spacing: int) -> Iterator[np.ndarray]:
    """Of 200 images at a time, (images, patches, 128)."""
    for few in np.array_split(rows, -(-len(rows) // 200)):
        yield np.stack([sift(x, larger, spacing) for x in table[few]["image"]])


def vocabulary(table: Table, rows: np.ndarray, words: int, look: Callable, seed: int) -> Callable:
    """k-means of descriptors of images: a function from descriptors to words."""
    rng = np.random.default_rng(seed)
    few = rng.permutation(rows)[:2000]
    share = np.concatenate(
        [
            x[:, rng.permutation(x.shape[1])[: max(1, _SEEN // len(few))]].reshape(-1, 128)
            for x in look(table, few)
        ]
    )
    if len(share) < words:
        raise UserError(f"--words {words}: more than the {len(share):,} patches; give fewer words")
    found = MiniBatchKMeans(words, batch_size=4096, n_init=1, random_state=seed).fit(share)
    return lambda x: found.predict(x.reshape(-1, 128)).reshape(x.shape[:-1])


def pyramid(words: np.ndarray, vocabulary: int, weights: tuple[float, ...]) -> csr_matrix:
    """The counts of words in the cells of each level, with ones in place of counts.

    Args:
      words: of the patches of each image, row by row, (images, patches).
      vocabulary: how many words there are.
      weights: of the levels; level l has 4^l cells.

    Returns:
      (images, features), where the dot product of two rows is the sum over levels of the weighted
      intersections of their histograms, each of sum 1.
    """
    images, patches = words.shape
    side = int(np.sqrt(patches))
    y, x = np.divmod(np.arange(patches), side)
    columns, before = [], 0
    for level in range(len(weights)):
        cells = 2**level
        cell = y * cells // side * cells + x * cells // side
        key = np.sort(cell * vocabulary + words, axis=1)  # of an image, those alike together
        first = np.arange(patches) * (np.diff(key, axis=1, prepend=-1) != 0)
        rank = np.arange(patches) - np.maximum.accumulate(first, axis=1)  # among those alike
        columns.append((before + key) * patches + rank)
        before += cells**2 * vocabulary
    values = np.repeat(np.sqrt(np.array(weights) / patches), patches)
    starts = np.arange(images + 1) * len(values)
    return csr_matrix(
        (np.tile(values, images), np.concatenate(columns, axis=1).ravel(), starts),
        shape=(images, before * patches),
    )


def accuracy(
    x: dict[str, csr_matrix], label: dict[str, np.ndarray], seed: int
) -> tuple[float, float, float]:
    """The chosen C, and its accuracy on the fifth that chose it and on the test split."""

    def fitted(c: float, rows: slice) -> LinearSVC:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            svm = LinearSVC(C=c, random_state=seed).fit(x["train"][rows], label["train"][rows])
        if caught:
            say(f"  C = {c:g}: stopped before it had converged")
        return svm

    cut = len(label["train"]) * 4 // 5
    part, rest = slice(cut), slice(cut, None)
    shares = {c: fitted(c, part).score(x["train"][rest], label["train"][rest]) for c in _STRENGTHS}
    best = max(shares, key=lambda c: shares[c])
    return best, shares[best], fitted(best, slice(None)).score(x["test"], label["test"])


def measure(name: str, options: argparse.Namespace) -> dict[str, float]:
    """The test accuracy on a data set, by kind of feature, and images if some were left out."""
    settings, larger, spacing = _DATA[short(name)]
    splits = data.load("tfds", dataset=name, twin=options.twin, **settings)
    order = np.random.default_rng(options.seed).permutation(len(splits["train"]))
    rows = {"train": order[: options.examples], "test": np.arange(len(splits["test"]))}
    label = {role: splits[role].columns["label"][rows[role]] for role in rows}

    def look(table: Table, rows: np.ndarray) -> Iterator[np.ndarray]:
        return descriptors(table, rows, larger, spacing)

    named = vocabulary(splits["train"], rows["train"], options.words, look, options.seed)
    words = {
        role: np.concatenate([named(x) for x in look(splits[role], rows[role])]) for role in rows
    }
    say(
        f"{name}: {len(label['train']):,} of {len(order):,} training images, "
        f"{words['train'].shape[1]} patches each, {options.words} words"
    )
    part = "" if len(rows["train"]) == len(order) else f",\n{len(rows['train']):,} images"
    reached = {}
    for kind, weights in _WEIGHTS.items():
        x = {role: pyramid(words[role], options.words, weights) for role in rows}
        seen = np.unique(x["train"].indices)  # what no training image has teaches nothing
        x = {role: x[role][:, seen] for role in rows}
        c, chosen, share = accuracy(x, label, options.seed)
        reached[kind + part] = share
        say(
            f"{kind:16} C = {c:<5g} validation/accuracy {chosen:.4f}   "
            f"test/accuracy {share:.4f}   over {len(label['test']):,}"
        )
    return reached


def draw(shallow: Reached, deep: Reached, which: str, path: str) -> None:
    """Bars: of each data set what was measured here, and below it what stands beside it."""
    figure, axes = canvas(len(shallow), side=3.5)
    for ax, name in zip(axes, shallow, strict=True):
        bars = {**shallow[name], **deep.get(short(name), {})}
        colors = [BLUE if kind in shallow[name] else GREY for kind in bars]
        ax.bar_label(ax.barh([*bars], [*bars.values()], color=colors), fmt="{:.3f}", padding=3)
        ax.invert_yaxis()
        ax.set(title=which + name, xlabel="test accuracy")
        ax.set(xlim=(0, 1.1), xticks=np.linspace(0, 1, 6))
    save(figure, Path(path))


def short(name: str) -> str:
    """The name of a data set without config and version.

    Raises:
      UserError: this study does not know it.
    """
    if (known := name.split("/")[0].split(":")[0]) not in _DATA:
        raise UserError(f"{name}: a data set of this study is one of {', '.join(_DATA)}")
    return known


def beside(values: list[str], names: list[str]) -> Reached:
    """`--beside`, by data set and name."""
    given: Reached = {}
    for value in values:
        where, colon, rest = value.partition(":")
        kind, equals, number = rest.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not (colon and equals and kind and 0 <= share <= 1):
            raise UserError(f"--beside {value}: give DATA:NAME=SHARE, as cifar10:ResNet-20=0.9001")
        if where not in map(short, names):
            raise UserError(f"--beside {value}: {where} is not measured; give {', '.join(names)}")
        given.setdefault(where, {})[kind] = share
    return given


def main(options: argparse.Namespace) -> None:
    if options.examples is not None and options.examples < 10:
        raise UserError(f"--examples {options.examples}: a fifth decides; give at least 10")
    if options.figure and Path(options.figure).suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure {options.figure}: must end with .png, .pdf or .svg")
    for name in options.data:
        short(name)
    deep = beside(options.beside, options.data)
    shallow = {name: measure(name, options) for name in dict.fromkeys(options.data)}
    if options.figure:
        draw(shallow, deep, "twin of " * options.twin, options.figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", default=["imagenette/160px-v2", "cifar10"])
    parser.add_argument("--words", type=count, default=400)
    parser.add_argument("--examples", type=count, help="training images at most; by default all")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--figure", help="where to draw all data sets, shallow against deep")
    parser.add_argument(
        "--beside", nargs="*", default=[], help="measured elsewhere, as cifar10:ResNet-20=0.9001"
    )
    parser.add_argument("--twin", action="store_true", help="on the twin, offline")
    options = parser.parse_args()
    with in_one_line(parser):
        main(options)
