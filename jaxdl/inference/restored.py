"""A trained run, restored from its directory alone: its data is not needed."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from jaxdl import config as cfg
from jaxdl import optim
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Fit, Frame
from jaxdl.data.table import Feature
from jaxdl.data.text.vocabulary import from_json
from jaxdl.errors import UserError
from jaxdl.models import Model
from jaxdl.training.build import build_model, build_task
from jaxdl.training.continuation import require_config_of
from jaxdl.training.evaluation import average_views
from jaxdl.training.settings import Data, Settings
from jaxdl.training.state import State
from jaxdl.training.transforming import Transforms


class RestoredRun:
    """Model, task, weights and preprocessing of a run.

    Args:
      run: its directory.

    Attributes:
      directory: the run's.
      config: the run's, as nested dicts.
      columns: of the data: name -> dtype and shape of an example.
      classes: names of the labels, if the data has them.
      vocabularies: token column -> its vocabulary.
      features: what the numbers of the column `features` were, if that is known.
      tokenize: token column -> how it is made of a column of text.
      clips: how images become clips, or None.
      crop: how images that are decoded on demand are cropped, or None.
      fit: how images that are kept in memory come to their size.
      training: batch size of evaluation, and whether batches continue one another.
      task, model, precision: as in training and evaluation.
      eval_model: the model, which averages over the views that evaluation sees of an example.
      transforms: of batches, on the device.

    Raises:
      UserError: the directory is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.directory, self.config = run, run.config()
        settings, data = Settings.of(self.config), run.data()
        try:
            self.columns, self.classes = data["columns"], tuple(data["classes"])
            self.vocabularies = {name: from_json(v) for name, v in data["vocabularies"].items()}
            self.features = tuple(Feature(**feature) for feature in data.get("features", ()))
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
        self.training, self.precision = settings.training, settings.precision
        shared, source = Data.of(settings.data)
        self.tokenize, self.clips = shared.tokenize or {}, shared.clips
        self.transforms, crop = Transforms.of(shared), source.get("crop")
        self.crop = None if crop is None else cfg.call(Crop, crop, "config.data.crop")
        self.fit: Fit = source.get("fit", Frame.fit)
        several = self.transforms.several_views or (self.crop is not None and self.crop.views > 1)
        self.eval_model: Model = average_views(self.model) if several else self.model

    @functools.cached_property
    def state(self) -> State:
        """The newest (or best) sound checkpoint, without the optimiser's state.

        Raises:
          UserError: nothing was saved, all checkpoints are damaged, or config.json is not that of
            the checkpoint.
        """
        with self.precision.enabled():
            directory = self.directory
            saved = Checkpoints(directory.checkpoints, best=directory.best_wanted).read()
        require_config_of(directory, int(saved["step"]))
        return State(
            step=saved["step"],
            seed=saved["seed"],
            params=optim.eval_params(saved["params"], saved.get("opt_state")),
            model_state=saved["model_state"] or {},
            opt_state=None,
            ema=saved.get("ema"),
        )

    def shapes(self, size: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch of `size` examples, which may be a symbol, as the data has them."""
        return {
            name: jax.ShapeDtypeStruct((size, *column["shape"]), column["dtype"])
            for name, column in self.columns.items()
        }

    def blank(self, size: int) -> dict[str, np.ndarray]:
        """A batch of zeros, as the data has it."""
        return {name: np.zeros(x.shape, x.dtype) for name, x in self.shapes(size).items()}
