"""An experiment: what a config stands for, built and checked, before anything runs."""

from __future__ import annotations

import functools
import itertools
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
from jaxdl.data.order import Order, Streams
from jaxdl.data.table import Table
from jaxdl.data.tokens import with_begins
from jaxdl.data.transforms import TRANSFORMS, compose
from jaxdl.errors import UserError
from jaxdl.figures import FIGURES
from jaxdl.generation import Rules
from jaxdl.models import MODELS, Model, functional, settled
from jaxdl.tasks import TASKS, LanguageModeling, Task
from jaxdl.training import step as steps
from jaxdl.training.devices import Devices
from jaxdl.training.evaluation import (
    averaged,
    make_evaluation,
    make_prediction,
    make_writing,
    transformed,
)
from jaxdl.training.placement import Placement
from jaxdl.training.precision import Precision
from jaxdl.training.state import State, digest
from jaxdl.training.transfer import InitFrom

_KINDS = ("transforms", "augment", "views")  # of what is done to batches on the device

# Which nodes of a config name a callable, and what they can name.
REGISTRIES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "data": data.SOURCES,
    "model": MODELS,
    "optimizer": optim.OPTIMIZERS,
    "optimizer.learning_rate": optim.SCHEDULES,
    "task": TASKS,
}


@dataclass(frozen=True)
class Best:
    """`config.training.best`: what makes one checkpoint better than another.

    Args:
      metric: of an evaluation, such as 'validation/accuracy'.
      smaller: whether smaller is better.
    """

    metric: str
    smaller: bool = False

    def better(self, metrics: Mapping[str, float], than: float | None) -> bool:
        """Whether the metrics are better than a value; anything is better than None."""
        value = measured(self.metric, metrics, "config.training.best.metric")
        return than is None or (value < than if self.smaller else value > than)


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
      carry: the split is read as `batch_size` streams, in order, and each batch continues the one
        before: recurrent layers go on from their last state, gradients do not (truncated
        back-propagation through time). No state goes from one text to the next. The last rows,
        fewer than a batch has, are left out. Evaluation likewise, of every row.
      buckets: to how many lengths token columns may be cut, each batch to the shortest that holds
        it; batches are then made of examples of like length.
      sizes: (side, duration) pairs: to which size images are scaled down, and for how long, one
        after the other from the start of the run; then they keep theirs (progressive resizing).
      freeze_statistics: batch norm normalises by its running statistics and leaves them as they
        are, and nothing is dropped: the model as in evaluation, as for fine-tuning a few layers.
      resident: hold the training split on the device; by default if it is below 1 GiB.
      log_every: how often the training loss is recorded.
      evaluate_every: how often all other splits are evaluated; also at the end.
      checkpoint_every: how often the state is saved; by default every 30 seconds, or, where that
        takes longer than a second, so that it takes a thirtieth of the time, which costs nothing
        in exactness. Also at the end, and when a signal stops the run.
      keep: how many checkpoints to keep, of the newest.
      best: see `Best`; the checkpoint with the best value is kept too.
      evaluate: the splits to evaluate, by default all but 'train'.
    """

    batch_size: int | None = None
    steps: int | None = None
    epochs: float | None = None
    eval_batch_size: int = 256
    accumulate: int = 1
    average: float | None = None
    shuffle: bool = True
    carry: bool = False
    buckets: int = 1
    sizes: tuple[tuple[int, Any], ...] = ()
    freeze_statistics: bool = False
    resident: bool | None = None
    log_every: Mapping[str, Any] = field(default_factory=lambda: {"steps": 50})
    evaluate_every: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 1})
    checkpoint_every: Mapping[str, Any] | None = None
    keep: int = 3
    best: Best | None = None
    evaluate: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        for name in ("batch_size", "eval_batch_size", "accumulate", "buckets", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"config.training.{name}: expected at least 1, got {value}")
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"config.training.average: must be in (0, 1), got {self.average}")
        if self.carry and self.freeze_statistics:
            raise UserError("config.training: freeze_statistics is not for models with a carry")
        if self.carry and self.buckets > 1:
            raise UserError("config.training: carry keeps the order of the split, buckets do not")


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
        value = measured(self.metric, metrics, "config.target.metric")
        return value <= self.value if self.smaller else value >= self.value


def measured(name: str, metrics: Mapping[str, float], path: str) -> float:
    """The metric of a name.

    Raises:
      UserError: it was not measured.
    """
    if name not in metrics:
        raise UserError(f"{path}: unknown {name!r}; {cfg.suggestion(name, metrics)}")
    return metrics[name]


@dataclass(frozen=True)
class Settings:
    """The keys of a config.

    Args:
      model: name and arguments of the model.
      task: name and arguments of the task.
      data: source and arguments; `transforms`, `augment` and `views` list what is done to a batch
        on the device, always, in training alone and in evaluation alone; `clips` makes clips of
        images; `twin=True` takes a small built-in twin instead.
      optimizer: name and arguments of the optimiser; see `jaxdl.optim.build`.
      training: see `Training`.
      init_from: a weight file or the directory of a run to start from, or see `InitFrom`. A run
        that has a checkpoint goes on from that.
      seed: of all randomness, at least 0.
      precision: see `Precision`.
      devices: how many to use, or how many along each axis of the mesh, dict(data=…, model=…);
        by default all, along `data`.
      placement: what of the state each device holds: all ('replicated'), its share ('fsdp'), or
        by (regular expression, rule) pairs; see `jaxdl.training.placement`.
      target: see `Target`.
      figures: names of figures to draw at the end, beside the learning curves.
    """

    model: Mapping[str, Any]
    task: Mapping[str, Any]
    data: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    training: Mapping[str, Any]
    init_from: str | Mapping[str, Any] | None = None
    seed: int = 0
    precision: Mapping[str, Any] = field(default_factory=dict)
    devices: int | Mapping[str, int] | None = None
    placement: Placement = "replicated"
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
    views: Callable
    optimizer: Any
    rate: Callable | None
    training: Training
    every: Mapping[str, int | None]  # the periods of `training`, in steps
    order: Order | Streams
    lengths: tuple[int, ...]  # to which token columns are cut; none where they are not
    clock: optim.Clock
    precision: Precision
    devices: Devices
    target: Target | None
    figures: Mapping[str, Callable]
    init_from: InitFrom | None
    seed: int

    @classmethod
    def of(cls, config: Mapping[str, Any], *, resumed: bool = False) -> Experiment:
        """Build everything that a config names, and load its data.

        Args:
          config: as `jaxdl.config.read` gives it.
          resumed: there is a checkpoint, so that what `config.init_from` names need not be there.

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
        if training.carry and not (isinstance(task, LanguageModeling) and not task.conditions):
            raise UserError(
                "config.training.carry: a text goes on from batch to batch, other examples do "
                "not; it needs the task language_modeling, without conditions"
            )
        build_model(settings.model, None)  # a slip in it is told before the data is read
        init_from = None if settings.init_from is None else InitFrom.of(settings.init_from)
        if init_from and not resumed:
            _ = init_from.arrays  # what cannot be read is told before the data is
        transform, augment, views = (build_transforms(settings.data, kind) for kind in _KINDS)
        splits = _data(settings.data)
        sizes = {name: len(v) for name, v in splits["train"].vocabularies.items()}
        model = build_model(settings.model, sizes)
        order = _order(training, splits["train"], settings.seed)
        batch_size = order.batch_size
        length = {"steps": training.steps, "epochs": training.epochs}
        total = cfg.duration(length, order.steps_per_epoch, "config.training")
        assert total is not None
        clock = optim.Clock(total, order.steps_per_epoch)
        for table in splits.values():
            task.check(table)
        if training.carry:
            assert isinstance(task, LanguageModeling)
            splits = {k: with_begins(table, task.tokens) for k, table in splits.items()}
        devices = Devices.of(settings.devices, settings.placement)
        devices.check_batch(batch_size, "config.training.batch_size")
        devices.check_batch(training.eval_batch_size, "config.training.eval_batch_size")
        every = {
            name: clock.steps(getattr(training, name), f"config.training.{name}")
            for name in ("log_every", "evaluate_every", "checkpoint_every")
        }
        return cls(
            config=config,
            model=model,
            task=task,
            splits=splits,
            transform=transform,
            augment=augment,
            views=views,
            optimizer=optim.build(settings.optimizer, clock),
            rate=optim.learning_rate(settings.optimizer, clock),
            training=training,
            every=every,
            order=order,
            lengths=_lengths(splits["train"], training.buckets),
            clock=clock,
            precision=precision,
            devices=devices,
            target=None if settings.data.get("twin") else target,  # published for the real data
            figures=figures,
            init_from=None if resumed else init_from,
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
            if self.training.average:
                raise UserError(
                    "config.training.average: least_squares is at the minimum after one step; "
                    "leave it out"
                )
            plain: Callable = steps.least_squares(self.model, self.task, self.precision)
        else:
            plain = steps.make_step(
                settled(self.model) if self.training.freeze_statistics else self.model,
                self.task,
                self.optimizer,
                precision=self.precision,
                average=self.training.average,
                trained=functools.partial(optim.trained, self.config["optimizer"]),
            )
            if self.training.accumulate > 1:
                plain = steps.accumulate(plain, self.training.accumulate)
        if isinstance(self.order, Streams):
            plain = steps.continued(plain, self.order.steps_per_epoch)
        plain = self._resized(self._bucketed(plain))
        return transformed(plain, compose([self.augment, self.transform]))

    @functools.cached_property
    def evaluation(self) -> Callable:
        """The evaluation, of untransformed batches."""
        plain = make_evaluation(self._seeing, self.task, precision=self.precision)
        return transformed(self._bucketed(plain), compose([self.views, self.transform]))

    @functools.cached_property
    def prediction(self) -> Callable:
        """The predictions, of untransformed batches."""
        plain = make_prediction(self._seeing, self.task, precision=self.precision)
        return transformed(plain, compose([self.views, self.transform]))

    @property
    def _seeing(self) -> Model:
        """The model, of as many views of an example as evaluation is given."""
        several = self.splits["train"].views > 1 or self.config["data"].get("views")
        return averaged(self.model) if several else self.model

    @property
    def writes(self) -> LanguageModeling | None:
        """The task, where evaluation scores what the model writes."""
        task = self.task
        return task if isinstance(task, LanguageModeling) and task.scores else None

    @functools.cached_property
    def writing(self) -> Callable:
        """What the model writes for untransformed batches."""
        assert isinstance(self.task, LanguageModeling)
        name, train = self.task.tokens, self.splits["train"]
        if name not in train.vocabularies or train.vocabularies[name].start is None:
            raise UserError(
                f"config.task.scores: written sequences need a start and an end; set "
                f"config.data.tokenize.{name}.ends to true"
            )
        if self.model.begin is None:
            raise UserError("config.task.scores: this model cannot write (no begin and write)")
        rules, length = Rules.of(train.vocabularies[name]), train.columns[name].shape[1] - 1
        plain = make_writing(self.model, self.task, rules, length, precision=self.precision)
        return transformed(plain, self.transform)

    def fresh(self, state: State, size: int) -> Any:
        """The carry of a batch of `size` sequences that have not begun; None without carry."""
        if not self.training.carry:
            return None
        carry = steps.begin(self.model, state.params, state.variables, size, self.precision)
        return self.devices.replicate(carry)

    def _bucketed(self, function: Callable) -> Callable:
        columns = tuple(self.splits["train"].vocabularies)
        return steps.bucketed(function, columns, self.lengths) if self.lengths else function

    def _resized(self, step: Callable) -> Callable:
        lengths, path = list[int](), "config.training.sizes"
        for i, (size, length) in enumerate(self.training.sizes):
            duration = self.clock.steps(length, f"{path}[{i}]")
            if size < 1 or duration is None:
                raise UserError(
                    f"{path}[{i}]: expected a size and a duration, got {size}, {length}"
                )
            lengths.append(duration)
        sizes = tuple(size for size, _ in self.training.sizes)
        return steps.resized(step, sizes, tuple(itertools.accumulate(lengths))) if sizes else step

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """What must be known of the data to use what was learnt from it, or to go on learning."""
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
        }

    def call(self, state: State, columns: Any, given: Any, n: jax.Array) -> tuple[State, Any]:
        """`n` steps on what a `Feed` gives; this is what is compiled."""
        step = steps.indexed(self.step, lambda state, rows: fetch(columns, rows))
        return steps.repeat(step)(state, given, n)

    def initial(self, batch: Any, seed: Any, learnt: Any = None) -> State:
        """The state before the first step, from the shapes of a batch; a pure function.

        `learnt` are (params, variables) to start from, instead of what the seed draws.
        """
        model = self.model
        if learnt is not None:
            model = model._replace(init=lambda key, inputs: learnt)
        least = isinstance(self.optimizer, optim.LeastSquares)
        return steps.init(
            model,
            self.task,
            optax.identity() if least else self.optimizer,
            self.transform(batch, jax.random.key(0)),
            seed,
            precision=self.precision,
            average=self.training.average is not None,
            carry=self.order.batch_size if self.training.carry else None,
        )

    def init(self, learnt: Any = None) -> State:
        """The state before the first step, on the devices; see `initial`."""
        first, seed = self.training_batch(1), jnp.asarray(self.seed, jnp.uint32)
        held = self.devices.held(jax.eval_shape(self.initial, first, seed, learnt))
        parts = None if learnt is None else (held.params, held.variables)
        given = first, seed, learnt if parts is None else jax.device_put(learnt, parts)
        return self.devices.compiled(self.initial, *given, once=True, results=held)(*given)

    def first_batch(self, split: str, size: int) -> Any:
        """The first rows of a split, as a batch on the devices (repeating the first to fill)."""
        table = self.splits[split]
        rows = self.devices.local(size) if size > 1 else np.zeros(1, int)
        batch = table[np.where(rows < len(table), rows, 0)]
        return self.devices.scatter(batch) if size > 1 else self.devices.replicate(batch)

    def training_batch(self, size: int) -> Any:
        """A batch of the first example alone, as training sees it, on the devices."""
        first = self.splits["train"].drawn(np.zeros(1, int), np.zeros(1, int), self.seed)
        times = len(self.devices.local(size)) if size > 1 else 1
        batch = {name: np.repeat(value, times, axis=0) for name, value in first.items()}
        return self.devices.scatter(batch) if size > 1 else self.devices.replicate(batch)

    def feed(self) -> Feed:
        """The input of compiled calls."""
        local = self.devices.local(self.order.batch_size)
        return Feed(self.splits["train"], self.order, self.training.resident, self.seed, local)


def build_model(node: Any, vocabularies: Mapping[str, int] | None) -> Model:
    """The model of `config.model`, with the sizes of vocabularies that it leaves to the data.

    Args:
      node: the config's.
      vocabularies: token column -> number of tokens; None where they are not known yet, to check
        the rest of the node.

    Raises:
      UserError: a key is unknown, missing or ill-typed, or a vocabulary too small for the data.
    """
    thing, arguments = cfg.choose(node, MODELS, "config.model")
    for argument in {"vocabulary", "source_vocabulary"} & set(cfg.parameters(thing)):
        column = "tokens" if argument == "vocabulary" else "source"
        size = 2 if vocabularies is None else vocabularies.get(column)
        if size is not None and arguments.setdefault(argument, size) < size:
            raise UserError(
                f"config.model.{argument}: {arguments[argument]} is fewer than the {size} tokens "
                f"of column {column!r}; leave it out"
            )
    model = cfg.call(thing, arguments, "config.model")
    return model if isinstance(model, Model) else functional(model)


def build_transforms(data: Mapping[str, Any], kind: str = "transforms") -> Callable:
    """The transforms of `config.data`, as one function; `kind` is one of `_KINDS`."""
    nodes, path = data.get(kind, ()), f"config.data.{kind}"
    if not isinstance(nodes, tuple):
        raise UserError(f"{path}: expected a list of dicts, got {nodes!r}")
    return compose([cfg.build(n, TRANSFORMS, f"{path}[{i}]") for i, n in enumerate(nodes)])


def _order(training: Training, train: Table, seed: int) -> Order | Streams:
    size = len(train) if training.batch_size is None else training.batch_size
    if training.carry:
        return Streams(len(train), size)
    lengths = _token_counts(train) if training.buckets > 1 else None
    return Order(len(train), size, seed, training.shuffle, lengths)


def _lengths(train: Table, buckets: int) -> tuple[int, ...]:
    """So many lengths that equally many examples fall between two of them."""
    if buckets == 1:
        return ()
    longest = max(train.columns[name].shape[1] for name in train.vocabularies)
    cuts = np.quantile(_token_counts(train), np.arange(1, buckets) / buckets, method="higher")
    return tuple(sorted({*(int(cut) for cut in cuts), longest}))


def _token_counts(train: Table) -> np.ndarray:
    """The length of the longest sequence of each example."""
    if not train.vocabularies:
        raise UserError("config.training.buckets: the data has no token columns to cut")
    counts = [np.count_nonzero(train.columns[name], axis=1) for name in train.vocabularies]
    return np.max(counts, axis=0)


def _data(node: Mapping[str, Any]) -> Mapping[str, Table]:
    settings = {k: v for k, v in node.items() if k not in _KINDS}
    twin = settings.pop("twin", False)
    if not isinstance(twin, bool):
        raise UserError(f"config.data.twin: expected true or false, got {twin!r}")
    tokenize = _token_columns(settings.pop("tokenize", None))
    clips = settings.pop("clips", None)
    if clips is not None:
        clips = cfg.call(data.Clips, _mapping(clips, "config.data.clips"), "config.data.clips")
    source, arguments = cfg.choose(settings, data.SOURCES, "config.data", selector="source")
    arguments = cfg.checked(source, arguments, "config.data")
    try:
        return data.load(source, twin=twin, tokenize=tokenize, clips=clips, **arguments)
    except UserError as error:
        raise UserError(f"config.data: {error}") from None


def _token_columns(node: Any) -> dict[str, data.Tokens]:
    columns = {} if node is None else node
    path = "config.data.tokenize"
    return {
        k: cfg.call(data.Tokens, _mapping(v, f"{path}.{k}"), f"{path}.{k}")
        for k, v in _mapping(columns, path).items()
    }


def _mapping(node: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        raise UserError(f"{path}: expected a dict, got {node!r}")
    return node
