"""jaxdl: a JAX functional research framework.

What a researcher imports, each part alone, with no config and no command line:

    model = jaxdl.functional(module)                  a Flax module as pure functions
    task = jaxdl.Classification(classes=10)           what is learnt
    step = jaxdl.make_step(model, task, optimizer)    (state, batch) -> (state, summary)
    jaxdl.accumulate, jaxdl.indexed, jaxdl.repeat,    functions of such functions
    jaxdl.continued, jaxdl.bucketed, jaxdl.resized,
    jaxdl.population
    jaxdl.jit                                         compiles them, as the command line does
    jaxdl.evaluate                                    every example exactly once
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl.data.order import Order, Streams
    from jaxdl.data.table import Table
    from jaxdl.errors import UserError
    from jaxdl.models.functional import Model, functional
    from jaxdl.tasks import Classification, LanguageModeling, Regression
    from jaxdl.training.devices import Devices, jit
    from jaxdl.training.evaluation import evaluate, make_evaluation, make_prediction
    from jaxdl.training.precision import Precision
    from jaxdl.training.state import State
    from jaxdl.training.step import (
        accumulate,
        bucketed,
        continued,
        indexed,
        init,
        make_step,
        population,
        repeat,
        resized,
    )

__version__ = "0.1.0"

_HOMES = {
    "jaxdl.data.order": ("Order", "Streams"),
    "jaxdl.data.table": ("Table",),
    "jaxdl.errors": ("UserError",),
    "jaxdl.models.functional": ("Model", "functional"),
    "jaxdl.tasks": ("Classification", "LanguageModeling", "Regression"),
    "jaxdl.training.devices": ("Devices", "jit"),
    "jaxdl.training.evaluation": ("evaluate", "make_evaluation", "make_prediction"),
    "jaxdl.training.precision": ("Precision",),
    "jaxdl.training.state": ("State",),
    "jaxdl.training.step": (
        *("accumulate", "bucketed", "continued", "indexed", "init", "make_step", "repeat"),
        *("population", "resized"),
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Classification",
    "Devices",
    "LanguageModeling",
    "Model",
    "Order",
    "Precision",
    "Regression",
    "State",
    "Streams",
    "Table",
    "UserError",
    "accumulate",
    "bucketed",
    "continued",
    "evaluate",
    "functional",
    "indexed",
    "init",
    "jit",
    "make_evaluation",
    "make_prediction",
    "make_step",
    "population",
    "repeat",
    "resized",
]


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: JAX and Flax take a second."""
    if name not in _HOME:
        raise AttributeError(f"module 'jaxdl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
