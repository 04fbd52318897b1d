"""Tasks: the inputs, per-example loss, metrics and predictions of what is learnt.

They know batches and model outputs, but not models or training.
To add one, write a subclass of `Task` with a `loss` in a file here and add it to `TASKS`, or keep
it in your own code and name it in the config as `'package.module:Class'`.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxdl.tasks.answer import Answer
from jaxdl.tasks.base import GeneratesText, GivesAnswers, GivesLogits, SquaredErrors, Task
from jaxdl.tasks.classification import Classification
from jaxdl.tasks.detection import FCOS, RetinaNet
from jaxdl.tasks.faster_rcnn import FasterRCNN
from jaxdl.tasks.language import LanguageModeling
from jaxdl.tasks.localization import Localization
from jaxdl.tasks.piano_roll import Music
from jaxdl.tasks.policy_gradient import PolicyGradient
from jaxdl.tasks.reconstruction import Reconstruction
from jaxdl.tasks.regression import Regression
from jaxdl.tasks.variational import Variational

TASKS: dict[str, Callable[..., Task]] = {
    "classification": Classification,
    "faster_rcnn": FasterRCNN,
    "fcos": FCOS,
    "language_modeling": LanguageModeling,
    "localization": Localization,
    "music": Music,
    "policy_gradient": PolicyGradient,
    "reconstruction": Reconstruction,
    "regression": Regression,
    "retinanet": RetinaNet,
    "variational": Variational,
}

__all__ = [
    "FCOS",
    "TASKS",
    "Answer",
    "Classification",
    "FasterRCNN",
    "GeneratesText",
    "GivesAnswers",
    "GivesLogits",
    "LanguageModeling",
    "Localization",
    "Music",
    "PolicyGradient",
    "Reconstruction",
    "Regression",
    "RetinaNet",
    "SquaredErrors",
    "Task",
    "Variational",
]
