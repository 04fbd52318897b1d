"""Looks inside an image network: what its units see, what excites them, where it sees a class.

    explainer = jaxdl.load("runs/imagenette_alexnet").explainer
    explainer.filters()                                  of the first convolution
    explainer.receptive_field("features/8").size         (131, 131), of pixels
    explainer.strongest(table, "features/8").rows[5]     the nine examples that excite unit 5 most
    explainer.maps(["photo.jpg"]).grad_cam               where the predicted class is seen

A layer is a module of the model, named by its path, and a unit is one of its channels, the last
axis of its outputs. All pixels are those of the image as the network gets it, scaled and cropped.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxdl.errors import UserError, brief, near, printable, some
from jaxdl.inference.class_maps import Maps, attribute, inside
from jaxdl.inference.inputs import kind_of
from jaxdl.inference.predictor import Predictor, middle_view
from jaxdl.inference.receptive_field import (
    ReceptiveField,
    ReceptiveFields,
    transformed_shape,
)
from jaxdl.inference.restored import RestoredRun
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import GivesLogits
from jaxdl.tasks.answer import class_names
from jaxdl.training.evaluation import transformed
from jaxdl.training.state import State
from jaxdl.tree import flatten
from jaxdl.types import Batch

_NAMED = 12  # layers in a message

Images = UInt8[np.ndarray, "examples height width channels"]


class Strongest(NamedTuple):
    """The examples that excite units most, strongest first, each by its best position.

    Attributes:
      units: which units.
      values: the outputs there.
      rows: the examples, by their rows in the table.
      boxes: (top, left, bottom, right) of what the unit sees there, in pixels.
      size: height and width of what it sees where no border of the image is near, in pixels.
    """

    units: Int[np.ndarray, " units"]
    values: Float[np.ndarray, "units top"]
    rows: Int[np.ndarray, "units top"]
    boxes: Int[np.ndarray, "units top 4"]
    size: tuple[int, int]

    def of(self, units: Sequence[int] | np.ndarray) -> Strongest:
        """Those of some units, by their places here."""
        at = np.asarray(units, int)
        return Strongest(self.units[at], self.values[at], self.rows[at], self.boxes[at], self.size)

    def most_active(self, count: int) -> Strongest:
        """Those of the units whose strongest examples excite them most, on average."""
        order = np.argsort(-self.values.mean(axis=1), kind="stable")
        return self.of(order[:count])


class Explainer:
    """Looks inside the network of a run on images; its programs are compiled once.

    Args:
      run: with a checkpoint.
      predictor: of the run.

    Raises:
      UserError: the run does not read images, one an example and nothing else; or its model is not
        a Flax module.
    """

    def __init__(self, run: RestoredRun, predictor: Predictor) -> None:
        self._run, self._predictor, self._input = run, predictor, run.task.input
        where, needed = run.directory.folder, predictor.needed
        kind = kind_of(run, needed)
        if kind != "images":
            raise UserError(f"{where}: reads {kind}; only image networks can be explained")
        single = len(run.columns[self._input]["shape"]) == 3
        if needed - {"extent", "scale"} != {self._input} or not single:
            raise UserError(
                f"{where}: reads more than one image per example; only networks of single images "
                "can be explained"
            )
        if run.model.inside is None:
            raise UserError(
                f"{where}: its model is not a Linen module, so its layers cannot be seen"
            )
        self._strongest = self._program(self._best, 1)
        self._maps = self._program(functools.partial(attribute, run), 2)
        self._fields = ReceptiveFields(run)

    # ---- Layers

    @functools.cached_property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the outputs of each module for an example, in the order of its calls.

        (rows, columns, units) or (units,); modules whose outputs are something else are left out.
        """
        order: list[str] = []

        def outputs(state: State, batch: Batch) -> dict[str, Array]:
            _, modules = inside(self._run, state, batch)
            found = {name: x for name, x in modules.items() if getattr(x, "ndim", 0) in (2, 4)}
            order.extend(found)
            return found

        with self._run.precision.enabled():
            whole = transformed(outputs, self._run.transforms.always)
            shapes = jax.eval_shape(whole, self._run.state, self._run.blank(1))
        return {name: shapes[name].shape[1:] for name in order}

    @functools.cached_property
    def kernels(self) -> dict[str, Float[np.ndarray, "height width inputs filters"]]:
        """The kernels of the convolutions, by the names of their layers, in the order of calls."""
        weights = flatten(self._run.state.eval_params)
        kernels = {name: weights.get(f"{name}/kernel", 0.0) for name in self.layers}
        return {k: np.asarray(w, np.float32) for k, w in kernels.items() if np.ndim(w) == 4}

    def filters(self) -> Float[np.ndarray, "height width inputs filters"]:
        """The kernel of the first convolution.

        Raises:
          UserError: there is none.
        """
        return self.kernels[self._convolutions()[0]]

    @property
    def last_layer(self) -> str:
        """What Grad-CAM is of by default: the last convolution, or what ends at its resolution.

        Of a residual network, for instance, the last block, whose outputs are after its sum and
        ReLU; of AlexNet, in which no module pools, the fifth convolution.

        Raises:
          UserError: there is no convolution.
        """
        last = self._convolutions()[-1]
        names = [*self.layers]
        after = names[names.index(last) :]
        alike = [name for name in after if self.layers[name][:-1] == self.layers[last][:-1]]
        return alike[-1]

    def check_layer(self, name: str) -> tuple[int, ...]:
        """The shape of a layer's outputs.

        Raises:
          UserError: there is no such layer; the message has those that are near.
        """
        if name in self.layers:
            return self.layers[name]
        told = some(self.layers, _NAMED, ", ") or "none"
        hint = near(name, self.layers, most=3)
        raise UserError(f"layer: unknown {brief(name)}; {hint}the network has {told}")

    def check_units(self, layer: str, units: Sequence[int] | None) -> Int[np.ndarray, " units"]:
        """Units of a layer, by default all.

        Raises:
          UserError: as `check_layer`; or the layer has no such unit.
        """
        count = self.check_layer(layer)[-1]
        for unit in units or ():
            if not 0 <= unit < count:
                raise UserError(f"units: {layer} has units 0 to {count - 1}, not {unit}")
        return np.arange(count) if units is None else np.asarray(units, int)

    # ---- What units see

    def receptive_field(self, layer: str) -> ReceptiveField:
        """What each output of a layer sees of the image; of a layer without positions, all of it.

        Raises:
          UserError: as `check_layer`; or an output sees no pixel.
        """
        return self.receptive_fields([layer])[layer]

    def receptive_fields(self, layers: Sequence[str]) -> dict[str, ReceptiveField]:
        """The same of several layers, in one go."""
        return self._fields.of({name: self.check_layer(name) for name in layers})

    # ---- What excites units

    def strongest(
        self, data: Any, layer: str, units: Sequence[int] | None = None, top: int = 9
    ) -> Strongest:
        """The examples that excite units most (Zeiler and Fergus 2014, section 4.1).

        Each example counts once, by the position where the unit's output is greatest; of equal
        outputs the first. `images` gives the pixels.

        Args:
          data: a `Table`, or images as `predict` takes them; all of it is searched.
          layer: the name of a module.
          units: its units; by default all.
          top: how many examples of each, if there are so many.

        Raises:
          UserError: as `receptive_field`; or a unit is out of range, or an output not finite.
        """
        chosen = self.check_units(layer, units)
        field, table = self.receptive_field(layer), self._predictor.table(data)
        values = np.empty((0, len(chosen)), np.float32)
        places, rows = np.empty((2, 0, len(chosen)), int)
        program = functools.partial(self._strongest, layer)
        for start, (found, _, count) in _counted(self._predictor.each(program, table)):
            new, where = (np.asarray(x)[:count, chosen] for x in found)
            if not np.isfinite(new).all():
                raise UserError(f"layer {layer}: its outputs are not finite; has the run diverged?")
            numbers = np.broadcast_to(start + np.arange(count)[:, None], new.shape)
            values, places, rows = (
                np.concatenate(pair) for pair in ((values, new), (places, where), (rows, numbers))
            )
            order = np.argsort(-values, axis=0, kind="stable")[:top]
            values, places, rows = (
                np.take_along_axis(x, order, axis=0) for x in (values, places, rows)
            )
        return Strongest(chosen, values.T, rows.T, field.boxes(places.T), field.size)

    def images(self, data: Any, rows: Sequence[int] | np.ndarray) -> Images:
        """The images of examples as the network gets them, before its transforms."""
        batch = self._predictor.table(data)[np.asarray(rows, int)]
        return np.asarray(middle_view(self._run, batch)[self._input])

    # ---- Why it says what it says

    def maps(self, data: Any, *, name: str | None = None, layer: str | None = None) -> Maps:
        """Where in images the network sees a class; see `jaxdl.inference.class_maps`.

        Args:
          data: images as `predict` takes them, or a `Table`.
          name: of the class; by default that which is predicted of each image.
          layer: of Grad-CAM, by default `last_layer`.

        Raises:
          UserError: the run is not of classes, or has no such class or layer; or the layer has no
            positions.
        """
        task, where = self._run.task, self._run.directory.folder
        if not isinstance(task, GivesLogits):
            raise UserError(
                f"{where}: maps show classes, and {type(task).__name__}, the task of this run, has "
                "none; use --layer, which works for any image network"
            )
        layer = self.last_layer if layer is None else layer
        if len(self.check_layer(layer)) != 3 or len(transformed_shape(self._run)) != 4:
            raise UserError(f"layer {layer}: its outputs have no positions; name a convolution")
        chosen = -1 if name is None else self._class(name)
        table = self._predictor.table(data)
        program = functools.partial(self._maps, layer, chosen)
        found = []
        for made, batch, count in self._predictor.each(program, table):
            images = middle_view(self._run, batch)[self._input]
            found.append([np.asarray(part)[:count] for part in (images, *made)])
        seen, *made = (np.concatenate(parts) for parts in zip(*found, strict=True))
        classes, probabilities, grad_cam, saliency = made
        return Maps(seen, classes, probabilities, grad_cam, saliency, layer)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, or their numbers; empty where the task has none."""
        count = getattr(self._run.task, "classes", len(self._run.classes))
        return class_names(self._run.classes, count)

    # ---- Programs

    def _program(self, function: Any, settings: int) -> Any:
        """Compiled for the settings, its first arguments, of a state and a batch as it is read."""

        def whole(*words: Any) -> Any:
            (*fixed, state, batch), run = words, self._run
            program = transformed(functools.partial(function, *fixed), run.transforms.always)
            return program(state, middle_view(run, batch))

        return jit(whole, static_argnums=tuple(range(settings)))

    def _best(self, layer: str, state: State, batch: Batch) -> tuple[Array, Array]:
        """The greatest output of each unit for each example, and its place, row by row."""
        outputs = inside(self._run, state, batch)[1][layer]
        flat = outputs.reshape(len(outputs), -1, outputs.shape[-1]).astype(jnp.float32)
        return jnp.max(flat, axis=1), jnp.argmax(flat, axis=1)

    def _convolutions(self) -> list[str]:
        if not self.kernels:
            model = printable(self._run.config["model"]["name"])
            raise UserError(f"{self._run.directory.folder}: its model, {model}, has no convolution")
        return [*self.kernels]

    def _class(self, name: str) -> int:
        if name in self.classes:
            return self.classes.index(name)
        hint = near(name, self.classes)
        raise UserError(f"class: unknown {brief(name)}; {hint}the run has {brief(self.classes)}")


def _counted(results: Any) -> Any:
    """Each result, after the number of examples before it."""
    start = 0
    for result in results:
        yield start, result
        start += result[2]
