"""Where a run is told of, as it trains: `config.logging` names any number of these.

To add one, write a class as `Tracker` says, in a file of this room, and name it in `TRACKERS`; or
keep it in your own code and name it in the config as `'package.module:Class'`. What a tracker needs
is imported when it starts, so that nobody else pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxdl.trackers.base import Tracker
from jaxdl.trackers.ml_flow import MLflow
from jaxdl.trackers.telling import Trackers
from jaxdl.trackers.tensor_board import TensorBoard
from jaxdl.trackers.weights_and_biases import WeightsAndBiases

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Tracker", "Trackers", "WeightsAndBiases"]

TRACKERS: dict[str, Callable[..., Any]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
