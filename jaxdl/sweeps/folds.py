"""A check of the folds of a sweep, before anything is trained."""

from __future__ import annotations

import logging
from typing import Any

from jaxdl.data import Folds
from jaxdl.data.folds import refuse_leakage
from jaxdl.errors import UserError
from jaxdl.sweeps.sweep import Sweep
from jaxdl.training.build import MANY_CLASSES, build_task, load_splits

_log = logging.getLogger("jaxdl")

_AFTER_READING = ("transforms", "augment", "views")  # keys of config.data


def check_folds(sweep: Sweep) -> None:
    """Refuse folds that share inputs, and warn of a test split that is not used.

    The data is read once for each different `config.data` in the grid.

    Raises:
      UserError: the data cannot be read or divided into these folds, or folds share inputs.
    """
    seen = list[tuple[dict[str, Any], str | None]]()
    for config in sweep.points.values() if sweep.folds else ():
        node = {k: v for k, v in config["data"].items() if k not in _AFTER_READING}
        column = getattr(build_task(config["task"], MANY_CLASSES), "input", None)
        if (node, column) in seen:
            continue
        seen.append((node, column))
        splits = load_splits({**node, "folds": None})
        try:
            refuse_leakage(splits["train"], Folds(**node["folds"]), column)
        except UserError as error:
            raise UserError(f"config.data: {error}") from None
        if "test" in splits:
            _log.warning(
                "folds: made of the %s examples of the train split; the %s of the test split are "
                "not used",
                f"{len(splits['train']):,}",
                f"{len(splits['test']):,}",
            )
