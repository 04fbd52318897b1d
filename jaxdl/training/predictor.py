"""Predicting with what a run has learnt, of images that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxdl.data import pixels
from jaxdl.data.boxes import fit
from jaxdl.data.photos import Files, Photos
from jaxdl.data.transforms import compose
from jaxdl.errors import UserError
from jaxdl.runs import Run
from jaxdl.tasks.answer import Answer
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
      pixels: (height, width, channels), as the model was given it; where there may be boxes, as it
        was.
      answers: what the task says of it: the likeliest classes, or boxes.
    """

    path: Path
    pixels: UInt8[np.ndarray, "height width channels"]
    answers: Sequence[Answer]


class Seen(NamedTuple):
    """Some of the images: the batch that they make, and as they are shown."""

    batch: dict[str, np.ndarray]
    pixels: Sequence[UInt8[np.ndarray, "height width channels"]]


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
        self._program = jit(transformed(self._outputs, compose([learnt.views, learnt.transform])))

    def __call__(
        self, paths: Sequence[Path], top: int | None = None, score: float | None = None
    ) -> Iterator[Prediction]:
        """Predictions of images, in their order, from one compiled program.

        Args:
          paths: of the images; each is scaled, and perhaps cropped, to what the model was trained
            on.
          top: how many classes or boxes to name at most.
          score: the least score of those.

        Raises:
          UserError: an image is missing or damaged.
        """
        see, size = self._sight(paths), max(1, min(len(paths), _BATCH))
        for start in range(0, len(paths), size):
            part = paths[start : start + size]
            seen = see(slice(start, start + size))
            rows = np.arange(size) % len(part)  # the last batch, filled up
            batch = {name: column[rows] for name, column in seen.batch.items()}
            with self._learnt.precision.enabled():
                outputs = self._program(self._state, batch)
                answers = self._task.shown(outputs, batch, self._learnt.classes, top, score)
            yield from map(Prediction, part, seen.pixels, answers[: len(part)])

    def _sight(self, paths: Sequence[Path]) -> Callable[[slice], Seen]:
        """What makes of some of the images what evaluation would see of them."""
        column = self._task.input
        if "extent" in self._learnt.columns:
            return lambda rows: self._on_canvases(paths[rows])
        if self._learnt.crop is not None:
            files = Files(Path(), [str(path) for path in paths])
            photos = Photos(files, self._learnt.crop, self._shape[-1])

            def look(rows: slice) -> Seen:
                images = photos[rows]
                return Seen(
                    {column: images}, [*(images if images.ndim == 4 else images[:, _MIDDLE])]
                )

            return look

        def see(rows: slice) -> Seen:
            part = paths[rows]
            images = np.empty((len(part), *self._shape), np.uint8)
            pixels.decode(part, images, lambda i: str(part[i]), resize=True)
            return Seen({column: images}, [*images])

        return see

    def _on_canvases(self, paths: Sequence[Path]) -> Seen:
        """The images as they are, and scaled to fit what a detector was trained on."""
        images = [pixels.read(path, self._shape[-1]) for path in paths]
        fitted = [fit(image, self._shape[:2]) for image in images]
        canvases, scales, extents = zip(*fitted, strict=True)
        batch = {
            self._task.input: np.stack(canvases),
            "scale": np.array(scales, np.float32),
            "extent": np.array(extents, np.float32),
        }
        return Seen(batch, images)

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
