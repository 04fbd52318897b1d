"""An experiment: the parts that a config names, and the functions made from them.

`jaxdl.training.build` makes one. Nothing here runs until it is compiled: every function is pure,
and its shapes follow from those of the data.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl import optim
from jaxdl.checkpointing.init_from import InitFrom
from jaxdl.data.loader import DeviceLoader, fetch
from jaxdl.data.order import ContiguousStreams, ShuffledEpochs
from jaxdl.data.table import Table
from jaxdl.durations import Clock
from jaxdl.errors import UserError, suggestion
from jaxdl.models import Model, eval_mode
from jaxdl.parallel.mesh import Devices
from jaxdl.tasks import GeneratesText, Task
from jaxdl.training import combinators, step
from jaxdl.training.evaluation import (
    average_views,
    make_evaluation,
    make_prediction,
    make_scored_generation,
    transformed,
)
from jaxdl.training.least_squares import make_least_squares
from jaxdl.training.periods import Periods
from jaxdl.training.precision import Precision
from jaxdl.training.settings import Target, Training
from jaxdl.training.state import State, digest
from jaxdl.training.transforming import Transforms
from jaxdl.types import Batch


@dataclass(frozen=True)
class Experiment:
    """The parts of an experiment, and the functions made from them.

    Attributes:
      config: what it was built from.
      rate: the learning rate by step, for logging, if all parameters share one.
      token_lengths: the lengths to which token columns are truncated; empty if they are not.
      several_views: whether evaluation sees several views of an example.
      target: None on a twin, whose numbers mean nothing.
      init_from: None if there is a checkpoint to resume from.
      logging: name -> function that creates a tracker.
      callbacks: name -> function that creates a callback.
    """

    config: Mapping[str, Any]
    training: Training
    seed: int
    precision: Precision
    model: Model
    task: Task
    splits: Mapping[str, Table]
    order: ShuffledEpochs | ContiguousStreams
    transforms: Transforms
    several_views: bool
    token_lengths: tuple[int, ...]
    optimizer: Any
    rate: Callable | None
    clock: Clock
    periods: Periods
    devices: Devices
    init_from: InitFrom | None
    target: Target | None
    figures: Mapping[str, Callable]
    logging: Mapping[str, Callable[[], Any]]
    callbacks: Mapping[str, Callable[[], Any]]

    @property
    def sums_gradients(self) -> bool:
        """Whether each device computes its share alone, so that the type of sums can be chosen.

        `jit` sums in the type of the arithmetic. Sharded states are left to `jit`, since a device
        alone would have to hold the whole state and gradient.
        """
        devices, other = self.devices, self.precision.sums != self.precision.compute
        divided = devices.mesh.size > 1 and devices.placement == "replicated"
        return devices.parallel == "pmap" or (divided and other)

    # ---- Functions of untransformed batches

    @functools.cached_property
    def step(self) -> Callable[[State, Batch], tuple[State, step.Summary]]:
        """The train step."""
        plain = self._plain_step()
        if isinstance(self.order, ContiguousStreams):
            plain = combinators.truncated_bptt(plain, self.order.steps_per_epoch)
        plain = self._progressive_resize(self._bucketed(plain))
        augmented = transformed(plain, self.transforms.train)
        if self.transforms.needs_epochs:
            augmented = combinators.with_epochs(augmented, self.order.epochs)
        return _traced_once(augmented)

    @functools.cached_property
    def evaluation(self) -> Callable[[State, Batch], Any]:
        """(state, batch) -> (sums of the metrics, carry)."""
        plain = make_evaluation(self._eval_model, self.task, precision=self.precision)
        evaluation = transformed(self._bucketed(plain), self.transforms.evaluation)
        return _traced_once(evaluation)

    @functools.cached_property
    def prediction(self) -> Callable[[State, Batch], Any]:
        """(state, batch) -> predictions."""
        plain = make_prediction(self._eval_model, self.task, precision=self.precision)
        return transformed(plain, self.transforms.evaluation)

    @property
    def scores_text(self) -> GeneratesText | None:
        """The task, where evaluation scores what the model generates."""
        task = self.task
        return task if isinstance(task, GeneratesText) and task.scores else None

    @functools.cached_property
    def generation(self) -> Callable[[State, Batch], Any]:
        """(state, batch) -> generated tokens."""
        task, train = self.scores_text, self.splits["train"]
        assert task is not None
        width = train.columns[task.tokens].shape[1]
        plain = make_scored_generation(
            self.model, task, train.vocabularies, width, precision=self.precision
        )
        return transformed(plain, self.transforms.always)

    def run_steps(self, state: State, columns: Any, batches: Any, n: jax.Array) -> Any:
        """`n` steps on the batches of a `DeviceLoader`; this is what is compiled."""
        one = combinators.gather_batch(self.step, lambda state, rows: fetch(columns, rows))
        return combinators.repeat(one)(state, batches, n)

    # ---- The state, and shapes

    def initial(self, seed: Any, start: Any = None) -> State:
        """The state before the first step; a pure function.

        Args:
          seed: of all randomness.
          start: (params, model_state) to start from, instead of what the seed draws.
        """
        model = self.model
        if start is not None:
            model = model._replace(init=lambda key, inputs: start)
        shapes = self.devices.abstract(self.splits["train"].batch_shapes(1))
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        least_squares = isinstance(self.optimizer, optim.LeastSquares)
        return step.init(
            model,
            self.task,
            optax.identity() if least_squares else self.optimizer,
            self.transforms.always(blank, jax.random.key(0)),
            seed,
            precision=self.precision,
            ema=self.training.ema_decay is not None,
            carry=self.order.batch_size if self.training.carry else None,
        )

    def init(self, start: Any = None) -> State:
        """The state before the first step, on the devices; see `initial`."""
        seed = jnp.asarray(self.seed, jnp.uint32)
        shardings = self.devices.held(self.abstract_state)
        parts = None if start is None else (shardings.params, shardings.model_state)
        arguments = seed, start if parts is None else jax.device_put(start, parts)
        compiled = self.devices.compiled(self.initial, *arguments, once=True, results=shardings)
        return compiled(*arguments)

    @functools.cached_property
    def abstract_state(self) -> Any:
        """Shapes, types and shardings of the state. Nothing is computed or allocated."""
        return self.devices.abstract_state(jax.eval_shape(self.initial, jnp.uint32(self.seed)))

    def abstract_batch(self) -> Batch:
        """Shapes, types and shardings of a training batch."""
        shapes = self.splits["train"].batch_shapes(self.order.batch_size)
        return self.devices.abstract(shapes, self.devices.spread())

    def abstract_eval_batch(self, split: str) -> Batch:
        """Shapes, types and shardings of an evaluation batch, with its `mask`."""
        size = self.training.eval_batch_size
        shapes = self.splits[split].batch_shapes(size, evaluation=True)
        shapes = {**shapes, "mask": jax.ShapeDtypeStruct((size,), bool)}
        return self.devices.abstract(shapes, self.devices.spread())

    def fresh_carry(self, state: State, size: int) -> Any:
        """The carry of a batch of `size` sequences that have not begun; None without carry."""
        if not self.training.carry:
            return None
        carry = step.initialize_carry(
            self.model, state.eval_params, state.model_state, size, self.precision
        )
        return self.devices.replicate(carry)

    # ---- The data

    @property
    def eval_splits(self) -> tuple[str, ...]:
        """The splits to evaluate."""
        if self.training.evaluate is None:
            return tuple(name for name in self.splits if name != "train")
        for name in self.training.evaluate:
            if name not in self.splits:
                raise UserError(
                    f"config.training.evaluate: unknown {name!r}; {suggestion(name, self.splits)}"
                )
        return self.training.evaluate

    def headline(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The metrics of an evaluation that are printed; metrics.jsonl has all."""
        own = self.task.headline
        chosen = {part.metric for part in (self.target, self.training.best) if part}
        return {
            name: value
            for name, value in metrics.items()
            if not own or name in chosen or name.partition("/")[2] in ("loss", *own)
        }

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """What must be known of the data to use the trained model, or to resume training."""
        train = self.splits["train"]
        return {
            "columns": {
                name: {"dtype": column.dtype.name, "shape": list(column.shape[1:])}
                for name, column in train.columns.items()
            },
            "examples": {name: len(table) for name, table in self.splits.items()},
            "sha256": {name: digest(t.identity()) for name, t in self.splits.items()},
            "classes": list(train.classes),
            "vocabularies": {name: v.to_json() for name, v in train.vocabularies.items()},
            **({"features": [asdict(each) for each in train.features]} if train.features else {}),
        }

    def loader(self) -> DeviceLoader:
        """The input of compiled calls."""
        local = self.devices.local(self.order.batch_size)
        return DeviceLoader(
            self.splits["train"], self.order, self.training.on_device, self.seed, local
        )

    # ---- Parts of the above

    def _plain_step(self) -> Callable:
        """The step of a transformed batch, without truncated BPTT, buckets and resizing."""
        training = self.training
        if isinstance(self.optimizer, optim.LeastSquares):
            if self.devices.parallel == "pmap":
                raise UserError(
                    "config.parallel: least_squares does not work with pmap; set it to 'jit'"
                )
            if training.accumulate > 1:
                raise UserError(
                    "config.training.accumulate: least_squares needs the whole batch; leave it out"
                )
            if training.ema_decay:
                raise UserError(
                    "config.training.ema_decay: least_squares reaches the minimum in one step; "
                    "leave it out"
                )
            return make_least_squares(self.model, self.task, self.precision)
        plain = step.make_step(
            eval_mode(self.model) if training.freeze_statistics else self.model,
            self.task,
            self.optimizer,
            precision=self.precision,
            ema_decay=training.ema_decay,
            trained=functools.partial(optim.trained, self.config["optimizer"]),
        )
        if training.accumulate > 1:
            plain = combinators.accumulate(plain, training.accumulate, training.ghost_batch_size)
        if self.sums_gradients:
            mesh = None if self.devices.parallel == "pmap" else self.devices.mesh
            plain = combinators.data_parallel(plain, self.precision.sums, mesh)
        return plain

    @property
    def _eval_model(self) -> Model:
        """The model, averaging over views if evaluation sees several."""
        return average_views(self.model) if self.several_views else self.model

    def _bucketed(self, function: Callable) -> Callable:
        columns, lengths = tuple(self.splits["train"].vocabularies), self.token_lengths
        return combinators.bucketed(function, columns, lengths) if lengths else function

    def _progressive_resize(self, function: Callable) -> Callable:
        lengths, path = list[int](), "config.training.sizes"
        for i, (size, length) in enumerate(self.training.sizes):
            duration = self.clock.steps(length, f"{path}[{i}]")
            if size < 1 or duration is None:
                raise UserError(
                    f"{path}[{i}]: expected a size and a duration, got {size}, {length}"
                )
            lengths.append(duration)
        if not lengths:
            return function
        sizes = tuple(size for size, _ in self.training.sizes)
        return combinators.progressive_resize(function, sizes, tuple(itertools.accumulate(lengths)))


def _traced_once(function: Callable) -> Callable:
    """The same function, traced once for all checks and programs with the same shapes."""
    return jax.jit(function, inline=True)
