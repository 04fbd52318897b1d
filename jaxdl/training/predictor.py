"""Predicting with what a run has learnt, of images that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxdl.data import pixels
from jaxdl.data.photos import Files, Photos
from jaxdl.errors import UserError
from jaxdl.runs import Run
from jaxdl.training.devices import jit
from jaxdl.training.evaluation import averaged, transformed
from jaxdl.training.learnt import Learnt
from jaxdl.training.state import State
from jaxdl.training.step import Batch, forward

_BATCH = 32
_MIDDLE = 4  # of ten views: four corners, the middle, and their mirror images
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Prediction(NamedTuple):
    """What is predicted of an image.

    Attributes:
      path: of the image.
      pixels: as the model was given it, (height, width, channels).
      answers: (name, value) pairs, as the task shows them: of classification, the likeliest
        classes and their probabilities.
    """

    path: Path
    pixels: UInt8[np.ndarray, "height width channels"]
    answers: Sequence[tuple[str, float]]


class Predictor:
    """What a run has learnt to predict of images.

    Args:
      run: of a task on images that has a method `shown`, with a checkpoint.

    Raises:
      UserError: it is no such run.
    """

    def __init__(self, run: Run) -> None:
        learnt = self._learnt = Learnt(run)
        task: Any = learnt.task
        if not hasattr(task, "shown"):  # as classification has
            raise UserError(f"--workdir {run.folder}: its task has nothing to say of an image")
        column = learnt.columns.get(task.input, {})
        if column.get("dtype") != "uint8" or len(column["shape"]) != 3:
            raise UserError(f"--workdir {run.folder}: {task.input!r}, its input, is no image")
        self._task, self._shape, self._state = task, tuple(column["shape"]), learnt.state
        self._program = jit(transformed(self._outputs, learnt.transform))

    def __call__(self, paths: Sequence[Path], top: int) -> Iterator[Prediction]:
        """Predictions of images, in their order, from one compiled program.

        Args:
          paths: of the images; each is scaled and cropped to what the model was trained on.
          top: how many classes to name.

        Raises:
          UserError: an image is missing or damaged.
        """
        see, size = self._sight(paths), max(1, min(len(paths), _BATCH))
        for start in range(0, len(paths), size):
            images = see(slice(start, start + size))
            full = images[np.arange(size) % len(images)]  # the last batch, filled up
            with self._learnt.precision.enabled():
                outputs = self._program(self._state, {self._task.input: full})[: len(images)]
                answers = self._task.shown(outputs, self._learnt.classes, top)
            shown = images if images.ndim == 4 else images[:, _MIDDLE]
            yield from map(Prediction, paths[start : start + size], shown, answers)

    def _sight(self, paths: Sequence[Path]) -> Callable[[slice], UInt8[np.ndarray, "..."]]:
        """What makes of some of the images what evaluation would see of them."""
        if self._learnt.crop is not None:
            files = Files(Path(), [str(path) for path in paths])
            return Photos(files, self._learnt.crop, self._shape[-1]).__getitem__

        def see(rows: slice) -> UInt8[np.ndarray, "images height width channels"]:
            part = paths[rows]
            images = np.empty((len(part), *self._shape), np.uint8)
            pixels.decode(part, images, lambda i: str(part[i]), resize=True)
            return images

        return see

    def _outputs(self, state: State, batch: Batch) -> Any:
        model, precision = averaged(self._learnt.model), self._learnt.precision
        return forward(model, self._task, precision, state.evaluated, state, batch, None)[0]


def image_files(given: Sequence[str]) -> list[Path]:
    """The images that are given; of a folder, those in it, in alphabetical order.

    Raises:
      UserError: a file is not there, or a folder has no images.
    """
    files: list[Path] = []
    for path in map(Path, given):
        inside = sorted(p for p in path.glob("*") if p.suffix.lower() in _SUFFIXES)
        if path.is_dir() and not inside:
            raise UserError(f"{path}: a folder without images ({', '.join(_SUFFIXES)})")
        if not path.exists():
            raise UserError(f"{path}: no such file; give images, or folders of them")
        files += inside if path.is_dir() else [path]
    return files
