"""What figures need of a run, as far as it is known before training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl.errors import UserError

if TYPE_CHECKING:
    from jaxdl.data.table import Table
    from jaxdl.tasks import Task


class PlannedRun(NamedTuple):
    """What is known of a run before it is trained.

    Attributes:
      task: what is to be learnt.
      splits: the data, by name.
      eval_splits: the names of the evaluated splits.
      measured: what evaluation reports, such as 'test/confusion'.
      outputs: gives what the task predicts for a batch, as shapes.
    """

    task: Task
    splits: Mapping[str, Table]
    eval_splits: Sequence[str]
    measured: Collection[str]
    outputs: Callable[[], Any]

    def measures(self, name: str) -> bool:
        """Whether evaluation reports this of a split."""
        return any(each.endswith(f"/{name}") for each in self.measured)

    def has(self, *columns: str) -> bool:
        """Whether the data has these columns."""
        return {*columns} <= {*self.splits["train"].columns}

    def predicts(self, *names: str) -> bool:
        """Whether the task predicts a mapping with these names."""
        outputs = self.outputs()
        return isinstance(outputs, Mapping) and {*names} <= outputs.keys()


# figure -> whether it can be drawn, and what it needs
_NEEDS: dict[str, tuple[Callable[[PlannedRun], bool], str]] = {
    "captions": (
        lambda run: run.measures("written") and run.has("image"),
        "a task that generates text about images",
    ),
    "class_accuracy": (
        lambda run: run.measures("class_accuracy"),
        "a classification task, and a split to evaluate",
    ),
    "codes": (
        lambda run: (
            run.predicts("reconstruction", "code") and run.outputs()["code"].shape[1:] == (2,)
        ),
        "the task 'reconstruction', and codes of two numbers; set config.model.code=2",
    ),
    "confusion": (
        lambda run: run.measures("confusion"),
        "a classification task with confusion, of at most 100 classes, and a split to evaluate",
    ),
    "descent_path": (lambda run: run.has("x", "target"), "columns x and target"),
    "detections": (
        lambda run: run.has("boxes", "extent", "scale") and run.predicts("boxes", "scores"),
        "a detection task, on a source of boxes",
    ),
    "episode": (
        lambda run: run.predicts("scene", "playing", "reward"),
        "a model that plays, such as actor_critic",
    ),
    "localizations": (
        lambda run: run.measures("top1_localization_error"),
        "the task localization",
    ),
    "piano_roll": (lambda run: run.has("keys", "length"), "the task 'music'"),
    "polynomial_fit": (lambda run: run.has("x", "target"), "columns x and target"),
    "precision_recall": (
        lambda run: run.measures("precision_recall") and _has_objects(run),
        "a detection task, and a split to evaluate that has objects",
    ),
    "reconstructions": (
        lambda run: run.predicts("reconstruction") and run.has("image"),
        "the task 'reconstruction', of images",
    ),
    "samples": (
        lambda run: run.predicts("reconstruction", "sample") and run.has("image"),
        "a model that makes images, such as 'vae'",
    ),
    "steering": (
        lambda run: run.measures("predictions") and getattr(run.task, "group", None) is not None,
        "a regression task with a group, and a split to evaluate of at most 10,000 examples",
    ),
    "steering_strip": (
        lambda run: (
            run.measures("predictions")
            and getattr(run.task, "group", None) is not None
            and run.splits["train"].columns[run.task.input].ndim in (4, 5)
        ),
        "a regression task of images with a group, and a split to evaluate of at most 10,000 "
        "examples",
    ),
}


def lacking(name: str) -> UserError:
    """The error for a figure whose needs are not met."""
    return UserError(f"config.figures: {name!r} needs {_NEEDS[name][1]}")


def undrawable(figures: Iterable[str], run: PlannedRun) -> dict[str, str]:
    """The figures that cannot be drawn, and what they need; not known for a user's own."""
    return {
        name: _NEEDS[name][1] for name in figures if name in _NEEDS and not _NEEDS[name][0](run)
    }


def _has_objects(run: PlannedRun) -> bool:
    tables = [run.splits[name] for name in run.eval_splits]
    return any((np.asarray(table.columns["labels"]) >= 0).any() for table in tables)
