"""jaxdl: a JAX functional research framework.

What a researcher imports, each part alone, with no config and no command line:

    model = jaxdl.functional(module)                  a Flax module as pure functions
    task = jaxdl.Classification(classes=10)           what is learnt
    step = jaxdl.make_step(model, task, optimizer)    (state, batch) -> (state, summary)
    jaxdl.accumulate, jaxdl.repeat, …                 functions of steps: `training.combinators`
    jaxdl.jit                                         compiles them, as the command line does
    jaxdl.evaluate                                    every example exactly once
    jaxdl.train("digits_cnn", "runs/digits")          trains a config, as the command line does
    jaxdl.load("runs/digits")                         a run that was trained, to be used
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl.data.order import ContiguousStreams as ContiguousStreams
    from jaxdl.data.order import ShuffledEpochs as ShuffledEpochs
    from jaxdl.data.table import Table as Table
    from jaxdl.errors import UserError as UserError
    from jaxdl.inference.loaded import load as load
    from jaxdl.inference.loaded import train as train
    from jaxdl.metrics import Count as Count
    from jaxdl.metrics import Mean as Mean
    from jaxdl.metrics import PerExample as PerExample
    from jaxdl.models.functional import Model as Model
    from jaxdl.models.functional import functional as functional
    from jaxdl.parallel.mesh import Devices as Devices
    from jaxdl.parallel.mesh import jit as jit
    from jaxdl.tasks import Classification as Classification
    from jaxdl.tasks import LanguageModeling as LanguageModeling
    from jaxdl.tasks import Regression as Regression
    from jaxdl.tasks import Task as Task
    from jaxdl.trackers import Tracker as Tracker
    from jaxdl.training.callbacks import Callback as Callback
    from jaxdl.training.combinators import accumulate as accumulate
    from jaxdl.training.combinators import bucketed as bucketed
    from jaxdl.training.combinators import gather_batch as gather_batch
    from jaxdl.training.combinators import population as population
    from jaxdl.training.combinators import progressive_resize as progressive_resize
    from jaxdl.training.combinators import repeat as repeat
    from jaxdl.training.combinators import truncated_bptt as truncated_bptt
    from jaxdl.training.evaluation import evaluate as evaluate
    from jaxdl.training.evaluation import make_evaluation as make_evaluation
    from jaxdl.training.evaluation import make_prediction as make_prediction
    from jaxdl.training.precision import Precision as Precision
    from jaxdl.training.state import State as State
    from jaxdl.training.step import init as init
    from jaxdl.training.step import make_step as make_step

__version__ = "0.1.0"

_MODULES = {  # module -> what is imported from it, when it is first used
    "data.order": "ContiguousStreams ShuffledEpochs",
    "data.table": "Table",
    "errors": "UserError",
    "inference.loaded": "load train",
    "metrics": "Count Mean PerExample",
    "models.functional": "Model functional",
    "parallel.mesh": "Devices jit",
    "tasks": "Classification LanguageModeling Regression Task",
    "trackers": "Tracker",
    "training.callbacks": "Callback",
    "training.combinators": "accumulate bucketed gather_batch population progressive_resize repeat "
    "truncated_bptt",
    "training.evaluation": "evaluate make_evaluation make_prediction",
    "training.precision": "Precision",
    "training.state": "State",
    "training.step": "init make_step",
}
_ROOMS = ("data", "models", "tasks", "transforms")  # attributes too: jaxdl.models.ResNet
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = sorted({*_HOME, *_ROOMS})


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: JAX and Flax take a second."""
    if name in _ROOMS:
        return importlib.import_module(f"jaxdl.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxdl' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxdl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
