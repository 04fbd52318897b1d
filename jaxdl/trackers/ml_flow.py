"""MLflow, at the server or in the store that its own settings (`MLFLOW_TRACKING_URI`, …) say."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.trackers.base import EVALUATION, TRAINING, Tracker
from jaxdl.tree import leaves

_SECONDS = 1.0  # between two requests with metrics
_MOST = 500  # metrics of a request
_LONGEST = 500  # characters of a parameter
_SPLITS = frozenset({"train", "validation", "test"})  # of which evaluations are
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]", re.ASCII)
# Unless the user says otherwise; by its own, training would wait for a server for minutes.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class MLflow(Tracker):
    """Logs to MLflow; needs the extra `mlflow`.

    In names of metrics, what MLflow does not allow becomes an underscore, as in `test/mAP_.5`.

    Args:
      experiment: by default as `MLFLOW_EXPERIMENT_NAME` says, or jaxdl; made if it does not exist.
      tags: of the run, by name.
    """

    def __init__(
        self, experiment: str | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise UserError("'mlflow' is not installed; pip install -e '.[mlflow]' in the checkout")
        named = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jaxdl")
        self._experiment, self._tags = experiment or named, dict(tags or {})
        self._waiting: list[Any] = []
        self._sent = 0.0

    def start(self, config: Mapping[str, Any], id: str | None, folder: Path, step: int) -> str:
        """Begin the run, or go on with it."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if id is None:
            found = self._client.get_experiment_by_name(self._experiment)
            place = (
                found.experiment_id if found else self._client.create_experiment(self._experiment)
            )
            tags = {**self._tags, "jaxdl.folder": str(folder.absolute())}
            id = self._client.create_run(place, tags=tags, run_name=folder.name).info.run_id
            settings = [Param(k, str(v)[:_LONGEST]) for k, v in leaves(config, key=_allowed)]
            for i in range(0, len(settings), 100):  # of a request
                self._client.log_batch(id, params=settings[i : i + 100])
        else:
            self._client.update_run(id, status="RUNNING")
        self._id = id
        self._client.log_text(id, json.dumps(config, indent=2), "config.json")
        return id

    def given(self) -> Mapping[str, int]:
        """The newest steps in the store, where a killed run may have left less than it made."""
        names = self._client.get_run(self._id).data.metrics
        evaluated = next((n for n in names if n.partition("/")[0] in _SPLITS and "/" in n), "")
        kinds = {TRAINING: "loss", EVALUATION: evaluated}
        return {kind: self._newest(name) for kind, name in kinds.items() if name in names}

    def _newest(self, name: str) -> int:
        return max(metric.step for metric in self._client.get_metric_history(self._id, name))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the numbers of a step, to be sent with others."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(_allowed(k), v, now, step) for k, v in values.items()]
        if time.monotonic() - self._sent > _SECONDS:
            self._send()

    def _send(self) -> None:
        """Send what waits, the numbers of a step in one request: all are kept, or none."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            size = min(_MOST, len(waiting))
            while 0 < size < len(waiting) and waiting[size].step == waiting[size - 1].step:
                size -= 1
            size = size or _MOST
            self._client.log_batch(self._id, metrics=waiting[:size])
            waiting = waiting[size:]
        self._sent = time.monotonic()

    def figure(self, step: int, name: str, png: bytes) -> None:
        """Keep a figure; a later one of the same name takes its place."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{_NOT_ALLOWED.sub('_', name).replace('/', '_')}.png"
            path.write_bytes(png)
            self._client.log_artifact(self._id, str(path), "figures")

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Send what waits, and the result."""
        self._send()
        if result is not None:
            self._client.log_text(self._id, json.dumps(result, indent=2), "result.json")
            for name in ("checkpoint", "best_checkpoint"):
                if result.get(name):
                    self._client.set_tag(self._id, f"jaxdl.{name}", result[name])
        self._client.set_terminated(self._id, "FINISHED" if result is not None else "KILLED")


def _allowed(name: object) -> str:
    return _NOT_ALLOWED.sub("_", str(name))
