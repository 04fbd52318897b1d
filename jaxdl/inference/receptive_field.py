"""What units of a network see: the part of the image that each output of a layer depends on.

Found by experiment, so whatever the network is made of. Its weights become positive, and its biases
and the means of its norms 0, so that nothing cancels out and every ReLU is open: the outputs for a
black image are those of no input at all. Then lines of the image are lit, one at a time, and the
outputs that differ are those that see the line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxdl.errors import UserError
from jaxdl.inference.restored import RestoredRun
from jaxdl.training.evaluation import transformed
from jaxdl.training.state import State

_LINES = 32  # that are lit in one compiled call
_LIGHT = 1e4  # of which float32 shows 1e-38, the share that the rim of a deep window has


class ReceptiveField(NamedTuple):
    """The part of the image that each output of a layer depends on, within its borders.

    Attributes:
      rows: (rows of the layer, 2), the first row of the image and the one after the last.
      columns: (columns of the layer, 2), likewise.
    """

    rows: Int[np.ndarray, "rows 2"]
    columns: Int[np.ndarray, "columns 2"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest part, in pixels."""
        height, width = (int(np.max(x[:, 1] - x[:, 0])) for x in (self.rows, self.columns))
        return height, width

    def boxes(self, places: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape 4"]:
        """(top, left, bottom, right) of places that are counted row by row, in pixels."""
        row, column = np.divmod(places, len(self.columns))
        (top, bottom), (left, right) = self.rows[row].T, self.columns[column].T
        return np.stack([top.T, left.T, bottom.T, right.T], axis=-1)


class ReceptiveFields:
    """Finds receptive fields in the network of a run; its programs are compiled once.

    Args:
      run: on images; its weights do not matter.
    """

    def __init__(self, run: RestoredRun) -> None:
        self._run = run
        self._reached = jax.jit(self._reach, static_argnums=(0, 1))

    def of(self, layers: Mapping[str, tuple[int, ...]]) -> dict[str, ReceptiveField]:
        """What the outputs of layers see; of a layer without positions, all of the image.

        Args:
          layers: name of a module -> shape of its outputs for an example.

        Raises:
          UserError: an output sees no pixel; or the run's transforms change the image's shape.
        """
        height, width, channels = self._run.columns[self._run.task.input]["shape"]
        whole = ReceptiveField(np.array([[0, height]]), np.array([[0, width]]))
        placed = tuple(name for name, shape in layers.items() if len(shape) == 3)
        if not placed:
            return dict.fromkeys(layers, whole)
        _, *seen = transformed_shape(self._run)
        if seen[:2] != [height, width]:
            raise UserError(
                f"config.data.transforms: turn images of {height}×{width}×{channels} into "
                f"{'×'.join(map(str, seen))}, so the pixels that a unit sees are unknown"
            )
        rows, columns = (
            {name: _spans(reached, name) for name, reached in self._probe(placed, axis).items()}
            for axis in (0, 1)
        )
        found = {name: ReceptiveField(rows[name], columns[name]) for name in placed}
        return {name: found.get(name, whole) for name in layers}

    def _probe(
        self, layers: tuple[str, ...], axis: int
    ) -> dict[str, Bool[np.ndarray, "lines outputs"]]:
        """Which rows (columns) of layers see each row (column) of the image."""
        state, found = self._run.state, []
        params, model_state = (
            jax.tree_util.tree_map_with_path(_positive, tree)
            for tree in (state.params, state.model_state)
        )
        state = replace(state, params=params, model_state=model_state, ema=None)
        shape = transformed_shape(self._run)[1:]
        length, each = shape[axis], np.arange(min(_LINES, shape[axis]))
        # A GPU may convolve by transforms, which leave a trace of what lies beyond the window.
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            for start in range(0, length, len(each)):
                images = np.zeros((len(each) + 1, *shape), np.float32)
                images[1:].swapaxes(1, 1 + axis)[each, (start + each) % length] = _LIGHT
                reached = self._reached(layers, axis, state, images)
                found.append({name: np.asarray(x)[: length - start] for name, x in reached.items()})
        return {name: np.concatenate([part[name] for part in found]) for name in layers}

    def _reach(
        self, layers: tuple[str, ...], axis: int, state: State, images: Array
    ) -> dict[str, Array]:
        """For each image but the first, which rows (columns) of layers' outputs differ."""
        run, zeros = self._run, jax.tree.map(jnp.asarray, self._run.blank(len(images)))
        batch = {**run.transforms.always(zeros, state.key("transform")), run.task.input: images}
        assert run.model.inside is not None
        inputs = run.task.inputs(batch)
        _, modules = run.model.inside(state.params, state.model_state, inputs, {}, True)
        differ = {name: modules[name][1:] != modules[name][:1] for name in layers}
        return {name: jnp.any(x, axis=(2 - axis, 3)) for name, x in differ.items()}


def transformed_shape(run: RestoredRun) -> tuple[int, ...]:
    """Of a batch of one image as the model takes it."""
    with run.precision.enabled():
        whole = transformed(lambda state, batch: batch[run.task.input], run.transforms.always)
        return jax.eval_shape(whole, run.state, run.blank(1)).shape


def _positive(path: tuple[Any, ...], weights: Any) -> np.ndarray:
    """What stands for a parameter or for a norm's statistics: 0, or the mean over its inputs."""
    shape, name = np.shape(weights), getattr(path[-1], "key", "")
    if name in ("bias", "mean"):
        return np.zeros(shape, np.float32)
    return np.full(shape, 1 / max(1, math.prod(shape[:-1])), np.float32)


def _spans(reached: np.ndarray, layer: str) -> Int[np.ndarray, "outputs 2"]:
    """The first line that reaches each output, and the one after the last, of (lines, outputs)."""
    if not reached.any(axis=0).all():
        raise UserError(
            f"layer {layer}: has outputs that depend on no pixel, so there are no patches"
        )
    return np.stack([reached.argmax(0), len(reached) - reached[::-1].argmax(0)], axis=1)
