"""A trained run, restored from its directory alone: its data is not needed."""

from __future__ import annotations

import functools

import numpy as np

from jaxdl import config as cfg
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Frame
from jaxdl.data.text.vocabulary import from_json
from jaxdl.errors import UserError
from jaxdl.training.build import build_model, build_task, build_transforms
from jaxdl.training.settings import Data, Settings
from jaxdl.training.state import State


class RestoredRun:
    """Model, task, weights and preprocessing of a run.

    Args:
      run: its directory.

    Attributes:
      columns: of the data: name -> dtype and shape of an example.
      classes: names of the labels, if the data has them.
      vocabularies: token column -> its vocabulary.
      crop: how images that are decoded on demand are cropped, or None.
      fit: how images that are kept in memory come to their size.
      task, model, transform, views, precision: as in training and evaluation.

    Raises:
      UserError: the directory is damaged.
    """

    def __init__(self, run: Run) -> None:
        settings = Settings.of(run.config())
        self._run = run
        data = run.data()
        try:
            self.columns, self.classes = data["columns"], data["classes"]
            self.vocabularies = {name: from_json(v) for name, v in data["vocabularies"].items()}
            for column in self.columns.values():
                np.dtype(column["dtype"])
                if min(column["shape"], default=0) < 0:
                    raise ValueError(f"an array cannot have shape {column['shape']}")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{run.folder / 'data.json'}: damaged ({type(error).__name__}: {error}); restore it"
            ) from None
        self.task = build_task(settings.task, len(self.classes))
        self.model = build_model(settings.model, self.vocabularies, self.task)
        shared, source = Data.of(settings.data)
        self.transform = build_transforms(shared.transforms, "config.data.transforms")
        self.views, crop = build_transforms(shared.views, "config.data.views"), source.get("crop")
        self.crop = None if crop is None else cfg.call(Crop, crop, "config.data.crop")
        self.fit = source.get("fit", Frame.fit)
        self.precision = settings.precision

    @functools.cached_property
    def state(self) -> State:
        """The newest (or best) sound checkpoint, without the optimiser's state.

        Raises:
          UserError: nothing was saved, or all checkpoints are damaged.
        """
        with self.precision.enabled():
            saved = Checkpoints(self._run.checkpoints, best=self._run.best).read()
        return State(
            step=saved["step"],
            seed=saved["seed"],
            params=saved["params"],
            model_state=saved["model_state"] or {},
            opt_state=None,
            ema=saved.get("ema"),
        )
