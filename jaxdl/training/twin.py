"""How a run on a twin of its data is made small, by the limits of `config.twin`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxdl import config as cfg
from jaxdl.training.settings import Twin

Config = Mapping[str, Any]


def asks_for_twin(overrides: Iterable[str]) -> list[str]:
    """The overrides that say whether there is a twin, and how small its run is."""
    return [text for text in overrides if re.match(r"data\.twin=|twin[.=]", text)]


def limits(asked: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """What a run on a twin is limited to: key -> value.

    Args:
      asked: the config, with all defaults and with what `asks_for_twin`.
      overrides: all. If they name another model, or weights to start from, the model is theirs.

    Raises:
      UserError: a limit is not valid.
    """
    if not isinstance(cfg.at(asked, "twin"), Mapping):
        return {}  # whoever builds the config will say so
    twin = cfg.call(Twin, asked["twin"], "config.twin")
    counts = ("steps", "batch_size", "eval_batch_size", "buckets")
    most = {f"training.{name}": getattr(twin, name) for name in counts}
    most["training.ghost_batch_size"] = twin.batch_size  # a batch is one group
    most |= dict.fromkeys(("data.size", "data.crop.size"), twin.side)
    values = {key: _at_most(cfg.at(asked, key), limit) for key, limit in most.items()}
    if cfg.at(asked, "training.epochs") is not None:
        values["training.steps"] = twin.steps
    if cfg.at(asked, "training.sizes"):
        values["training.sizes"] = ()
    if isinstance(size := cfg.at(asked, "data.crop.size"), int) and size > twin.side:
        values["data.crop.resize"] = None  # by default in proportion to the size
    if not (cfg.at(asked, "init_from") or _names_model(overrides)):
        values |= {f"model.{key}": value for key, value in twin.model.items()}
    return {key: value for key, value in values.items() if value != cfg.at(asked, key)}


def kept_limits(asked: Config, made: Config, limits: Config) -> str:
    """The limits that apply to a config, in one line; empty if none."""
    kept = [key for key, value in limits.items() if cfg.at(made, key) == value]
    steps = cfg.at(asked, "training.steps") or f"{cfg.at(asked, 'training.epochs')} epochs"
    before = {key: cfg.at(asked, key) for key in kept} | {"training.steps": steps}
    return ", ".join(f"{key} {before[key]} -> {limits[key]}" for key in kept)


def _at_most(value: Any, most: int) -> Any:
    """A number, or (height, width) in proportion; anything else as it is."""
    if isinstance(value, tuple) and all(isinstance(side, int) for side in value):
        longest = max(value, default=0)
        return tuple(max(1, x * most // longest) for x in value) if longest > most else value
    return min(value, most) if isinstance(value, int) else value


def _names_model(overrides: Iterable[str]) -> bool:
    return any(re.match(r"init_from[.=]|model(\.name)?=", text) for text in overrides)
