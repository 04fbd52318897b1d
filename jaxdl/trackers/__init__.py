"""Trackers, to which a run is logged as it trains: `config.logging` names any number of them.

To add one, write a subclass of `Tracker` in a file here and list it in `TRACKERS`; or keep it in
your own code and name it in the config as `'package.module:Class'`. What a tracker needs is
imported when it starts, so that runs without it do not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxdl.trackers.base import Tracker
from jaxdl.trackers.dispatch import Trackers
from jaxdl.trackers.ml_flow import MLflow
from jaxdl.trackers.tensor_board import TensorBoard
from jaxdl.trackers.weights_and_biases import WeightsAndBiases

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Tracker", "Trackers", "WeightsAndBiases"]

TRACKERS: dict[str, Callable[..., Any]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
