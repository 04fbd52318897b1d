"""From a config to an experiment: builds, checks and loads everything that the config names."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import jax
import numpy as np

from jaxdl import config as cfg
from jaxdl import data, optim
from jaxdl.data.order import ContiguousStreams, ShuffledEpochs
from jaxdl.data.table import Table
from jaxdl.data.text.vocabulary import Vocabulary
from jaxdl.data.tokens import with_begins
from jaxdl.data.validation import require_classes, with_class_names
from jaxdl.durations import Clock
from jaxdl.environments import ENVIRONMENTS
from jaxdl.errors import UserError, own_line, reason
from jaxdl.figures import FIGURES
from jaxdl.models import MODELS, Model, functional, makes_nnx
from jaxdl.overrides import override
from jaxdl.parallel.mesh import Devices
from jaxdl.schedules import SCHEDULES, WarmUp
from jaxdl.tasks import TASKS, Task
from jaxdl.trackers import TRACKERS, Tracker
from jaxdl.training import listeners, twin
from jaxdl.training.callbacks import Callback
from jaxdl.training.experiment import Experiment
from jaxdl.training.periods import Periods
from jaxdl.training.settings import Data, Node, Settings, Training
from jaxdl.training.transforming import Transforms
from jaxdl.transforms import TRANSFORMS

_log = logging.getLogger("jaxdl")

# The nodes of a config that name a callable, and what they can name.
NODES: dict[str, cfg.Selectable] = {
    "data": cfg.Selectable(data.SOURCES, "source", Data, own=("train", "validation", "test")),
    "data.transforms": cfg.Selectable(TRANSFORMS),
    "data.augment": cfg.Selectable(TRANSFORMS),
    "data.views": cfg.Selectable(TRANSFORMS),
    "model": cfg.Selectable(
        MODELS, derived=("vocabulary", "source_vocabulary", "outputs", "classes")
    ),
    "model.environment": cfg.Selectable(ENVIRONMENTS),
    "model.trunk": cfg.Selectable(MODELS, derived=("outputs", "classes")),
    "optimizer": cfg.Selectable(
        optim.OPTIMIZERS,
        shared=optim.Shared,
        derived=("learning_rate", "mask", "weight_decay_mask"),
    ),
    "optimizer.learning_rate": cfg.Selectable(SCHEDULES, shared=WarmUp, derived=("start", "total")),
    "task": cfg.Selectable(TASKS),
    "logging": cfg.Selectable(TRACKERS),
}
# Keys of config.data that change how examples are read and seen, but not which examples they are.
_HOW = ("augment", "cache", "clips", "crop", "data_dir", "lazy", "size", "transforms", "twin",
        "views")  # fmt: skip

# Sizes that a model takes from the data: argument -> the token column whose vocabulary it counts.
_VOCABULARIES = {"vocabulary": "tokens", "source_vocabulary": "source"}
MANY_CLASSES = 1 << 16  # stands for a number of classes that is not known


def read_config(
    file: Any, overrides: Sequence[str] = (), *, small_twin: bool = True
) -> dict[str, Any]:
    """The config in a file, or a shipped one, with overrides and all defaults.

    The target is dropped if overrides change the data, unless an override sets it. An override that
    asks for a twin of the data also makes the run small, except for what overrides set.

    Args:
      file: a file or name, as after `--config`; or the config itself.
      overrides: such as `key.sub=value`, as after `--config.`
      small_twin: False keeps the sizes of the run on its real data.

    Raises:
      UserError: the file or an override cannot be read.
    """
    before = cfg.read(file)
    asked = overridden(before, twin.asks_for_twin(overrides))
    small = small_twin and cfg.at(asked, "data.twin") and not cfg.at(before, "data.twin")
    limits = twin.limits(asked, overrides) if small else {}
    texts = [f"{key}={value!r}" for key, value in limits.items()]
    config = overridden(override(before, texts, NODES, Settings), overrides)
    if changes := twin.kept_limits(asked, config, limits):
        _log.warning("twin: %s; values set on the command line are kept", changes)
    other = _other_data(resolved(before), config)
    if config["target"] and other and not any(text.startswith("target") for text in overrides):
        _log.warning(
            "config.target is dropped, since it was published for other data (%s); to keep it, set "
            "--config.target.value",
            other[0],
        )
        config["target"] = None
    return config


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the defaults of all that it names, so that later code may change its own."""
    return cfg.complete(config, NODES, Settings)


def overridden(config: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A config with overrides, each `key.sub=value`, and all defaults."""
    return resolved(override(config, overrides, NODES, Settings))


def _other_data(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The differences between the examples and classes that two configs ask for."""

    def asked(config: Mapping[str, Any]) -> dict[str, Any]:
        nodes = (config.get(group) for group in ("data", "task"))
        data, task = (node if isinstance(node, Mapping) else {} for node in nodes)
        kept = {key: value for key, value in data.items() if key not in _HOW}
        return {"data": kept, "task": {"classes": task.get("classes")}}

    return cfg.differences(asked(before), asked(after))


def build_experiment(
    config: Mapping[str, Any],
    *,
    resumed: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Experiment:
    """Build everything that a config names, and load its data.

    Args:
      config: as `jaxdl.config.read` gives it.
      resumed: there is a checkpoint, so that what `config.init_from` names is not needed.
      devices: to compile for, by default those that JAX sees. Given ones need not exist, and the
        data may then have fewer examples than a batch.

    Raises:
      UserError: the config or the data is not valid.
    """
    # ---- What costs nothing comes first, so that a mistake is found before the data is read.
    config = resolved(config)
    settings = Settings.of(config)
    training = settings.training
    figures = {name: cfg.find(name, FIGURES, "config.figures") for name in settings.figures}
    trackers = listeners.named(settings.logging, TRACKERS, Tracker, "config.logging")
    callbacks = listeners.named(settings.callbacks, {}, Callback, "config.callbacks")
    task = build_task(settings.task, MANY_CLASSES)
    if training.carry and not task.continues:
        raise UserError(
            "config.training.carry: only a text continues from batch to batch; use the task "
            "language_modeling without conditions, or leave it out"
        )
    build_model(settings.model, None, task)
    init_from = None if resumed else settings.start
    if init_from:
        _ = init_from.arrays  # read now, since reading may fail
    shared, _ = Data.of(settings.data)
    transforms = Transforms.of(shared)

    # ---- The data, and what depends on it
    splits, task = _splits_and_task(settings, shared, task)
    if transforms.needs_epochs:
        splits = {**splits, "train": splits["train"].with_rows()}
    train = splits["train"]
    model = build_model(settings.model, train.vocabularies, task, training.ghost_batch_size)
    order = _order(training, train, settings.seed, any_size=devices is not None)
    clock = Clock.of(training.steps, training.epochs, order.steps_per_epoch)

    # ---- The devices
    mesh = Devices.of(settings.devices, settings.placement, settings.parallel, devices)
    mesh.check_batch(order.batch_size, "config.training.batch_size")
    mesh.check_batch(training.eval_batch_size, "config.training.eval_batch_size")
    mesh.check_groups(order.batch_size, training.accumulate, training.ghost_batch_size)

    return Experiment(
        config=config,
        training=training,
        seed=settings.seed,
        precision=settings.precision,
        model=model,
        task=task,
        splits=splits,
        order=order,
        transforms=transforms,
        several_views=transforms.several_views or train.views > 1,
        token_lengths=_token_lengths(train, training.buckets),
        optimizer=optim.build(settings.optimizer, clock),
        rate=optim.learning_rate(settings.optimizer, clock),
        clock=clock,
        periods=Periods.of(training, clock),
        devices=mesh,
        init_from=init_from,
        target=None if shared.twin else settings.target,  # published for the real data
        figures=figures,
        logging=trackers,
        callbacks=callbacks,
    )


def _splits_and_task(
    settings: Settings, shared: Data, task: Task
) -> tuple[Mapping[str, Table], Task]:
    """The data, as the task learns it, and the task with the classes of the data."""
    splits = load_splits(settings.data)
    if "classes" not in settings.task:
        splits = with_class_names(splits, task.label)
        task = build_task(settings.task, len(splits["train"].classes) or MANY_CLASSES)
    elif not shared.twin:  # a twin need not have the classes of its original
        require_classes(splits["train"], settings.task["classes"], "config.task.classes")
    for table in splits.values():
        task.check(table)
    if settings.training.carry and task.continues:
        splits = {name: with_begins(t, task.continues) for name, t in splits.items()}
    return splits, task


def build_task(node: Node, classes: int) -> Task:
    """The task of `config.task`; if the node leaves out `classes`, with those of the data.

    Args:
      node: of the config.
      classes: the number in the data; if it is not known yet, any, to check the rest of the node.

    Raises:
      UserError: a key is unknown, missing or ill-typed.
    """
    thing, arguments = cfg.choose(node, TASKS, "config.task")
    if "classes" in cfg.parameters(thing):
        arguments.setdefault("classes", classes)
    return cfg.call(thing, arguments, "config.task")


def build_model(
    node: Node,
    vocabularies: Mapping[str, Sized] | None,
    task: Task,
    ghost_batch_size: int | None = None,
) -> Model:
    """The model of `config.model`, with the sizes that it leaves to the data and the task.

    Args:
      node: of the config.
      vocabularies: token column -> its vocabulary; None if they are not known yet, to check the
        rest of the node.
      task: if the node leaves out `outputs` or `classes`, they are the task's number of classes.
      ghost_batch_size: see `config.training`.

    Raises:
      UserError: a key is unknown, missing or ill-typed, or a vocabulary too small for the data.
    """
    thing, arguments = cfg.choose(node, MODELS, "config.model")
    takes = cfg.parameters(thing)
    for argument, column in _VOCABULARIES.items():
        size = 2 if vocabularies is None else len(vocabularies.get(column, ()))
        if argument not in takes or not size:
            continue
        if arguments.get(argument) is None:
            arguments[argument] = size
        if isinstance(arguments[argument], int) and arguments[argument] < size:
            raise UserError(
                f"config.model.{argument}: {arguments[argument]} is too small for the {size} "
                f"tokens of column {column!r}; set it to None"
            )
    for argument in ("outputs", "classes"):
        if argument in takes and (classes := getattr(task, "classes", None)):
            arguments.setdefault(argument, classes)
    if makes_nnx(thing):  # the module is created with a key, together with its parameters
        fitting = cfg.checked(thing, arguments, "config.model")
        return functional(functools.partial(thing, **fitting), ghost_batch_size)
    model = cfg.call(thing, arguments, "config.model")
    if not isinstance(model, Model):
        return functional(model, ghost_batch_size)
    if ghost_batch_size:
        raise UserError(
            "config.training.ghost_batch_size: is only for Flax modules, which this model is not; "
            "leave it out"
        )
    return model


def load_splits(
    node: Node, vocabularies: Mapping[str, Vocabulary] | None = None
) -> Mapping[str, Table]:
    """The splits of `config.data`.

    Args:
      node: of the config.
      vocabularies: those of a run; by default they are made from the train split.

    Raises:
      UserError: the data cannot be read, or is not valid.
    """
    shared, source = Data.of(node)
    read, arguments = cfg.choose(source, data.SOURCES, "config.data", selector="source")
    arguments = cfg.checked(read, arguments, "config.data")
    try:
        splits = data.load(
            read,
            twin=shared.twin,
            tokenize=shared.tokenize,
            clips=shared.clips,
            vocabularies=vocabularies,
            **arguments,
        )
        return shared.folds.apply(splits) if shared.folds else splits
    except UserError as error:
        raise UserError(f"config.data: {error}") from None
    except Exception as error:
        if not (line := own_line(error)):
            raise
        raise UserError(f"config.data.source: {reason(error)}{line}") from error


def _order(
    training: Training, train: Table, seed: int, any_size: bool
) -> ShuffledEpochs | ContiguousStreams:
    size = len(train) if training.batch_size is None else training.batch_size
    examples = max(len(train), size) if any_size else len(train)
    if training.carry:
        return ContiguousStreams(examples, size)
    lengths = _token_counts(train) if training.buckets > 1 else None
    return ShuffledEpochs(examples, size, seed, training.shuffle, lengths)


def _token_lengths(train: Table, buckets: int) -> tuple[int, ...]:
    """Lengths for `buckets`, between which equally many examples fall."""
    if buckets == 1:
        return ()
    longest = max(train.columns[name].shape[1] for name in train.vocabularies)
    cuts = np.quantile(_token_counts(train), np.arange(1, buckets) / buckets, method="higher")
    return tuple(sorted({*(int(cut) for cut in cuts), longest}))


def _token_counts(train: Table) -> np.ndarray:
    """The length of the longest sequence of each example."""
    if not train.vocabularies:
        raise UserError(
            "config.training.buckets: the data has no token columns to cut; leave it out"
        )
    counts = [np.count_nonzero(train.columns[name], axis=1) for name in train.vocabularies]
    return np.max(counts, axis=0)
