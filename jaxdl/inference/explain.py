"""Looking into a network of images: what its units see, what excites them, why it says what it says.

    explainer = jaxdl.load("runs/imagenette_alexnet").explainer
    explainer.filters()                                  of the first convolution
    explainer.receptive_field("features/8").size         (131, 131), of pixels
    explainer.strongest(table, "features/8").rows[5]     the nine examples that excite unit 5 most
    explainer.maps(["photo.jpg"]).grad_cam               where the predicted class is seen

A layer is a module of the model by its path, and a unit one of its channels: the last axis of its
outputs. Everything is of the image as the network gets it, once it is scaled and cropped.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxdl.errors import UserError, brief, printable
from jaxdl.inference.inputs import kind_of
from jaxdl.inference.predictor import Predictor, in_the_middle
from jaxdl.inference.restored import RestoredRun
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import GivesLogits
from jaxdl.tasks.answer import class_names
from jaxdl.training.evaluation import transformed
from jaxdl.training.state import State
from jaxdl.types import Batch

_LINES = 32  # of an image that are probed in one compiled call
_LIGHT = 1e4  # of these; a window of deep networks sees 1e-38 of a line at its rim
_NAMED = 12  # layers in a message

Images = UInt8[np.ndarray, "examples height width channels"]


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
        places = np.asarray(units, int)
        parts = (self.units, self.values, self.rows, self.boxes)
        return Strongest(*(part[places] for part in parts), self.size)

    def most_active(self, count: int) -> Strongest:
        """Those of the units whose strongest examples excite them most, on average."""
        order = np.argsort(-self.values.mean(axis=1), kind="stable")
        return self.of(order[:count])


class Maps(NamedTuple):
    """Where in images a class is seen.

    Attributes:
      images: as the network gets them, before its transforms.
      classes: the class that is explained of each.
      probabilities: of it.
      grad_cam: Grad-CAM, at least 0, at the resolution of its layer.
      saliency: the greatest magnitude of the gradient over the channels of each pixel.
      layer: of Grad-CAM.
    """

    images: Images
    classes: Int[np.ndarray, " examples"]
    probabilities: Float[np.ndarray, " examples"]
    grad_cam: Float[np.ndarray, "examples rows columns"]
    saliency: Float[np.ndarray, "examples height width"]
    layer: str


class Explainer:
    """Looks into the network of a run on images; its programs are compiled once.

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
            raise UserError(f"{where}: reads {kind}; only networks of images can be looked into")
        if needed - {"extent", "scale"} != {self._input} or self._shape(1)[3:] == ():
            raise UserError(
                f"{where}: reads more than one image an example; only networks of single images "
                "can be looked into"
            )
        if run.model.inside is None:
            raise UserError(f"{where}: its model is not a Flax module, so it has no layers to name")
        self._strongest = self._program(self._best, 1)
        self._maps = self._program(self._attribute, 2)
        self._reached = jax.jit(self._reach, static_argnums=(0, 1))

    # ---- Layers

    @functools.cached_property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the outputs of each module for an example, in the order of its calls.

        (rows, columns, units) or (units,); modules whose outputs are something else are left out.
        """
        order: list[str] = []

        def outputs(state: State, batch: Batch) -> dict[str, Array]:
            _, modules = self._inside(state, batch)
            found = {name: x for name, x in modules.items() if getattr(x, "ndim", 0) in (2, 4)}
            order.extend(found)
            return found

        with self._run.precision.enabled():
            whole = transformed(outputs, self._run.transform)
            shapes = jax.eval_shape(whole, self._run.state, self._blank(1))
        return {name: shapes[name].shape[1:] for name in order}

    @functools.cached_property
    def kernels(self) -> dict[str, Float[np.ndarray, "height width inputs filters"]]:
        """The kernels of the convolutions, by the names of their layers, in the order of calls."""
        found = {}
        for name in self.layers:
            node = self._run.state.eval_params
            for part in name.split("/"):
                node = node.get(part, {}) if isinstance(node, Mapping) else {}
            kernel = node.get("kernel") if isinstance(node, Mapping) else None
            if kernel is not None and np.ndim(kernel) == 4:
                found[name] = np.asarray(kernel, np.float32)
        return found

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
        near = difflib.get_close_matches(name, self.layers, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        listed = [*self.layers]
        more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
        told = f"{', '.join(listed[:_NAMED]) or 'none'}{more}"
        raise UserError(f"layer: unknown {brief(name)}; {hint}the network has {told}")

    def check_units(self, layer: str, units: Sequence[int] | None) -> Int[np.ndarray, " units"]:
        """Units of a layer, by default all.

        Raises:
          UserError: as `check_layer`; or the layer has no such unit.
        """
        count = self.check_layer(layer)[-1]
        chosen = np.arange(count) if units is None else np.asarray(units, int)
        for unit in chosen[(chosen < 0) | (chosen >= count)]:
            raise UserError(f"units: {layer} has units 0 to {count - 1}, not {unit}")
        return chosen

    # ---- What units see

    def receptive_field(self, layer: str) -> ReceptiveField:
        """What each output of a layer sees of the image; of a layer without positions, all of it.

        Raises:
          UserError: as `check_layer`; or an output sees no pixel.
        """
        return self.receptive_fields([layer])[layer]

    def receptive_fields(self, layers: Sequence[str]) -> dict[str, ReceptiveField]:
        """The same of several layers, in one go.

        Found by experiment, so whatever the network is made of. Its weights become positive, and
        its biases and the means of its norms 0, so that nothing cancels out and every ReLU is open:
        outputs for a black image are those of no input at all. Then lines of it are lit, one at a
        time, and outputs that differ are those that see the line.
        """
        shapes = {name: self.check_layer(name) for name in layers}
        height, width, channels = self._shape(1)[1:]
        whole = ReceptiveField(np.array([[0, height]]), np.array([[0, width]]))
        placed = tuple(name for name, shape in shapes.items() if len(shape) == 3)
        if not placed:
            return dict.fromkeys(layers, whole)
        seen = self._transformed_shape
        if seen[1:3] != (height, width):
            raise UserError(
                f"config.data.transforms: make {'×'.join(map(str, seen[1:]))} of images of "
                f"{height}×{width}×{channels}, so pixels of the two cannot be told apart"
            )
        found = [
            {name: _spans(reached[name], name) for name in placed}
            for reached in (self._probe(placed, 0, height), self._probe(placed, 1, width))
        ]
        rows, columns = found
        fields = {name: ReceptiveField(rows[name], columns[name]) for name in placed}
        return {name: fields.get(name, whole) for name in layers}

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
                np.concatenate(pair)
                for pair in ((values, new), (places, where), (rows, numbers))
            )
            order = np.argsort(-values, axis=0, kind="stable")[:top]
            values, places, rows = (
                np.take_along_axis(x, order, axis=0) for x in (values, places, rows)
            )
        return Strongest(chosen, values.T, rows.T, field.boxes(places.T), field.size)

    def images(self, data: Any, rows: Sequence[int] | np.ndarray) -> Images:
        """The images of examples as the network gets them, before its transforms."""
        batch = self._predictor.table(data)[np.asarray(rows, int)]
        return np.asarray(in_the_middle(self._run, batch)[self._input])

    # ---- Why it says what it says

    def maps(self, data: Any, *, name: str | None = None, layer: str | None = None) -> Maps:
        """Where in images the network sees a class.

        Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): ReLU(Σ_k α_k A^k), where A^k are the
        outputs of unit k of a layer, and α_k the mean over positions of the gradient of the class's
        logit for them. Saliency (Simonyan et al. 2014, section 3): the magnitude of the logit's
        gradient for the transformed image, of the channel where it is greatest. Where two classes
        share one logit, class 0 has its negative. Of several views the network is asked about one.

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
                f"{where}: maps are of classes, and {type(task).__name__}, the task of this run, "
                "has none; --layer looks into any network of images"
            )
        layer = self.last_layer if layer is None else layer
        if len(self.check_layer(layer)) != 3 or len(self._transformed_shape) != 4:
            raise UserError(f"layer {layer}: its outputs have no positions; name a convolution")
        chosen = -1 if name is None else self._class(name)
        table = self._predictor.table(data)
        program = functools.partial(self._maps, layer, chosen)
        found = []
        for made, batch, count in self._predictor.each(program, table):
            images = in_the_middle(self._run, batch)[self._input]
            found.append([np.asarray(part)[:count] for part in (images, *made)])
        return Maps(*(np.concatenate(parts) for parts in zip(*found, strict=True)), layer)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, or their numbers; empty where the task has none."""
        count = getattr(self._run.task, "classes", len(self._run.classes))
        return class_names(self._run.classes, count)

    # ---- Programs

    def _inside(
        self, state: State, batch: Batch, added: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Outputs of the model, and of its modules, for a transformed batch."""
        run = self._run
        assert run.model.inside is not None
        params, inputs = run.precision.to_compute((state.eval_params, run.task.inputs(batch)))
        return run.model.inside(params, state.model_state, inputs, added or {})

    def _program(self, function: Any, settings: int) -> Any:
        """Compiled for the settings, its first arguments, of a state and a batch as it is read."""

        def whole(*words: Any) -> Any:
            (*fixed, state, batch), run = words, self._run
            program = transformed(functools.partial(function, *fixed), run.transform)
            return program(state, in_the_middle(run, batch))

        return jit(whole, static_argnums=tuple(range(settings)))

    def _best(self, layer: str, state: State, batch: Batch) -> tuple[Array, Array]:
        """The greatest output of each unit for each example, and its place, row by row."""
        outputs = self._inside(state, batch)[1][layer]
        flat = outputs.reshape(len(outputs), -1, outputs.shape[-1]).astype(jnp.float32)
        return jnp.max(flat, axis=1), jnp.argmax(flat, axis=1)

    def _attribute(self, layer: str, chosen: int, state: State, batch: Batch) -> tuple[Array, ...]:
        """Class, its probability, Grad-CAM and saliency of each example."""
        run, image = self._run, jnp.asarray(batch[self._input])
        image = image if jnp.issubdtype(image.dtype, jnp.floating) else image.astype(jnp.float32)
        assert isinstance(task := run.task, GivesLogits)

        def score(image: Array, added: Array) -> tuple[Array, Any]:
            outputs, modules = self._inside(state, {**batch, self._input: image}, {layer: added})
            outputs = run.precision.to_outputs(outputs)
            logits = task.logits(outputs)
            best = jnp.argmax(logits, axis=-1) if chosen < 0 else jnp.full(len(logits), chosen)
            scores = logits - logits[:, ::-1] if outputs.ndim == 1 else logits
            probability = _of(best, jax.nn.softmax(logits, axis=-1))
            return jnp.sum(_of(best, scores)), (best, probability, modules[layer])

        like = jax.eval_shape(lambda: self._inside(state, batch)[1][layer])
        gradient = jax.grad(score, argnums=(0, 1), has_aux=True)
        grads, others = gradient(image, jnp.zeros(like.shape, like.dtype))
        best, probability, outputs = others
        by_pixel, by_unit = (grad.astype(jnp.float32) for grad in grads)
        weights = jnp.mean(by_unit, axis=(1, 2), keepdims=True)
        grad_cam = jax.nn.relu(jnp.sum(weights * outputs, axis=-1))
        return best, probability, grad_cam, jnp.max(jnp.abs(by_pixel), axis=-1)

    def _reach(self, layers: tuple[str, ...], axis: int, state: State, images: Array) -> Any:
        """For each image but the first, which rows (columns) of a layer's outputs differ."""
        run, blank = self._run, jax.tree.map(jnp.asarray, self._blank(len(images)))
        batch = {**run.transform(blank, state.key("transform")), self._input: images}
        assert run.model.inside is not None
        inputs = run.task.inputs(batch)
        _, modules = run.model.inside(state.params, state.model_state, inputs, {}, True)
        differ = {name: modules[name][1:] != modules[name][:1] for name in layers}
        return {name: jnp.any(x, axis=(2 - axis, 3)) for name, x in differ.items()}

    def _probe(self, layers: tuple[str, ...], axis: int, length: int) -> dict[str, np.ndarray]:
        """For each line of the image across an axis, (length, rows or columns of the layer)."""
        state, found = replace(self._run.state, ema=None, carry=None), []
        state = replace(
            state,
            params=jax.tree_util.tree_map_with_path(_positive, state.params),
            model_state=jax.tree_util.tree_map_with_path(_positive, state.model_state),
        )
        each = np.arange(min(_LINES, length))
        # A GPU may convolve by transforms, which leave a trace of what lies beyond the window.
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            for start in range(0, length, len(each)):
                images = np.zeros((len(each) + 1, *self._transformed_shape[1:]), np.float32)
                images[1:].swapaxes(1, 1 + axis)[each, (start + each) % length] = _LIGHT
                reached = self._reached(layers, axis, state, images)
                found.append({name: np.asarray(x)[: length - start] for name, x in reached.items()})
        return {name: np.concatenate([part[name] for part in found]) for name in layers}

    # ---- What the run reads

    @functools.cached_property
    def _transformed_shape(self) -> tuple[int, ...]:
        """Of one image as the model takes it, with the axis of examples."""
        run = self._run
        with run.precision.enabled():
            whole = transformed(lambda state, batch: batch[self._input], run.transform)
            return jax.eval_shape(whole, run.state, self._blank(1)).shape

    def _shape(self, size: int) -> tuple[int, ...]:
        return (size, *self._run.columns[self._input]["shape"])

    def _blank(self, size: int) -> dict[str, np.ndarray]:
        """A batch of zeros, as the run reads it."""
        return {
            name: np.zeros((size, *column["shape"]), column["dtype"])
            for name, column in self._run.columns.items()
        }

    def _convolutions(self) -> list[str]:
        if not self.kernels:
            model = printable(self._run.config["model"]["name"])
            raise UserError(f"{self._run.directory.folder}: its model, {model}, has no convolution")
        return [*self.kernels]

    def _class(self, name: str) -> int:
        if name in self.classes:
            return self.classes.index(name)
        near = difflib.get_close_matches(name, self.classes, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"class: unknown {brief(name)}; {hint}the run has {brief(self.classes)}")


def _positive(path: tuple[Any, ...], weights: Any) -> np.ndarray:
    """What `receptive_fields` has in place of a parameter or of a norm's statistics."""
    shape, name = np.shape(weights), getattr(path[-1], "key", "")
    if name in ("bias", "mean"):
        return np.zeros(shape, np.float32)
    return np.full(shape, 1 / max(1, math.prod(shape[:-1])), np.float32)


def _spans(reached: np.ndarray, layer: str) -> Int[np.ndarray, "outputs 2"]:
    """First and last-but-one line that reaches each output, of (lines, outputs)."""
    if not reached.any(axis=0).all():
        raise UserError(
            f"layer {layer}: has outputs that see nothing of the image, so there are no patches"
        )
    return np.stack([reached.argmax(0), len(reached) - reached[::-1].argmax(0)], axis=1)


def _of(classes: Array, values: Array) -> Array:
    """The value of a class of each example."""
    return jnp.take_along_axis(values, classes[:, None], axis=1)[:, 0]


def _counted(results: Any) -> Any:
    """Each result, after the number of examples before it."""
    start = 0
    for result in results:
        yield start, result
        start += result[2]
