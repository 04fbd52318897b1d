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

# Endings of the names of metrics of which less is better, whatever a config says.
_ERRORS = ("loss", "error", "mse", "mae", "nll", "perplexity", "bits_per_character", "divergence",
           "cross_entropy")  # fmt: skip
Node = Mapping[str, Any]  # of a config: a name, and the arguments of what it stands for
Duration = int | Mapping[str, Any]  # steps, dict(steps=…) or dict(epochs=…)


@dataclass(frozen=True)
class Best:
    """`config.training.best`: what makes one checkpoint better than another.

    Args:
      metric: of an evaluation, such as 'validation/accuracy'.
      smaller: whether smaller is better; of a loss or an error it always is.
    """

    metric: str
    smaller: bool = False

    def __post_init__(self) -> None:
        """Look for the least loss, never for the largest."""
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
      smaller: whether smaller is better; of a loss or an error it always is.
    """

    metric: str
    value: float
    source: str
    smaller: bool = False

    def __post_init__(self) -> None:
        """Be content with a small loss, never with a large one."""
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
    """`config.training`. Durations are `dict(steps=…)` or `dict(epochs=…)`.

    Args:
      batch_size: examples an update, over all devices; None takes the whole split.
      steps: length of the run, or
      epochs: length of the run in passes over the training split.
      eval_batch_size: examples a batch of evaluation.
      accumulate: parts in which a batch is taken, one after the other, to save memory.
      ghost_batch_size: examples that batch norm takes statistics of, in training; by default those
        of a batch, or of each part. In groups they are the same on any number of devices, and no
        device waits for another (Hoffer et al. 2017).
      ema_decay: decay of an exponential moving average of the parameters, which is then what is
        evaluated.
      shuffle: a fresh order each epoch.
      carry: the split is read as `batch_size` streams, in order, and each batch continues the one
        before: recurrent layers go on from their last state, gradients do not (truncated
        back-propagation through time). Evaluation likewise.
      buckets: to how many lengths token columns may be cut, each batch to the shortest that holds
        it; batches are then made of examples of like length.
      sizes: (side, duration) pairs: to which size images are scaled down, and for how long, one
        after the other from the start of the run; then they keep theirs (progressive resizing).
      freeze_statistics: batch norm normalises by its running statistics and leaves them as they
        are, and nothing is dropped: the model as in evaluation, as for fine-tuning a few layers.
      on_device: hold the training split on the device; by default if it is below 1 GiB.
      log_every: how often the training loss is recorded.
      evaluate_every: how often all other splits are evaluated; also at the end.
      checkpoint_every: how often the state is saved; by default every 30 seconds, or, where that
        takes longer than a second, so that it takes a thirtieth of the time, which costs nothing
        in exactness. Also at the end, and when a signal stops the run.
      keep: how many checkpoints to keep, of the newest.
      best: see `Best`; the checkpoint with the best value is kept too.
      patience: the run stops early after so many evaluations in a row (of `evaluate_every`) without
        a better value of `best`; by default it never does.
      evaluate: the splits to evaluate, by default all but 'train'.
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
            raise UserError("config.training: freeze_statistics is not for models with a carry")
        if self.carry and self.buckets > 1:
            raise UserError("config.training: carry keeps the order of the split, buckets do not")


@dataclass(frozen=True)
class Data:
    """`config.data`, but for its source and what that takes.

    Args:
      twin: a small built-in twin instead of the data.
      tokenize: token columns to make of columns of text, by name.
      clips: makes clips of images.
      folds: for cross-validation, divides the train split; `jaxdl sweep --folds` sets it.
      transforms: what is done to a batch on the device, always,
      augment: in training alone, before the transforms,
      views: and in evaluation alone, before the transforms.
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
        """What all sources share, and the source with its arguments."""
        shared = {name: node[name] for name in DATA_KEYS if name in node}
        source = {key: value for key, value in node.items() if key not in shared}
        return cfg.call(cls, shared, "config.data"), source


DATA_KEYS = tuple(field.name for field in fields(Data))


@dataclass(frozen=True)
class Twin:
    """`config.twin`: the most that a run takes when `--config.data.twin=true` asks for a twin.

    What is less stays, as does what the command line sets.

    Args:
      steps: of the run, in place of its steps or epochs.
      batch_size: examples a batch, in training,
      eval_batch_size: and in evaluation.
      buckets: lengths of token columns; each is compiled.
      side: pixels of the longer side of images, where `config.data` says their size.
      model: arguments of the model, in place of its own; not of a run with `init_from`.
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
      data: source and its arguments, and what all sources share: see `Data`.
      optimizer: name and arguments of the optimiser; see `jaxdl.optim.build`.
      training: see `Training`.
      init_from: a weight file or the directory of a run to start from, or see `InitFrom`. A run
        that has a checkpoint goes on from that.
      seed: of all randomness, at least 0.
      precision: see `Precision`.
      devices: how many to use, or how many along each axis of the mesh, dict(data=…, model=…);
        by default all, along `data`.
      placement: what of the state each device holds: all ('replicated'), its share ('fsdp'), or
        by (regular expression, rule) pairs; see `jaxdl.parallel.sharding`.
      parallel: what divides a batch among devices: 'jit', by which XLA also divides states as
        `placement` says, or 'pmap', for which each device holds the state and batch whole.
      target: see `Target`.
      figures: names of figures to draw at the end, beside the learning curves.
      logging: trackers that are told of the run, beside metrics.jsonl: each a name or a dict of a
        name and arguments, such as ('tensorboard', 'wandb'). A run that goes on may have others.
      callbacks: classes of one's own, each 'package.module:Class' or a dict of that as `name` and
        arguments; see `jaxdl.training.callbacks`. A run that goes on may have others.
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
        """Refuse a seed outside its range, no name of weights, and folds of what is in order."""
        if not 0 <= self.seed < 2**32:
            raise UserError(f"config.seed: expected at least 0 and below 2³², got {self.seed}")
        try:
            _ = self.start
        except UserError as error:
            raise UserError(f"config.init_from: {error}") from None
        if self.training.carry and self.data.get("folds"):
            raise UserError("config.training.carry: goes through texts in order, folds do not")

    @property
    def start(self) -> InitFrom | None:
        """What `init_from` stands for."""
        return InitFrom(self.init_from) if isinstance(self.init_from, str) else self.init_from

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The settings of a config, as `jaxdl.config.read` gives it.

        Raises:
          UserError: a key is unknown, missing or ill-typed.
        """
        return cfg.call(cls, config, "config")


def _minimize_errors(node: Best | Target) -> None:
    """Set `smaller` where the metric is a loss or an error, whatever was given."""
    object.__setattr__(node, "smaller", node.smaller or node.metric.endswith(_ERRORS))


def _measured(name: str, metrics: Mapping[str, float], path: str, hidden: str = "\0") -> float:
    """The metric of a name.

    Args:
      name: such as 'test/accuracy'.
      metrics: all that were measured.
      path: of the key that names it.
      hidden: what is not proposed begins so.

    Raises:
      UserError: it was not measured.
    """
    if name not in metrics:
        shown = [metric for metric in metrics if not metric.startswith(hidden)]
        raise UserError(f"{path}: unknown {name!r}; {suggestion(name, shown)}")
    return metrics[name]
