"""What a run has learnt, from its directory alone: its data is not needed."""

from __future__ import annotations

import functools

import numpy as np

from jaxdl import config as cfg
from jaxdl.checkpoints import Checkpoints
from jaxdl.data.crops import Crop
from jaxdl.data.vocabulary import from_json
from jaxdl.errors import UserError
from jaxdl.runs import Run
from jaxdl.tasks import TASKS, Task
from jaxdl.training.experiment import Settings, build_model, build_transforms
from jaxdl.training.precision import Precision
from jaxdl.training.state import State


class Learnt:
    """The parts of a run that use what it has learnt.

    Args:
      run: its directory.

    Attributes:
      columns: of the data: name -> dtype and shape of an example.
      classes: names of the labels, where the data has them.
      vocabularies: token column -> what its ids stand for.
      crop: what is seen of images that are decoded as they are needed.
      task, model, transform, views, precision: as in training and evaluation.

    Raises:
      UserError: the directory is damaged.
    """

    def __init__(self, run: Run) -> None:
        settings = cfg.call(Settings, run.config(), "config")
        self._run = run
        data = run.data()
        try:
            self.columns, self.classes = data["columns"], data["classes"]
            described = data["vocabularies"]
            self.vocabularies = {name: from_json(described[name]) for name in described}
            for column in self.columns.values():
                np.dtype(column["dtype"])
                if min(column["shape"], default=0) < 0:
                    raise ValueError(f"no array is of shape {column['shape']}")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{run.folder / 'data.json'}: damaged ({type(error).__name__}: {error}); restore it"
            ) from None
        sizes = {name: len(vocabulary) for name, vocabulary in self.vocabularies.items()}
        self.task: Task = cfg.build(settings.task, TASKS, "config.task")
        self.model = build_model(settings.model, sizes)
        self.transform, crop = build_transforms(settings.data), settings.data.get("crop")
        self.views = build_transforms(settings.data, "views")
        self.crop = None if crop is None else cfg.call(Crop, crop, "config.data.crop")
        self.precision = cfg.call(Precision, settings.precision, "config.precision")

    @functools.cached_property
    def state(self) -> State:
        """The newest (or best) sound checkpoint, without the optimiser's state.

        Raises:
          UserError: there is none.
        """
        with self.precision.enabled():
            found = Checkpoints(self._run.checkpoints, best=self._run.best).read()
        return State(
            step=found["step"],
            seed=found["seed"],
            params=found["params"],
            variables=found["variables"] or {},
            opt_state=None,
            average=found.get("average"),
        )
