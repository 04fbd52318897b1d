"""Translates names in runs of jaxdl 0.1 that have changed since; no other file knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATE = {"variables": "model_state", "average": "ema"}  # parts of a checkpoint
_TRAINING = {"average": "ema_decay", "resident": "on_device"}  # keys of config.training


def state_part(path: str) -> str:
    """Today's path of an array of a state."""
    part, slash, rest = path.partition("/")
    return STATE.get(part, part) + slash + rest


def config(old: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run with today's keys."""
    training = old.get("training")
    if not isinstance(training, Mapping):
        return dict(old)
    return {**old, "training": {_TRAINING.get(key, key): x for key, x in training.items()}}
