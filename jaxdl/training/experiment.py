"""An experiment: what a config stands for, built and checked, before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config as cfg
from jaxdl import data, optim
from jaxdl.data.feed import Feed, fetch
from jaxdl.data.order import Order
from jaxdl.data.table import Table
from jaxdl.data.transforms import TRANSFORMS, compose
from jaxdl.errors import UserError
from jaxdl.figures import FIGURES
from jaxdl.models import MODELS, Model, functional
from jaxdl.tasks import TASKS, Task
from jaxdl.training import step as steps
from jaxdl.training.devices import Devices
from jaxdl.training.evaluation import make_evaluation, make_prediction, transformed
from jaxdl.training.precision import Precision
from jaxdl.training.state import State

# Which nodes of a config name a callable, and what they can name.
REGISTRIES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "data": data.SOURCES,
    "model": MODELS,
    "optimizer": optim.OPTIMIZERS,
    "optimizer.learning_rate": optim.SCHEDULES,
    "task": TASKS,
}


@dataclass(frozen=True)
class Training:
    """`config.training`. Durations are `dict(steps=…)` or `dict(epochs=…)`.

    Args:
      batch_size: examples an update, over all devices; None takes the whole split.
      steps: length of the run, or
      epochs: length of the run in passes over the training split.
      eval_batch_size: examples a batch of evaluation.
      accumulate: parts in which a batch is taken, one after the other, to save memory.
      average: decay of a moving average of the parameters, which is then what is evaluated.
      shuffle: a fresh order each epoch.
      resident: hold the training split on the device; by default if it is below 1 GiB.
      log_every: how often the training loss is recorded.
      evaluate_every: how often all other splits are evaluated; also at the end.
      checkpoint_every: how often the state is saved; by default every 30 seconds, which costs
        nothing in exactness. Also at the end, and when a signal stops the run.
      keep: how many checkpoints to keep.
      evaluate: the splits to evaluate, by default all but 'train'.
    """

    batch_size: int | None = None
    steps: int | None = None
    epochs: float | None = None
    eval_batch_size: int = 256
    accumulate: int = 1
    average: float | None = None
    shuffle: bool = True
    resident: bool | None = None
    log_every: Mapping[str, Any] = field(default_factory=lambda: {"steps": 50})
    evaluate_every: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 1})
    checkpoint_every: Mapping[str, Any] | None = None
    keep: int = 3
    evaluate: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        for name in ("batch_size", "eval_batch_size", "accumulate", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"config.training.{name}: expected at least 1, got {value}")
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"config.training.average: must be in (0, 1), got {self.average}")


@dataclass(frozen=True)
class Target:
    """`config.target`: the published number that the run is held against.

    Args:
      metric: one of the final metrics, such as 'test/accuracy'.
      value: the published value.
      source: where it was published.
      smaller: whether smaller is better.
    """

    metric: str
    value: float
    source: str
    smaller: bool = False

    def met(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics are at least as good.

        Raises:
          UserError: the metric was not measured.
        """
        if self.metric not in metrics:
            raise UserError(
                f"config.target.metric: unknown {self.metric!r}; "
                f"{cfg.suggestion(self.metric, metrics)}"
            )
        value = metrics[self.metric]
        return value <= self.value if self.smaller else value >= self.value


@dataclass(frozen=True)
class Settings:
    """The keys of a config.

    Args:
      model: name and arguments of the model.
      task: name and arguments of the task.
      data: source and arguments; `transforms` and `augment` list what is done to a batch on the
        device, always and in training alone; `twin=True` takes a small built-in twin instead.
      optimizer: name and arguments of the optimiser; see `jaxdl.optim.build`.
      training: see `Training`.
      seed: of all randomness, at least 0.
      precision: see `Precision`.
      devices: how many to use; by default all.
      target: see `Target`.
      figures: names of figures to draw at the end, beside the learning curves.
    """

    model: Mapping[str, Any]
    task: Mapping[str, Any]
    data: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    training: Mapping[str, Any]
    seed: int = 0
    precision: Mapping[str, Any] = field(default_factory=dict)
    devices: int | None = None
    target: Mapping[str, Any] | None = None
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """The parts of an experiment, and the functions made of them."""

    config: Mapping[str, Any]
    model: Model
    task: Task
    splits: Mapping[str, Table]
    transform: Callable
    augment: Callable
    optimizer: Any
    rate: Callable | None
    training: Training
    every: Mapping[str, int | None]  # the periods of `training`, in steps
    order: Order
    clock: optim.Clock
    precision: Precision
    devices: Devices
    target: Target | None
    figures: Mapping[str, Callable]
    seed: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Experiment:
        """Build everything that a config names, and load its data.

        Raises:
          UserError: anything in the config or the data that cannot be.
        """
        settings = cfg.call(Settings, config, "config")
        training = cfg.call(Training, settings.training, "config.training")
        target = settings.target and cfg.call(Target, settings.target, "config.target")
        precision = cfg.call(Precision, settings.precision, "config.precision")
        if not 0 <= settings.seed < 2**32:
            raise UserError(f"config.seed: expected at least 0 and below 2³², got {settings.seed}")
        figures = {name: cfg.find(name, FIGURES, "config.figures") for name in settings.figures}
        task = cfg.build(settings.task, TASKS, "config.task")
        model = cfg.build(settings.model, MODELS, "config.model")
        transform, augment, splits = _data(settings.data)
        examples = len(splits["train"])
        batch_size = examples if training.batch_size is None else training.batch_size
        order = Order(examples, batch_size, settings.seed, training.shuffle)
        length = {"steps": training.steps, "epochs": training.epochs}
        total = cfg.duration(length, order.steps_per_epoch, "config.training")
        assert total is not None
        clock = optim.Clock(total, order.steps_per_epoch)
        for table in splits.values():
            task.check(table)
        devices = Devices.of(settings.devices)
        devices.check_batch(batch_size, "config.training.batch_size")
        devices.check_batch(training.eval_batch_size, "config.training.eval_batch_size")
        every = {
            name: clock.steps(getattr(training, name), f"config.training.{name}")
            for name in ("log_every", "evaluate_every", "checkpoint_every")
        }
        return cls(
            config=config,
            model=model if isinstance(model, Model) else functional(model),
            task=task,
            splits=splits,
            transform=transform,
            augment=augment,
            optimizer=optim.build(settings.optimizer, clock),
            rate=optim.learning_rate(settings.optimizer, clock),
            training=training,
            every=every,
            order=order,
            clock=clock,
            precision=precision,
            devices=devices,
            target=None if settings.data.get("twin") else target,  # published for the real data
            figures=figures,
            seed=settings.seed,
        )

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The splits to evaluate."""
        if self.training.evaluate is None:
            return tuple(name for name in self.splits if name != "train")
        for name in self.training.evaluate:
            if name not in self.splits:
                raise UserError(
                    f"config.training.evaluate: unknown {name!r}; "
                    f"{cfg.suggestion(name, self.splits)}"
                )
        return self.training.evaluate

    @functools.cached_property
    def step(self) -> Callable:
        """The train step, of untransformed batches."""
        if isinstance(self.optimizer, optim.LeastSquares):
            if self.training.accumulate > 1:
                raise UserError("config.training.accumulate: least_squares takes the batch whole")
            plain: Callable = steps.least_squares(self.model, self.task, self.precision)
        else:
            plain = steps.make_step(
                self.model,
                self.task,
                self.optimizer,
                precision=self.precision,
                average=self.training.average,
            )
            if self.training.accumulate > 1:
                plain = steps.accumulate(plain, self.training.accumulate)
        return transformed(plain, compose([self.augment, self.transform]))

    @functools.cached_property
    def evaluation(self) -> Callable:
        """The evaluation, of untransformed batches."""
        plain = make_evaluation(self.model, self.task, precision=self.precision)
        return transformed(plain, self.transform)

    @functools.cached_property
    def prediction(self) -> Callable:
        """The predictions, of untransformed batches."""
        plain = make_prediction(self.model, self.task, precision=self.precision)
        return transformed(plain, self.transform)

    def call(self, state: State, columns: Any, given: Any, n: jax.Array) -> tuple[State, Any]:
        """`n` steps on what a `Feed` gives; this is what is compiled."""
        step = steps.indexed(self.step, lambda state, rows: fetch(columns, rows))
        return steps.repeat(step)(state, given, n)

    def initial(self, batch: Any, seed: Any) -> State:
        """The state before the first step, from the shapes of a batch; a pure function."""
        least = isinstance(self.optimizer, optim.LeastSquares)
        return steps.init(
            self.model,
            self.task,
            optax.identity() if least else self.optimizer,
            self.transform(batch, jax.random.key(0)),
            seed,
            precision=self.precision,
            average=self.training.average is not None,
        )

    def init(self) -> State:
        """The state before the first step, on the devices."""
        first, seed = self.first_batch("train", 1), jnp.asarray(self.seed, jnp.uint32)
        return self.devices.compiled(self.initial, first, seed, once=True)(first, seed)

    def first_batch(self, split: str, size: int) -> Any:
        """The first rows of a split, as a batch on the devices (repeating the first to fill)."""
        table = self.splits[split]
        batch = table[np.where(np.arange(size) < len(table), np.arange(size), 0)]
        return self.devices.scatter(batch) if size > 1 else self.devices.replicate(batch)

    def feed(self) -> Feed:
        """The input of compiled calls."""
        return Feed(self.splits["train"], self.order, self.training.resident)


def _data(node: Mapping[str, Any]) -> tuple[Callable, Callable, Mapping[str, Table]]:
    settings = dict(node)
    chains = []
    for kind in ("transforms", "augment"):
        nodes, path = settings.pop(kind, ()), f"config.data.{kind}"
        if not isinstance(nodes, tuple):
            raise UserError(f"{path}: expected a list of dicts, got {nodes!r}")
        chains.append([cfg.build(n, TRANSFORMS, f"{path}[{i}]") for i, n in enumerate(nodes)])
    twin = settings.pop("twin", False)
    if not isinstance(twin, bool):
        raise UserError(f"config.data.twin: expected true or false, got {twin!r}")
    source, arguments = cfg.choose(settings, data.SOURCES, "config.data", selector="source")
    arguments = cfg.checked(source, arguments, "config.data")
    try:
        splits = data.load(source, twin=twin, **arguments)
    except UserError as error:
        raise UserError(f"config.data: {error}") from None
    return compose(chains[0]), compose(chains[1]), splits
