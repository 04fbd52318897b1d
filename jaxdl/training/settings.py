"""What a config's keys mean: a dataclass for each group, whose fields are the keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing.init_from import InitFrom
from jaxdl.data import Clips, Folds, Tokens
from jaxdl.errors import UserError, suggestion
from jaxdl.parallel.mesh import Parallel
from jaxdl.parallel.sharding import Placement
from jaxdl.training.precision import Precision

# A metric whose name ends so is better when it is smaller, whatever a config says.
_ERRORS = ("loss", "error", "mse", "mae", "nll", "perplexity", "bits_per_character", "divergence",
           "cross_entropy")  # fmt: skip
Node = Mapping[str, Any]  # of a config: a name, and the arguments of what it stands for
Duration = int | Mapping[str, Any]  # steps, dict(steps=…) or dict(epochs=…)


@dataclass(frozen=True)
class Best:
    """`config.training.best`: what makes one checkpoint better than another.

    Args:
      metric: of an evaluation, such as 'validation/accuracy'.
      smaller: whether smaller is better; for a loss or an error it always is.
    """

    metric: str
    smaller: bool = False

    def __post_init__(self) -> None:
        """For a loss or an error, smaller is better."""
        _minimize_errors(self)

    def better(self, metrics: Mapping[str, float], than: float | None) -> bool:
        """Whether the metrics are better than a value: NaN never, else anything than None."""
        value = _measured(self.metric, metrics, "config.training.best.metric", hidden="test/")
        if math.isnan(value):
            return False
        return than is None or (value < than if self.smaller else value > than)


@dataclass(frozen=True)
class Target:
    """`config.target`: the published number that the run is held against.

    Args:
      metric: one of the final metrics, such as 'test/accuracy'.
      value: the published value.
      source: where it was published.
      smaller: whether smaller is better; for a loss or an error it always is.
    """

    metric: str
    value: float
    source: str
    smaller: bool = False

    def __post_init__(self) -> None:
        """For a loss or an error, smaller is better."""
        _minimize_errors(self)

    def met(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics are at least as good.

        Raises:
          UserError: the metric was not measured.
        """
        value = _measured(self.metric, metrics, "config.target.metric")
        return value <= self.value if self.smaller else value >= self.value


@dataclass(frozen=True)
class Training:
    """`config.training`. A duration is `dict(steps=…)`, or just the number, or `dict(epochs=…)`.

    Args:
      batch_size: examples per update, over all devices; None takes the whole split.
      steps: length of the run, or
      epochs: length of the run in passes over the training split.
      eval_batch_size: examples per batch of evaluation.
      accumulate: process each batch in this many parts, one after the other, to save memory.
      ghost_batch_size: number of examples over which batch norm computes its statistics in
        training; by default a whole batch, or each part of it. Groups of a fixed size give the same
        statistics on any number of devices, and no device waits for another (Hoffer et al. 2017).
      ema_decay: decay of an exponential moving average of the parameters, which is then evaluated
        in their place.
      shuffle: use a new order in each epoch.
      carry: read the split as `batch_size` streams, in order, so that each batch continues the one
        before: recurrent layers keep their state, but gradients stop there (truncated
        back-propagation through time). The same in evaluation.
      buckets: number of lengths to which token columns may be truncated, each batch to the shortest
        that holds it; batches then consist of examples of similar length.
      sizes: (side, duration) pairs for progressive resizing: the size to which images are scaled
        down, and for how long, in order from the start of the run; after that, full size.
      freeze_statistics: batch norm uses its running statistics without updating them, and dropout
        is off, as in evaluation; for fine-tuning a few layers.
      on_device: keep the training split on the device; by default if it is smaller than 1 GiB.
      log_every: how often the training loss is logged.
      evaluate_every: how often all other splits are evaluated; also at the end.
      checkpoint_every: how often the state is saved; by default every 30 seconds, or less often if
        a save takes over a second, so that saving takes a thirtieth of the time. Also at the end,
        and when a signal stops the run. Resuming is exact in any case.
      keep: how many of the newest checkpoints to keep.
      best: see `Best`; the checkpoint with the best value is kept too.
      patience: stop early after this many evaluations in a row (of `evaluate_every`) without a
        better value of `best`; by default never.
      evaluate: the splits to evaluate; by default all but 'train'.
    """

    batch_size: int | None = None
    steps: int | None = None
    epochs: float | None = None
    eval_batch_size: int = 256
    accumulate: int = 1
    ghost_batch_size: int | None = None
    ema_decay: float | None = None
    shuffle: bool = True
    carry: bool = False
    buckets: int = 1
    sizes: tuple[tuple[int, Any], ...] = ()
    freeze_statistics: bool = False
    on_device: bool | None = None
    log_every: Duration = field(default_factory=lambda: {"steps": 50})
    evaluate_every: Duration = field(default_factory=lambda: {"epochs": 1})
    checkpoint_every: Duration | None = None
    keep: int = 3
    best: Best | None = None
    patience: int | None = None
    evaluate: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        for name in ("batch_size", "eval_batch_size", "accumulate", "buckets", "keep", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"config.training.{name}: expected at least 1, got {value}")
        if self.patience and not self.best:
            raise UserError(
                "config.training.patience: waits for a better value of config.training.best, which "
                "is not set; name its metric: --config.training.best.metric=validation/accuracy"
            )
        if self.ghost_batch_size is not None and self.ghost_batch_size < 2:
            raise UserError(
                "config.training.ghost_batch_size: expected at least 2, or None for the "
                f"whole batch, got {self.ghost_batch_size}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(f"config.training.ema_decay: must be in (0, 1), got {self.ema_decay}")
        if self.carry and self.freeze_statistics:
            raise UserError("config.training: freeze_statistics and carry exclude each other")
        if self.carry and self.buckets > 1:
            raise UserError(
                "config.training: carry keeps the order of the split, but buckets change it; use "
                "one of the two"
            )


@dataclass(frozen=True)
class Data:
    """`config.data`, except the source and its arguments.

    Args:
      twin: use a small built-in twin instead of the data.
      tokenize: token columns to make from text columns, by name.
      clips: make clips from images.
      folds: divide the train split for cross-validation; `jaxdl sweep --folds` sets it.
      transforms: applied to every batch, on the device.
      augment: applied before `transforms`, in training only.
      views: applied before `transforms`, in evaluation only.
    """

    twin: bool = False
    tokenize: Mapping[str, Tokens] | None = None
    clips: Clips | None = None
    folds: Folds | None = None
    transforms: tuple[Node, ...] = ()
    augment: tuple[Node, ...] = ()
    views: tuple[Node, ...] = ()

    @classmethod
    def of(cls, node: Node) -> tuple[Data, Node]:
        """The settings that all sources share, and the source with its arguments."""
        shared = {name: node[name] for name in DATA_KEYS if name in node}
        source = {key: value for key, value in node.items() if key not in shared}
        return cfg.call(cls, shared, "config.data"), source


DATA_KEYS = tuple(field.name for field in fields(Data))


@dataclass(frozen=True)
class Twin:
    """`config.twin`: upper limits for a run with `--config.data.twin=true`.

    Smaller values stay, and so do those set on the command line.

    Args:
      steps: length of the run, instead of its steps or epochs.
      batch_size: examples per batch in training.
      eval_batch_size: examples per batch in evaluation.
      buckets: number of lengths of token columns; each needs a compilation.
      side: pixels of the longer side of images, if `config.data` sets their size.
      model: arguments of the model that replace its own, except in a run with `init_from`.
    """

    steps: int = 10
    batch_size: int = 8
    eval_batch_size: int = 32
    buckets: int = 2
    side: int = 64
    model: Node = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        for name in ("steps", "batch_size", "eval_batch_size", "buckets", "side"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"config.twin.{name}: expected at least 1, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Settings:
    """The keys of a config.

    Args:
      model: name and arguments of the model.
      task: name and arguments of the task.
      data: the source and its arguments, and what all sources share; see `Data`.
      optimizer: name and arguments of the optimiser; see `jaxdl.optim.build`.
      training: see `Training`.
      init_from: a weight file or a run directory to start from, or see `InitFrom`. A run that has a
        checkpoint resumes from that instead.
      seed: of all randomness, at least 0.
      precision: see `Precision`.
      devices: how many to use, or how many along each axis of the mesh, dict(data=…, model=…); by
        default all, along `data`.
      placement: which part of the state each device holds: all of it ('replicated'), an equal share
        ('fsdp'), or as (regular expression, rule) pairs say; see `jaxdl.parallel.sharding`.
      parallel: how a batch is divided among devices: by 'jit', with which XLA also divides the
        state as `placement` says, or by 'pmap', with which each device holds the whole state.
      target: see `Target`.
      figures: names of figures to draw at the end, besides the learning curves.
      logging: trackers of the run, besides metrics.jsonl: each a name, or a dict of a name and
        arguments, such as ('tensorboard', 'wandb'). A resumed run may have others.
      callbacks: your own classes, each as 'package.module:Class', or as a dict of that `name` and
        arguments; see `jaxdl.training.callbacks`. A resumed run may have others.
      twin: how small a run on a twin of the data is; see `Twin`.
    """

    model: Node
    task: Node
    data: Node
    optimizer: Node
    training: Training
    init_from: InitFrom | str | None = None
    seed: int = 0
    precision: Precision = field(default_factory=Precision)
    devices: int | Mapping[str, int] | None = None
    placement: Placement = "replicated"
    parallel: Parallel = "jit"
    target: Target | None = None
    figures: tuple[str, ...] = ()
    logging: tuple[str | Node, ...] = ("tensorboard",)
    callbacks: tuple[str | Node, ...] = ()
    twin: Twin = field(default_factory=Twin)

    def __post_init__(self) -> None:
        """Refuse what can only be seen from several settings, and a seed outside its range."""
        if not 0 <= self.seed < 2**32:
            raise UserError(f"config.seed: expected at least 0 and below 2³², got {self.seed}")
        try:
            _ = self.start
        except UserError as error:
            raise UserError(f"config.init_from: {error}") from None
        if self.training.carry and self.data.get("folds"):
            raise UserError(
                "config.training.carry: reads texts in order, which config.data.folds would break; "
                "use one of the two"
            )

    @property
    def start(self) -> InitFrom | None:
        """`init_from`, as settings where it is a path."""
        return InitFrom(self.init_from) if isinstance(self.init_from, str) else self.init_from

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The settings of a config, as `jaxdl.config.read` gives it.

        Raises:
          UserError: a key is unknown, missing or ill-typed.
        """
        return cfg.call(cls, config, "config")


def _minimize_errors(node: Best | Target) -> None:
    """Set `smaller` if the metric is a loss or an error."""
    object.__setattr__(node, "smaller", node.smaller or node.metric.endswith(_ERRORS))


def _measured(name: str, metrics: Mapping[str, float], path: str, hidden: str = "\0") -> float:
    """The metric of a name.

    Args:
      name: such as 'test/accuracy'.
      metrics: all that were measured.
      path: of the key that names it.
      hidden: beginning of the names that are not suggested.

    Raises:
      UserError: it was not measured.
    """
    if name not in metrics:
        shown = [metric for metric in metrics if not metric.startswith(hidden)]
        raise UserError(f"{path}: unknown {name!r}; {suggestion(name, shown)}")
    return metrics[name]
