"""How a run continues: with more steps, or with data that has moved.

The config of a run may change in two ways. Its data may have moved, if its fingerprint is the same;
relative paths are kept in config.json as absolute ones, so that the run resumes from any directory.
And the run may be made longer. The schedule is then not stretched, since the steps so far followed
it as it was: where it ended with the run, its last rate continues. If that rate is 0, more steps
are refused.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxdl import config as cfg
from jaxdl.checkpointing import renamed
from jaxdl.checkpointing.manifest import contents
from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.places import places_of
from jaxdl.durations import OTHER_UNIT, Clock, in_steps
from jaxdl.errors import UserError, some
from jaxdl.schedules import SCHEDULES
from jaxdl.training.build import resolved
from jaxdl.training.experiment import Experiment

_NOT_OF_A_RUN = ("twin", "logging", "callbacks")

Config = Mapping[str, Any]


def with_absolute_paths(config: Config) -> dict[str, Any]:
    """The config with absolute paths to its data, where the data exists."""
    data = _node(config, "data")
    paths = {
        key: os.path.abspath(data[key])
        for key in _places(data)
        if isinstance(data.get(key), str) and glob.glob(data[key])
    }
    return {**config, "data": {**data, **paths}} if paths else dict(config)


def lasting(config: Config) -> dict[str, Any]:
    """The part of a config that may not change when a run is resumed: all but the data's place.

    The limits for a twin were applied when the config was read, and trackers and callbacks cannot
    change a run.
    """
    kept = {key: value for key, value in resolved(config).items() if key not in _NOT_OF_A_RUN}
    return _without(kept, "data", _places(_node(config, "data")))


def past(config: Config) -> dict[str, Any]:
    """The part of a config that may not change when a run is extended: what made its steps."""
    return _without(lasting(_pinned(config)), "training", OTHER_UNIT)


def changes_since(config: Config, checkpoint: Path) -> list[str] | None:
    """What a run's config has other than that which made a checkpoint; None if it does not say."""
    saved = cfg.plain(contents(checkpoint)["notes"].get("origin", {}), "checkpoint").get("config")
    if not isinstance(saved, Mapping):
        return None
    return config_changes(config, saved, checkpoint.parent)


def config_changes(config: Config, saved: Config, checkpoints: Path) -> list[str]:
    """What a run's config has other than one that its checkpoints keep, the run's length aside."""
    saved = cfg.from_run(renamed.config(saved), str(checkpoints))
    return cfg.differences(past(cfg.as_own(saved, config)), past(config))


def require_config_of(run: Run, step: int) -> None:
    """Refuse to use a checkpoint by another config than the one that made it."""
    if changes := changes_since(run.config(), run.checkpoints / str(step)):
        raise UserError(
            f"{run.folder / 'config.json'}: differs from the config that made the checkpoint "
            f"({some(changes)}); restore it"
        )


def length(config: Config) -> dict[str, Any]:
    """How long a run is, `{'steps': …}` or `{'epochs': …}`."""
    training = _node(config, "training")
    return {unit: training[unit] for unit in OTHER_UNIT if training.get(unit) is not None}


def extended(config: Config, to: Mapping[str, Any]) -> dict[str, Any]:
    """The config with a new total length; unchanged if that is its length already.

    Raises:
      UserError: the length is not valid.
    """
    in_steps(to, 1, "--extend")
    if length(config) == to:
        return dict(config)
    config = _without(_pinned(config), "training", OTHER_UNIT)
    return {**config, "training": {**config["training"], **to}}


def check_extension(experiment: Experiment, before: Mapping[str, Any]) -> str:
    """Check that an extension makes the run longer, and that the added steps can learn something.

    Args:
      experiment: of the extended config.
      before: the run's length until now, as `length` returns it.

    Returns:
      A line to print about it.

    Raises:
      UserError: it becomes shorter, or its schedule has ended with a learning rate of 0.
    """
    clock = experiment.clock
    end = Clock.of(before.get("steps"), before.get("epochs"), clock.steps_per_epoch).total
    if clock.total <= end:
        raise UserError(
            f"--extend: the run already has {end:,} steps, and {clock.total:,} are not more; give "
            "the total length, such as --extend epochs=20"
        )
    told = f"extended from {end:,} to {clock.total:,} steps"
    if experiment.rate is None:
        return told
    rate = float(experiment.rate(jnp.asarray(end)))
    if not rate > 1e-12:
        raise UserError(
            f"--extend: the learning rate has fallen to 0 at step {end:,}, so more steps would "
            "change nothing; start another run from its weights instead, with "
            "--config.init_from=RUN and another --workdir"
        )
    return f"{told}; the learning rate stays at {rate:.3g}, where the schedule ended"


def check_patience(result: Mapping[str, Any] | None) -> None:
    """Refuse to extend a run that stopped early.

    Raises:
      UserError: the result says that it stopped early.
    """
    if result and (stopped := result.get("stopped_early")):
        raise UserError(
            f"--extend: the run stopped early at step {stopped['step']:,} of "
            f"{stopped['of_steps']:,}, and would do so again with config.training.patience="
            f"{stopped['patience']}; train another run with more patience, in another --workdir"
        )


def _pinned(config: Config) -> dict[str, Any]:
    """The config with the ends of schedules written out, which by default are that of the run."""
    optimizer = _node(config, "optimizer")
    groups = optimizer.get("groups")
    if isinstance(groups, tuple) and all(isinstance(g, tuple) and len(g) == 2 for g in groups):
        groups = tuple((regex, _ending(node, config)) for regex, node in groups)
        optimizer = {**optimizer, "groups": groups}
    return {**config, "optimizer": _ending(optimizer, config)} if optimizer else dict(config)


def _ending(node: Any, config: Config) -> Any:
    rate = _node(node, "learning_rate")
    thing = SCHEDULES.get(str(rate.get("name")))
    if thing is None or rate.get("total") is not None or "total" not in cfg.parameters(thing):
        return node
    return {**node, "learning_rate": {**rate, "total": length(config)}}


def _node(config: Any, name: str) -> Mapping[str, Any]:
    """A node of a config, or an empty one; whoever builds the config will report it."""
    node = config.get(name) if isinstance(config, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _without(config: Config, name: str, keys: Collection[str]) -> dict[str, Any]:
    """The config without some keys of a node."""
    node = _node(config, name)
    return (
        {**config, name: {k: v for k, v in node.items() if k not in keys}} if node else {**config}
    )


def _places(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of `config.data` that name files or folders."""
    return (*places_of(str(data.get("source"))), "data_dir")
