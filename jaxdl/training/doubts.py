"""What can be computed, and yet is probably not meant: told before training, not refused."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.terminal import say
from jaxdl.training.experiment import Experiment

_EXAMPLES = 16  # that are looked at
_LARGE, _SMALL = 50.0, 0.05  # as values of images that a model sees


def tell_doubts(experiment: Experiment, say: Callable[[str], None] = say) -> None:
    """Tell of images that reach the model in a range that no model is made for.

    Bytes as they are, 0 to 255, or numbers from 0 to 1 that are divided by 255 once more. And of a
    test split that decides when training stops.
    """
    training = experiment.training
    if training.patience and training.best and training.best.metric.startswith("test/"):
        say(
            f"doubt       {training.best.metric} decides when training stops, so the test split is "
            "no longer unseen; let config.training.best.metric name a metric of another split"
        )
    name, train = experiment.task.input, experiment.splits["train"]
    column = train.columns.get(name)
    if column is None or column.ndim != 4 or column.shape[-1] > 4:
        return
    rows = np.linspace(0, len(train) - 1, min(_EXAMPLES, len(train))).astype(int)
    some = jax.tree.map(jnp.asarray, train[rows])
    batch = experiment.transform(some, jax.random.key(0))
    largest = float(np.max(np.abs(np.asarray(batch[name], np.float32)), initial=0))
    if largest > _LARGE:
        say(
            f"doubt       column {name!r} reaches the model with values up to {largest:g}; if it "
            "is not made for them, add dict(name='scale') to config.data.transforms"
        )
    elif 0 < largest < _SMALL:
        say(
            f"doubt       column {name!r} reaches the model with no value above {largest:.2g}; if "
            "it was from 0 to 1 before, take the scale out of config.data.transforms, or set "
            "its by=1"
        )
