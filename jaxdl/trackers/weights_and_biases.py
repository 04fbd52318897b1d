"""Weights & Biases, online or offline, as its own settings (`WANDB_MODE`, …) say."""

from __future__ import annotations

import importlib.util
import io
import os
import secrets
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.trackers.base import EVALUATION, TRAINING, Tracker, kind_of

_BLOCK, _WHOLE, _LAST = 1 << 15, 1, 4  # of LevelDB's log format
_SECONDS = 60.0  # that the end of a run waits for what is still to be sent


class WeightsAndBiases(Tracker):
    """Logs to Weights & Biases; needs the extra `wandb`.

    Metrics are drawn against `step`. W&B takes the rows of a run in the order of a number of its
    own, `_step`, which is three times the step, one more for an evaluation and two for figures: so
    what it has kept of a run that was killed is known by its last row, and goes on from there.

    Args:
      project: by default as `WANDB_PROJECT` says, or jaxdl.
      entity: a user or team; by default as `WANDB_ENTITY` says, or yours.
      group: of runs that belong together.
      tags: of the run.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise UserError("'wandb' is not installed; pip install -e '.[wandb]' in the checkout")
        self._where = {"entity": entity, "group": group, "tags": list(tags) or None}
        self._project = project

    def start(self, config: Mapping[str, Any], id: str | None, folder: Path, step: int) -> str:
        """Begin the run, or go on with it; its own files go to the run directory."""
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", _SECONDS)),
            finish_timeout_raises=True,
        )
        local = wandb.setup().settings.mode in ("offline", "disabled", "dryrun")
        if not (local or wandb.login(prompt=False, verify=False)):  # it would ask at the terminal
            raise UserError("not logged in; run `wandb login`, or set WANDB_MODE=offline")
        self._run = wandb.init(
            project=self._project or os.environ.get("WANDB_PROJECT", "jaxdl"),
            **self._where,
            id=id or secrets.token_hex(4),
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            allow_val_change=True,
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        # What waits in W&B's own process is lost with a killed run.
        earlier = _kept(folder, self._run.id) if local else [self._run.starting_step - 1]
        self._last = max(earlier, default=-1)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        return str(self._run.id)

    def given(self) -> Mapping[str, int]:
        """Newest steps of the rows that W&B has, online or in the run directory."""
        newest = {TRAINING: self._last // 3, EVALUATION: (self._last - 1) // 3}
        return {kind: step for kind, step in newest.items() if step > 0}

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log a row."""
        row = 3 * step + (kind_of(values) == EVALUATION)
        self._run.log({**values, "step": step}, step=row, commit=True)

    def figure(self, step: int, name: str, png: bytes) -> None:
        """Log an image."""
        import wandb
        from PIL import Image

        image = wandb.Image(Image.open(io.BytesIO(png)))
        self._run.log({f"figures/{name}": image, "step": step}, step=3 * step + 2)

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Put the result into the summary, and wait until all is sent."""
        if result is not None:
            self._run.summary.update({"result": dict(result)})
        self._run.finish(exit_code=0 if result is not None else 1)


def _kept(folder: Path, id: str) -> list[int]:
    """The numbers of the rows that earlier starts have left in files, for `wandb sync`."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    numbers = list[int]()
    for path in folder.glob(f"wandb/offline-run-*-{id}/run-{id}.wandb"):
        for data in _records(path.read_bytes()):
            try:
                record = Record.FromString(data)
            except DecodeError:  # half-written
                break
            for item in record.history.item:
                if (item.key or ".".join(item.nested_key)) == "_step":
                    numbers.append(int(item.value_json))
    return numbers


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, after W&B's header of 7 bytes.

    A record is cut at the ends of blocks; a piece has a checksum (4 bytes), its length (2) and its
    kind (1): whole, first, middle or last.
    """
    place, whole = 7, b""
    while place + 7 <= len(data):
        if _BLOCK - place % _BLOCK < 7:  # no piece begins there
            place += _BLOCK - place % _BLOCK
            continue
        size, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (_WHOLE, _LAST):
            yield whole
            whole = b""
