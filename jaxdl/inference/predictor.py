"""Predictions of a trained run for image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.images import pixels
from jaxdl.data.images.canvas import fit
from jaxdl.data.images.lazy import EncodedFiles, LazyImages
from jaxdl.data.user_files import below
from jaxdl.errors import UserError
from jaxdl.inference.restored import RestoredRun
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import PredictsImages
from jaxdl.tasks.answer import Answer
from jaxdl.training.evaluation import average_views, transformed
from jaxdl.training.state import State
from jaxdl.training.step import Batch, forward
from jaxdl.transforms import compose

_BATCH = 32
_CENTER = 4  # of ten views: four corners, the center, and the mirror images of these


class Prediction(NamedTuple):
    """The prediction for an image.

    Attributes:
      path: of the image.
      pixels: (height, width, channels), as the model sees it; for detectors, the original image.
      answers: the task's: the likeliest classes, or boxes.
    """

    path: Path
    pixels: UInt8[np.ndarray, "height width channels"]
    answers: Sequence[Answer]


class _Images(NamedTuple):
    """Some of the images: as a batch for the model, and as they are shown."""

    batch: dict[str, np.ndarray]
    pixels: Sequence[UInt8[np.ndarray, "height width channels"]]


class Predictor:
    """Predicts images with a trained run.

    Args:
      run: of a task that `PredictsImages`, with a checkpoint.

    Raises:
      UserError: the run's task or input is another, or it has no sound checkpoint.
    """

    def __init__(self, run: Run) -> None:
        restored = self._run = RestoredRun(run)
        task = restored.task
        if not isinstance(task, PredictsImages):
            raise UserError(f"--workdir {run.folder}: its task does not predict images")
        column = restored.columns.get(task.input, {})
        if column.get("dtype") != "uint8" or len(column["shape"]) != 3:
            raise UserError(f"--workdir {run.folder}: {task.input!r}, its input, is not an image")
        self._task, self._shape, self._state = task, tuple(column["shape"]), restored.state
        self._program = jit(
            transformed(self._outputs, compose([restored.views, restored.transform]))
        )

    def __call__(
        self, paths: Sequence[Path], top: int | None = None, score: float | None = None
    ) -> Iterator[Prediction]:
        """Predictions of images, in their order, by one compiled program.

        Args:
          paths: of the images; each is scaled, and perhaps cropped, as in evaluation.
          top: the most classes or boxes for an image.
          score: the least score of a class or box.

        Raises:
          UserError: an image is missing or damaged.
        """
        load, size = self._loader(paths), max(1, min(len(paths), _BATCH))
        for start in range(0, len(paths), size):
            part = paths[start : start + size]
            images = load(slice(start, start + size))
            rows = np.arange(size) % len(part)  # the last batch is padded
            batch = {name: column[rows] for name, column in images.batch.items()}
            with self._run.precision.enabled():
                outputs = self._program(self._state, batch)
                answers = self._task.answers(outputs, batch, self._run.classes, top, score)
            yield from map(Prediction, part, images.pixels, answers[: len(part)])

    def _loader(self, paths: Sequence[Path]) -> Callable[[slice], _Images]:
        """A function that loads some of the images, as evaluation would see them."""
        column = self._task.input
        if "extent" in self._run.columns:
            return lambda rows: self._on_canvases(paths[rows])
        if self._run.crop is not None:
            files = EncodedFiles(Path(), [str(path) for path in paths])
            lazy = LazyImages(files, self._run.crop, self._shape[-1])

            def crop(rows: slice) -> _Images:
                images = lazy[rows]
                return _Images(
                    {column: images}, [*(images if images.ndim == 4 else images[:, _CENTER])]
                )

            return crop

        def resize(rows: slice) -> _Images:
            part = paths[rows]
            images = np.empty((len(part), *self._shape), np.uint8)
            pixels.decode(part, images, lambda i: str(part[i]), self._run.fit)
            return _Images({column: images}, [*images])

        return resize

    def _on_canvases(self, paths: Sequence[Path]) -> _Images:
        """The original images, and scaled to fit the canvas that the detector was trained on."""
        images = [pixels.read(path, self._shape[-1]) for path in paths]
        fitted = [fit(image, self._shape[:2]) for image in images]
        canvases, scales, extents = zip(*fitted, strict=True)
        batch = {
            self._task.input: np.stack(canvases),
            "scale": np.array(scales, np.float32),
            "extent": np.array(extents, np.float32),
        }
        return _Images(batch, images)

    def _outputs(self, state: State, batch: Batch) -> Any:
        model, precision = average_views(self._run.model), self._run.precision
        return forward(model, self._task, precision, state.eval_params, state, batch, None)[0]


def image_files(places: Sequence[str]) -> list[Path]:
    """Paths of images: files, and the images in folders, in alphabetical order.

    Raises:
      UserError: a file does not exist, or a folder has no images.
    """
    files: list[Path] = []
    for path in map(Path, places):
        inside = below(path, pixels.SUFFIXES, deep=False)
        if path.is_dir() and not inside:
            raise UserError(f"{path}: a folder without images ({', '.join(pixels.SUFFIXES)})")
        if not path.exists():
            raise UserError(f"{path}: no such file; give images, or folders of them")
        files += inside if path.is_dir() else [path]
    return files
