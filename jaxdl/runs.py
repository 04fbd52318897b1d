"""The run directory: a run that explains itself, and from which anybody can repeat it.

config.json        the resolved config; resume reads this, never code without --trust
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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl import json_files
from jaxdl.errors import UserError
from jaxdl.events import Events
from jaxdl.files import (
    Secondary,
    append_bytes,
    check_writable,
    open_plain,
    refuse_links,
    remove_partial,
    replace_text,
)

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


@dataclass
class Column:
    """Of a column, in data.json: an example's type and shape."""

    dtype: str
    shape: list[int]


@dataclass
class Description:
    """What data.json holds, as far as it is used without the data."""

    columns: dict[str, Column] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    vocabularies: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Target:
    """The published result, in result.json."""

    metric: str
    value: float
    source: str


@dataclass
class Result:
    """What result.json holds, as far as it is read again; a number that is not finite is null."""

    step: int
    metrics: dict[str, float | None]
    examples: dict[str, int]
    examples_per_second: float
    target: Target | None
    met: bool | None


@dataclass
class _Environment:
    """What environment.json holds, as far as it is read again."""

    earlier: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Logged:
    """A line of metrics.jsonl."""

    step: int


class Run:
    """A run directory.

    Args:
      folder: made if it does not exist.
      leads: whether this process writes it. Of several that train together one does; what the
        others write goes to a folder of their own, which is removed behind them.
      best: its best checkpoint is what counts, instead of the newest.
      trust: modules whose code may run when its config names it; see `jaxdl.config.FromRun`.

    Attributes:
      folder: what is read: the config, the data's description, checkpoints, the result.
      out: what is written: the same folder, where this process leads.

    Raises:
      UserError: it cannot be made or written, or holds a link, a pipe or a device.
    """

    def __init__(
        self,
        folder: str | Path,
        leads: bool = True,
        best: bool = False,
        trust: Collection[str] = (),
    ) -> None:
        self.best, self.trust = best, trust
        self.folder = self.out = Path(folder)
        self._events: Events | None = None
        self._held: os.stat_result | None = None  # the lock, where this process holds it
        self._scratch: Any = None
        self._secondary = Secondary("events for TensorBoard")
        refuse_links(self.folder)
        if not leads:
            self._scratch = tempfile.TemporaryDirectory()
            self.out = Path(self._scratch.name)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_writable(self.folder)
        except OSError as error:
            raise UserError(
                f"--workdir {folder}: cannot be written ({error.strerror}); choose another"
            ) from None

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

        path = self.out / "lock"
        with open_plain(path, os.O_RDWR) as file:
            if os.fstat(file.fileno()).st_nlink > 1:  # and the other may be anybody's
                raise UserError(f"{path}: is a file with a second name (a hard link); remove it")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._held = os.fstat(file.fileno())
            except BlockingIOError:
                owner = file.read(200).decode(errors="replace").strip()
                owner = owner if owner and owner.isprintable() else "another process"
                raise UserError(
                    f"--workdir {self.folder}: {owner} is training there; "
                    "wait, stop it, or choose another --workdir"
                ) from None
            except OSError as error:  # a file system that knows no locks
                _log.warning("%s: cannot be locked (%s)", self.out, error.strerror)
            try:
                self.check_held()
                with contextlib.suppress(OSError):  # who holds it is for people to read
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                remove_partial(self.out)
                yield
            finally:
                self._held = None
                if self._scratch is not None:
                    self._scratch.cleanup()

    def check_held(self) -> None:
        """Refuse to write on where the lock was deleted or replaced: another may train here.

        Raises:
          UserError: it was, while this process held it.
        """
        if self._held is None:
            return
        path = self.out / "lock"
        try:
            there = path.lstat()
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, self._held):
            raise UserError(
                f"{path}: was deleted or replaced while this process held it, so that another may "
                "train there; stopped, and deleted nothing. Run again once no other trains there"
            )

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
        return cfg.read_json(self.folder / "config.json", trust=self.trust)

    def data(self) -> dict[str, Any]:
        """What is known of the data of this run."""
        return cfg.read_json(self.folder / "data.json", Description)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step to metrics.jsonl and to TensorBoard's events.

        Raises:
          UserError: metrics.jsonl cannot be written, or the lock was lost; see `check_held`.
        """
        self.check_held()
        line = json.dumps(_strict({"step": step, **values})) + "\n"
        append_bytes(self.out / "metrics.jsonl", line.encode())
        if self._events is not None:
            self._secondary(self._events.log, step, values)

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl. A line that a kill cut short, the last, is left out."""
        return list(logged(self.out / "metrics.jsonl"))

    def start(self, step: int, data: Mapping[str, Any]) -> None:
        """Begin to log behind a step; what was logged later, resumed training will log again.

        Raises:
          UserError: the run goes on, but the data is not as it was.
        """
        path, data = self.folder / "data.json", cfg.plain(data, "data")
        before = cfg.read_json(path) if step and path.exists() else data
        if changed := cfg.differences(before, data, "data"):
            raise UserError(
                f"{path}: the data has changed since this run began ({changed[0][:200]}); bring "
                "back the data, or choose another --workdir"
            )
        write_json(self.out / "data.json", data)
        lines = [json.dumps(line) for line in self.history() if line["step"] <= step]
        replace_text(self.out / "metrics.jsonl", "".join(line + "\n" for line in lines))
        self._record_environment()
        self._secondary(self._begin_events, step)

    def result(self) -> dict[str, Any] | None:
        """result.json, or None before the end."""
        path = self.folder / "result.json"
        return cfg.read_json(path, Result) if path.exists() else None

    def close(self) -> None:
        """Write no more events."""
        self._events = None

    def _begin_events(self, step: int) -> None:
        """TensorBoard, too, forgets what earlier events say of later steps."""
        self._events = Events(self.out, step + 1)

    def _record_environment(self) -> None:
        """Write where this start runs to environment.json, which keeps the earlier ones too.

        Nothing needs those, so a damaged file is set aside and does not stop the run.
        """
        path = self.out / "environment.json"
        try:
            before = cfg.read_json(path, _Environment) if path.exists() else {}
        except UserError as error:
            aside = path.with_name(f"damaged-{path.name}")
            _log.warning("%s (set aside as %s; nothing needs it)", error, aside.name)
            path.replace(aside)
            before = {}
        earlier = [*before.pop("earlier", []), before] if before else []
        write_json(path, {**environment(), "earlier": earlier})


def logged(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl, none where there is no such file.

    Raises:
      UserError: a line, other than the last where a kill cut it short, is not such a line.
    """
    if not path.exists():
        return
    remedy = "mend or remove that line"
    for number, line in enumerate(json_files.read_lines(path, dict[str, float | None], remedy), 1):
        if reason := json_files.fault(line, _Logged):
            raise UserError(f"{path} line {number}: {reason}; {remedy}")
        yield line


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
