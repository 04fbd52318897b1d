"""Warnings before training, about settings that work but are probably not meant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.boxes import area
from jaxdl.data import Table, duplicates
from jaxdl.figures import PlannedRun, undrawable
from jaxdl.optim import LeastSquares
from jaxdl.tasks.answer import class_names
from jaxdl.tasks.detection_base import Detection
from jaxdl.terminal import say
from jaxdl.training.experiment import Experiment

_EXAMPLES = 16  # whose values are read
_IMAGES = 200  # whose boxes are read
_UNTAUGHT = 0.25  # the share of a class that is worth a warning
_LARGE, _SMALL = 50.0, 0.05  # as values of images that a model sees
_BEYOND_BYTES = 5.0  # the same, where the values in the data are above 255


def warn_of_doubts(
    experiment: Experiment, measured: Collection[str], say: Callable[[str], None] = say
) -> None:
    """Warn of what will not be drawn or measured, a test split that decides, and strange images.

    Args:
      experiment: what is to be trained.
      measured: what evaluation reports, from `check_shapes`.
      say: prints a line.
    """
    if not experiment.eval_splits:
        say(
            "warning     nothing is evaluated, since there is no validation or test split; "
            "name one in config.data, or set a fraction to hold out"
        )
    training = experiment.training
    if training.patience and training.best and training.best.metric.startswith("test/"):
        say(
            f"warning     {training.best.metric} decides when training stops, so the test split is "
            "no longer unseen; set config.training.best.metric to a metric of another split"
        )
    _warn_of_figures(experiment, measured, say)
    _warn_of_range(experiment, say)
    _warn_of_sizes(experiment, say)


def warn_of_overlaps(splits: Mapping[str, Table], say: Callable[[str], None] = say) -> None:
    """Warn of examples that two splits share; all must be in memory, since this reads them."""
    if any(table.lazy for table in splits.values()):
        return
    for (role, other), number in duplicates(splits).items():
        if number:
            say(
                f"warning     {role} and {other} share {number:,} identical examples, so a test on "
                "them is easier than it seems; remove them from one split"
            )


def _warn_of_figures(
    experiment: Experiment, measured: Collection[str], say: Callable[[str], None]
) -> None:
    """Warn of figures that cannot be drawn."""
    written = [f"{name}/written" for name in experiment.eval_splits] * bool(experiment.scores_text)

    def outputs() -> Any:
        with experiment.precision.enabled():
            batch = experiment.abstract_batch()
            return jax.eval_shape(experiment.prediction, experiment.abstract_state, batch)

    planned = PlannedRun(
        experiment.task,
        experiment.splits,
        experiment.eval_splits,
        {*measured, *written},
        functools.cache(outputs),
    )
    for name, needs in undrawable(experiment.figures, planned).items():
        say(f"warning     figure {name!r} cannot be drawn: it needs {needs}")


def _warn_of_range(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Warn of images or features that reach the model in a range that no model is made for.

    Bytes as they are, 0 to 255, more than bytes, or numbers from 0 to 1 that are divided by 255
    once more. Least squares finds the same fit of features in any range.
    """
    name, train = experiment.task.input, experiment.splits["train"]
    column = train.columns.get(name)
    if column is None or isinstance(experiment.optimizer, LeastSquares):
        return
    are_features = name == "features" and column.ndim == 2
    if not are_features and (column.ndim != 4 or column.shape[-1] > 4):
        return
    raw = train[_spread(train, _EXAMPLES)]
    deep = float(np.max(np.abs(np.asarray(raw[name], np.float32)), initial=0)) > 255
    some = jax.tree.map(jnp.asarray, raw)
    batch = experiment.transforms.always(some, jax.random.key(0))
    largest = float(np.max(np.abs(np.asarray(batch[name], np.float32)), initial=0))
    if are_features:
        if largest > _LARGE:
            say(
                f"warning     column {name!r} reaches the model with values up to {largest:g}, "
                "which few models learn; set config.data.standardize=true for a table, or add "
                "dict(name='standardize', column='features', …) to config.data.transforms"
            )
    elif largest > (_BEYOND_BYTES if deep else _LARGE):
        say(
            f"warning     column {name!r} reaches the model with values up to {largest:g}; unless "
            "the model expects them, add dict(name='scale') to config.data.transforms"
        )
    elif 0 < largest < _SMALL:
        say(
            f"warning     column {name!r} reaches the model with no value above {largest:.2g}; if "
            "it was in [0, 1] already, take `scale` out of config.data.transforms, or set its by=1"
        )


def _warn_of_sizes(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Warn of classes whose objects have sizes that training does not teach to find."""
    task, train = experiment.task, experiment.splits["train"]
    if not isinstance(task, Detection):
        return
    rows = _spread(train, _IMAGES)
    boxes, labels, crowd = (train.columns[name][rows] for name in ("boxes", "labels", "crowd"))

    @jax.jit
    def taught(boxes: jax.Array) -> jax.Array:  # anchors are constants: no layer is compiled
        key, model = jax.random.key(0), experiment.model
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), train.batch_shapes(1))
        inputs = task.inputs(experiment.transforms.always(blank, key))
        outputs, _ = model.apply(*model.init(key, inputs), inputs, None, False)
        return jax.lax.map(lambda boxes: task.taught(outputs, boxes), boxes)

    with experiment.precision.enabled():
        found = np.asarray(taught(jnp.asarray(boxes)))
    for label, name in enumerate(class_names(train.classes, task.classes)):
        of_class = (labels == label) & ~crowd
        lost = of_class & ~found
        if lost.sum() > _UNTAUGHT * of_class.sum():
            sides = np.sqrt(area(jnp.asarray(boxes[lost])))
            say(
                f"warning     {lost.sum():,} of {of_class.sum():,} {name!r} have a size that no "
                f"anchor has (about {np.median(sides):.0f} pixels), and will hardly be learned; "
                "change config.model.levels or config.data.size"
            )


def _spread(table: Table, most: int) -> np.ndarray:
    """Rows from all over a table, at most so many."""
    return np.linspace(0, len(table) - 1, min(most, len(table))).astype(int)
