"""The run directory: a run that explains itself, and from which anybody can repeat it.

config.json        the resolved config; resume reads this, never code
data.json          columns and vocabularies of the data, which sampling needs
environment.json   versions, devices and git state of this start and earlier ones
metrics.jsonl      one JSON object a line, with `step`: `loss`, `grad_norm`, `learning_rate` of
                   a training batch, or `split/metric` of an evaluation; the truth
events.*           the same for TensorBoard
checkpoints/       see `jaxdl.checkpoints`
figures/           learning curves and what the config adds, as PNG
result.json        the final numbers
tables.json        the final tables, such as a confusion matrix
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.errors import UserError

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

    Raises:
      UserError: it cannot be made or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".write-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"--workdir {folder}: cannot be written ({error.strerror})") from None
        self._board: Any = None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def figures(self) -> Path:
        """Where figures are."""
        return self.folder / "figures"

    def check_claim(self, config: Mapping[str, Any]) -> None:
        """Refuse a directory that is the run of another config, or no run at all.

        A run that has saved nothing yet may be given another config.

        Raises:
          UserError: with the differences.
        """
        path = self.folder / "config.json"
        strangers = sorted(p.name for p in self.folder.iterdir())
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
        write_json(self.folder / "config.json", config)

    def config(self) -> dict[str, Any]:
        """The config of this run."""
        return cfg.read_json(self.folder / "config.json")

    def data(self) -> dict[str, Any]:
        """What is known of the data of this run."""
        return cfg.read_json(self.folder / "data.json")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step to metrics.jsonl and to TensorBoard's events."""
        with open(self.folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps(_strict({"step": step, **values})) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl. A line that a kill cut short, the last, is left out."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        try:
            return [json.loads(line) for line in lines if line.endswith("}")]
        except json.JSONDecodeError as error:
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
        write_json(path, data)
        lines = [json.dumps(line) for line in self.history() if line["step"] <= step]
        replace_text(self.folder / "metrics.jsonl", "".join(line + "\n" for line in lines))
        self._record_environment()
        from tensorboardX import SummaryWriter

        # TensorBoard, too, forgets what earlier events say of later steps.
        self._board = SummaryWriter(str(self.folder), purge_step=step + 1)

    def result(self) -> dict[str, Any] | None:
        """result.json, or None before the end."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def close(self) -> None:
        """Flush the events."""
        if self._board is not None:
            self._board.close()

    def _record_environment(self) -> None:
        """Write where this start runs to environment.json, which keeps the earlier ones too."""
        path = self.folder / "environment.json"
        before = json.loads(path.read_text()) if path.exists() else {}
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
