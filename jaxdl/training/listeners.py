"""The trackers and callbacks that follow a run as it trains; they cannot change it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.json_files import strict
from jaxdl.parallel.processes import leads
from jaxdl.trackers import Trackers
from jaxdl.training.callbacks import Callback, Callbacks
from jaxdl.training.settings import Node

Makers = Mapping[str, Callable[[], Any]]


def named(
    nodes: tuple[str | Node, ...], registry: Mapping[str, Any], kind: type, path: str
) -> dict[str, Callable[[], Any]]:
    """Name -> function that creates what the node names, when training begins.

    Args:
      nodes: of the config, each a name or a dict of a name and arguments.
      registry: what they can name, besides the user's own classes.
      kind: the class that they must inherit from.
      path: where they stand in the config.

    Raises:
      UserError: a name is unknown or repeated, or an argument is unknown or ill-typed.
    """
    made = dict[str, Callable[[], Any]]()
    for i, node in enumerate(nodes):
        where = f"{path}[{i}]"
        node = {"name": node} if isinstance(node, str) else node
        thing, arguments = cfg.choose(node, registry, where)
        if not (inspect.isclass(thing) and issubclass(thing, kind)):
            raise UserError(f"{where}: {str(node['name'])!r} is not a jaxdl.{kind.__name__}")
        cfg.checked(thing, arguments, where)
        if node["name"] in made:
            raise UserError(f"{where}: {str(node['name'])!r} is named twice; name it once")
        made[node["name"]] = functools.partial(cfg.call, thing, arguments, where)
    return made


class Listeners:
    """The trackers and callbacks of a run, in the process that writes the run directory.

    Args:
      logging: name -> function that creates a tracker.
      callbacks: name -> function that creates a callback.
      more: further callbacks.
      run: the directory.

    Raises:
      UserError: one cannot be created, for instance because its extra is not installed.
    """

    def __init__(
        self, logging: Makers, callbacks: Makers, more: Sequence[Callback], run: Run
    ) -> None:
        self._run, writes = run, leads()
        trackers = {name: make() for name, make in logging.items()} if writes else {}
        self._trackers = Trackers(trackers, run.out)
        made = [make() for make in callbacks.values()] if writes else []
        self._callbacks = Callbacks([*made, *more] if writes else [])
        self.figure = self._trackers.figure

    def remember(self) -> None:
        """Note what was sent, before lines of metrics.jsonl are removed."""
        self._trackers.remember(self._run.history())

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Training begins or resumes after a step."""
        self._trackers.start(config, step, self._run.history())
        self._callbacks("on_start", config, self._run.folder, step)

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """A step was logged."""
        self._trackers.log(step, values)
        self._callbacks("on_summary", step, values)

    def evaluation(
        self,
        step: int,
        metrics: Mapping[str, float],
        tables: Mapping[str, Any],
        speed: Mapping[str, float],
    ) -> None:
        """All splits were evaluated; `speed` is that of the training before."""
        self._trackers.log(step, {**metrics, **speed})
        self._callbacks("on_evaluation", step, metrics, tables)

    def saved(self, step: int, folder: Path) -> None:
        """A checkpoint is safely on disk."""
        self._callbacks("on_save", step, folder)

    def finish(self, result: Mapping[str, Any]) -> None:
        """The run has ended."""
        steps = {
            "checkpoint": result["step"],
            "best_checkpoint": (result["best"] or {}).get("step"),
        }
        folder = self._run.checkpoints.absolute()
        kept = {name: str(folder / str(step)) for name, step in steps.items() if step is not None}
        self._trackers.finish(strict({**result, **kept}))
        self._callbacks("on_finish", result)

    def close(self) -> None:
        """Tell the trackers that the run was stopped before its end."""
        self._trackers.finish(None)
