"""The user's own code, called during training: `config.callbacks`, or an argument of `train`."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.errors import own_line, reason

_log = logging.getLogger("jaxdl")


class Callback:
    """The base class of callbacks, whose methods are called during training and do nothing.

    A callback receives copies on the host and returns nothing, so that it cannot change the
    training, which waits for it. What it raises is reported once, with its line; it is then not
    called again in this start, while other callbacks and the training go on. Only `SystemExit` and
    `KeyboardInterrupt` end a run. If several processes train, the one that writes the run directory
    calls them. A run that was killed trains the steps since its last checkpoint again, and calls
    them again.

    The arguments of its constructor are keys of its node in `config.callbacks`.
    """

    def on_start(self, config: Mapping[str, Any], folder: Path, step: int) -> None:
        """Training begins or resumes after a step, in a run directory."""

    def on_summary(self, step: int, values: Mapping[str, float]) -> None:
        """A step was logged, as `config.training.log_every` says: loss, gradient norm, …"""

    def on_evaluation(
        self, step: int, metrics: Mapping[str, float], tables: Mapping[str, Any]
    ) -> None:
        """All splits were evaluated: `split/metric` -> value, and tables such as `confusion`."""

    def on_save(self, step: int, checkpoint: Path) -> None:
        """A checkpoint is safely on disk; `config.training.keep` says how long it stays."""

    def on_finish(self, result: Mapping[str, Any]) -> None:
        """The run has ended, and result.json is written."""


class Callbacks:
    """The callbacks of a run, as one.

    Args:
      callbacks: called in this order.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = list(callbacks)

    def __call__(self, hook: str, *values: Any) -> None:
        """Call a hook of each, such as 'on_start', with copies of the values."""
        for callback in tuple(self._callbacks):
            try:
                getattr(callback, hook)(*copy.deepcopy(values))
            except Exception as error:  # it is the user's own
                self._callbacks.remove(callback)
                _log.warning(
                    "callback %s.%s%s: %s; it is not called again, and the run goes on",
                    *(type(callback).__name__, hook, own_line(error), reason(error)),
                )
