"""The run directory: a run that explains itself, and from which anybody can repeat it.

config.json        the resolved config; resume reads this, never code
data.json          columns and vocabularies of the data, which sampling needs
environment.json   versions, devices and git state of this start and earlier ones
metrics.jsonl      one JSON object a line, with `step`: `loss`, `grad_norm`, `learning_rate` of
                   a training batch, or `split/metric` of an evaluation; the truth
events.*           the same for TensorBoard
lock               host and process that write here, while they do
checkpoints/       see `jaxdl.checkpoints`
figures/           learning curves and what the config adds, as PNG
result.json        the final numbers
tables.json        the final tables, such as a confusion matrix
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.errors import UserError

_log = logging.getLogger("jaxdl")

_PACKAGES = (
    "jaxdl",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tensorflow-datasets",
    "ml-collections",
)


class Run:
    """A run directory.

    Args:
      folder: made if it does not exist.
      leads: whether this process writes it. Of several that train together one does; what the
        others write goes to a folder of their own, which is removed behind them.
      best: its best checkpoint is what counts, instead of the newest.

    Attributes:
      folder: what is read: the config, the data's description, checkpoints, the result.
      out: what is written: the same folder, where this process leads.

    Raises:
      UserError: it cannot be made or written.
    """

    def __init__(self, folder: str | Path, leads: bool = True, best: bool = False) -> None:
        self.best = best
        self.folder = self.out = Path(folder)
        self._board: Any = None
        if not leads:
            self._scratch = tempfile.TemporaryDirectory()
            self.out = Path(self._scratch.name)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".write-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"--workdir {folder}: cannot be written ({error.strerror})") from None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def figures(self) -> Path:
        """Where figures are."""
        return self.out / "figures"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Within it nobody else writes here. The lock goes with the process that holds it.

        Raises:
          UserError: another process does, with its host and number.
        """
        import fcntl

        with open(self.out / "lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"--workdir {self.folder}: {file.read().strip() or 'another process'} is "
                    "training there; wait, stop it, or choose another --workdir"
                ) from None
            except OSError as error:  # a file system that knows no locks
                _log.warning("%s: cannot be locked (%s)", self.out, error.strerror)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def check_claim(self, config: Mapping[str, Any]) -> None:
        """Refuse a directory that is the run of another config, or no run at all.

        A run that has saved nothing yet may be given another config.

        Raises:
          UserError: with the differences.
        """
        if self.out != self.folder:  # the process that leads sees to it
            return
        path = self.folder / "config.json"
        strangers = sorted({p.name for p in self.folder.iterdir()} - {"lock"})
        if strangers and not path.exists():
            raise UserError(
                f"--workdir {self.folder}: holds {strangers[0]!r} but no config.json, so it is "
                "no run; choose a new directory"
            )
        if not any(self.checkpoints.glob("[0-9]*")):
            return
        if changes := cfg.differences(self.config(), config):
            raise UserError(
                f"--workdir {self.folder}: is the run of another config ({'; '.join(changes)}); "
                "choose another --workdir, or leave out --config to resume this run as it was"
            )

    def claim(self, config: Mapping[str, Any]) -> None:
        """Make this the run of a config."""
        write_json(self.out / "config.json", config)

    def config(self) -> dict[str, Any]:
        """The config of this run."""
        return cfg.read_json(self.folder / "config.json")

    def data(self) -> dict[str, Any]:
        """What is known of the data of this run."""
        return cfg.read_json(self.folder / "data.json")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step to metrics.jsonl and to TensorBoard's events."""
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(_strict({"step": step, **values})) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl. A line that a kill cut short, the last, is left out."""
        path = self.out / "metrics.jsonl"
        try:
            lines = path.read_text().splitlines() if path.exists() else []
            history = [json.loads(line) for line in lines if line.endswith("}")]
            if not all(isinstance(line.get("step"), int) for line in history):
                raise ValueError("a line without a step")
            return history
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); mend or remove that line") from None

    def start(self, step: int, data: Mapping[str, Any]) -> None:
        """Begin to log behind a step; what was logged later, resumed training will log again.

        Raises:
          UserError: the run goes on, but the data is not as it was.
        """
        path, data = self.folder / "data.json", cfg.plain(data, "data")
        if step and path.exists() and (changed := cfg.differences(self.data(), data, "data")):
            raise UserError(
                f"{path}: the data has changed since this run began ({changed[0][:200]}); bring "
                "back the data, or choose another --workdir"
            )
        write_json(self.out / "data.json", data)
        lines = [json.dumps(line) for line in self.history() if line["step"] <= step]
        replace_text(self.out / "metrics.jsonl", "".join(line + "\n" for line in lines))
        self._record_environment()
        from tensorboardX import SummaryWriter

        # TensorBoard, too, forgets what earlier events say of later steps.
        self._board = SummaryWriter(str(self.out), purge_step=step + 1)

    def result(self) -> dict[str, Any] | None:
        """result.json, or None before the end."""
        path = self.folder / "result.json"
        return cfg.read_json(path) if path.exists() else None

    def close(self) -> None:
        """Flush the events."""
        if self._board is not None:
            self._board.close()

    def _record_environment(self) -> None:
        """Write where this start runs to environment.json, which keeps the earlier ones too."""
        path = self.out / "environment.json"
        before = cfg.read_json(path) if path.exists() else {}
        earlier = [*before.pop("earlier", []), before] if before else []
        write_json(path, {**environment(), "earlier": earlier})


def environment() -> dict[str, Any]:
    """Versions, devices and git state."""
    import jax

    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {n: importlib.metadata.version(n) for n in _PACKAGES if n in installed},
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "git": {"commit": _git("rev-parse", "HEAD"), "changed": _git("status", "--porcelain")},
    }


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write JSON to a file, whole or not at all."""
    replace_text(path, json.dumps(_strict(value), indent=indent, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    """The value as strict JSON has it, where a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {name: _strict(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace_text(path: Path, text: str) -> None:
    """Replace a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _git(*words: str) -> str | None:
    """What git says of the code that runs; None where it is not under git."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            check=True,
            text=True,
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
