"""The run directory: all that is needed to understand, resume and repeat a run.

config.json        the resolved config; resume reads this, never code without --trust
data.json          columns, classes and vocabularies of the data; inference needs nothing else of it
environment.json   versions, devices and git state of this start and earlier ones
metrics.jsonl      one JSON object a line, with `step`, and `seconds` since the run began (the time
                   between two starts aside): `loss`, `grad_norm`, `learning_rate` and what the task
                   adds of a training batch, or `split/metric` of an evaluation, with the speed of
                   training before it (`SPEED`)
events.*           the same for TensorBoard, with the figures, if config.logging names it
trackers.json      what the run is called by trackers such as W&B, and what they were given
lock               host and process that write here, as long as they do
checkpoints/       see `jaxdl.checkpointing.checkpoints`
figures/           learning curves and what the config adds, as PNG
result.json        the final numbers; result-STEP.json those of a run that was extended since
tables.json        the final tables, such as a confusion matrix
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl import json_files
from jaxdl.checkpointing import renamed
from jaxdl.checkpointing.environment import environment
from jaxdl.checkpointing.manifest import BestCheckpoint
from jaxdl.data.table import Feature
from jaxdl.errors import UserError
from jaxdl.files import (
    append_bytes,
    check_writable,
    entries,
    local_run,
    open_plain,
    refuse_links,
    refuse_special,
    remove_partial,
    replace_text,
)
from jaxdl.json_files import strict, write_json
from jaxdl.trackers.base import EVALUATION, TRAINING, kind_of

_log = logging.getLogger("jaxdl")

# What metrics.jsonl says of the machine, not of the run: `data_wait_share` is a share of the time,
# `flops_per_second` are of all devices, `mfu` is a share of their published peak.
SPEED = ("examples_per_second", "data_wait_share", "flops_per_second", "mfu")


@dataclass
class Column:
    """A column, in data.json: type and shape of an example."""

    dtype: str
    shape: list[int]


@dataclass
class Description:
    """What data.json holds, as far as inference reads it."""

    columns: dict[str, Column] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    vocabularies: dict[str, dict[str, Any]] = field(default_factory=dict)
    features: list[Feature] = field(default_factory=list)


@dataclass
class Target:
    """The published result, in result.json."""

    metric: str
    value: float
    source: str


@dataclass
class StoppedEarly:
    """Where a run stopped before its end, in result.json."""

    step: int
    of_steps: int
    patience: int


@dataclass
class Result:
    """What result.json holds, as far as it is read again; a number that is not finite is null."""

    step: int
    metrics: dict[str, float | None]
    examples: dict[str, int]
    examples_per_second: float | None
    target: Target | None
    met: bool | None
    best: BestCheckpoint | None = None
    stopped_early: StoppedEarly | None = None


@dataclass
class _Environment:
    """What environment.json holds, as far as it is read again."""

    earlier: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Logged:
    """A line of metrics.jsonl."""

    step: int


class Locked(UserError):
    """Another process holds the lock of a directory."""


class Run:
    """A run directory.

    Args:
      folder: made when it is first written.
      leads: whether this process writes it. Of several that train together only one does; the
        others write to temporary folders, which are removed in the end.
      best: use the best checkpoint instead of the newest.
      trust: modules whose code may run when its config names it; see `jaxdl.named_code.FromRun`.

    Attributes:
      folder: to read from: config, description of the data, checkpoints and result.
      out: to write to: the same folder if this process leads, else a temporary one.

    Raises:
      UserError: it holds a link, a pipe or a device, or is an address such as gs://bucket/run.
    """

    def __init__(
        self,
        folder: str | Path,
        leads: bool = True,
        best: bool = False,
        trust: Collection[str] = (),
    ) -> None:
        self.best, self.trust = best, trust
        self.folder = self.out = local_run(folder)
        self._lock: os.stat_result | None = None  # if this process holds it
        self._scratch: Any = None
        refuse_links(self.folder)
        if not leads:
            self._scratch = tempfile.TemporaryDirectory()
            self.out = Path(self._scratch.name)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def best_wanted(self) -> int | bool:
        """What `Checkpoints` is to read: the best one, of a run that has finished by its step.

        After a signal in the last evaluation only the result knows which it is.
        """
        finished = self.result() if self.best else None
        best = finished.get("best") if finished else None
        return best["step"] if best else self.best

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def figures(self) -> Path:
        """The folder of the figures."""
        return self.out / "figures"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory: no other process writes here. A killed process loses its lock.

        Raises:
          Locked: another process holds the lock; the message names its host and number.
          UserError: the directory cannot be made or written.
        """
        import fcntl

        self._make()
        path = self.out / "lock"
        with open_plain(path, os.O_RDWR) as file:
            if os.fstat(file.fileno()).st_nlink > 1:  # the other may be in anybody's folder
                raise UserError(f"{path}: has a second name (a hard link); remove it")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = os.fstat(file.fileno())
            except BlockingIOError:
                owner = file.read(200).decode(errors="replace").strip()
                owner = owner if owner and owner.isprintable() else "another process"
                raise Locked(
                    f"--workdir {self.folder}: {owner} is training there; "
                    "wait, stop it, or choose another --workdir"
                ) from None
            except OSError as error:  # a file system without locks
                _log.warning("%s: cannot be locked (%s)", self.out, error.strerror)
            try:
                self.check_held()
                with contextlib.suppress(OSError):  # the text is only for people to read
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                remove_partial(self.out)
                yield
            finally:
                self._lock = None
                if self._scratch is not None:
                    self._scratch.cleanup()

    def check_held(self) -> None:
        """Check that the lock was not deleted or replaced: another process may train here then.

        Raises:
          UserError: it was, while this process held it.
        """
        if self._lock is None:
            return
        path = self.out / "lock"
        try:
            present = os.path.samestat(path.lstat(), self._lock)
        except OSError:
            present = False
        if not present:
            raise UserError(
                f"{path}: was deleted or replaced while this process held it, so another process "
                "may be training there; stopped, nothing was deleted. Run again when none is"
            )

    def check_claim(
        self,
        config: Mapping[str, Any],
        part: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        """Check that this directory is new, or a run of this config.

        The config of a run that has saved nothing yet may change.

        Args:
          config: of the run.
          part: of a config, what must stay as it is; by default all of it.

        Raises:
          UserError: it is not a run, or of another config; the message names the differences.
        """
        self.refuse_others()
        if self.out != self.folder or not any(self.checkpoints.glob("[0-9]*")):
            return
        saved = cfg.as_own(self.config(), config)
        if changes := cfg.differences(part(saved), part(config)):
            raise UserError(
                f"--workdir {self.folder}: holds a run of another config ({'; '.join(changes)}); "
                "choose another --workdir, or leave out --config to resume this run as it was"
            )

    def refuse_others(self) -> None:
        """Refuse a directory that holds something else than a run; only the process that leads."""
        if self.out != self.folder:
            return
        others = entries(self.folder) if self.folder.is_dir() else []
        if others and not (self.folder / "config.json").exists():
            raise UserError(
                f"--workdir {self.folder}: holds {others[0]!r} but no config.json, so it is "
                "not a run; choose a new directory"
            )

    def claim(self, config: Mapping[str, Any]) -> None:
        """Write the config: from now on this is its run."""
        self._make()
        write_json(self.out / "config.json", config)

    def config(self) -> dict[str, Any]:
        """The config of this run."""
        return renamed.config(cfg.read_json(self.folder / "config.json", trust=self.trust))

    def data(self) -> dict[str, Any]:
        """The description of this run's data, of the type `Description`."""
        return cfg.read_json(self.folder / "data.json", Description)

    def log(self, step: int, values: Mapping[str, float], seconds: float | None = None) -> None:
        """Append the values of a step to metrics.jsonl.

        Args:
          step: number of updates made.
          values: by name.
          seconds: since the run began.

        Raises:
          UserError: metrics.jsonl cannot be written, or the lock was lost (`check_held`).
        """
        self.check_held()
        when = {} if seconds is None else {"seconds": round(seconds, 3)}
        line = json.dumps(strict({"step": step, **when, **values})) + "\n"
        append_bytes(self.out / "metrics.jsonl", line.encode())

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, without a last one that is incomplete after a kill."""
        return list(logged(self.out / "metrics.jsonl"))

    def start(self, step: int, data: Mapping[str, Any], evaluated: bool = True) -> None:
        """Begin to log after a step. Later lines are removed: resumed training logs them again.

        Args:
          step: at which training begins or resumes.
          data: the description of the data, as JSON values.
          evaluated: whether an evaluation of this step stays; otherwise it comes again.

        Raises:
          UserError: the run is resumed, but its data has changed.
        """
        data = cfg.plain(data, "data")
        if step:
            self.check_data(data)
        write_json(self.out / "data.json", data)
        logged_before = [line for line in self.history() if line["step"] <= step]
        lines = [
            json.dumps(line)
            for line in logged_before
            if evaluated or line["step"] < step or kind_of(line) == TRAINING
        ]
        replace_text(self.out / "metrics.jsonl", "".join(line + "\n" for line in lines))
        self._record_environment()

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Check that the data is that of this run.

        Raises:
          UserError: it has changed.
        """
        path, data = self.folder / "data.json", cfg.plain(data, "data")
        before = cfg.read_json(path) if path.exists() else data
        known = {k: v for k, v in data.items() if k in before}  # 0.1 wrote fewer
        if changed := cfg.differences(before, known, "data"):
            raise UserError(
                f"{path}: the data has changed since this run began ({changed[0][:200]}); "
                "restore the data, or choose another --workdir"
            )

    def result(self) -> dict[str, Any] | None:
        """result.json, of the type `Result`; None if the run has not finished."""
        path = self.folder / "result.json"
        return cfg.read_json(path, Result) if path.exists() else None

    def tables(self) -> dict[str, Any]:
        """tables.json; empty if the run has not finished."""
        path = self.folder / "tables.json"
        return json_files.read(path) if path.exists() else {}

    def reopen(self) -> None:
        """Put the result aside, as result-STEP.json, if there is one: the run goes on."""
        if result := self.result():
            path = self.out / "result.json"
            refuse_special(aside := path.with_name(f"result-{result['step']}.json"))
            path.replace(aside)

    def _make(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            check_writable(self.out)
        except OSError as error:
            raise UserError(
                f"--workdir {self.out}: cannot be written ({error.strerror}); choose another"
            ) from None

    def _record_environment(self) -> None:
        """Add this start to environment.json.

        Nothing reads the earlier starts, so a damaged file is set aside and does not stop the run.
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


def final_metrics(
    result: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """The metrics of a result; without one, those evaluated last, by the lines of metrics.jsonl."""
    if result is not None:
        return dict(result["metrics"])
    evaluated = [line for line in history if kind_of(line) == EVALUATION]
    return {k: v for k, v in evaluated[-1].items() if "/" in k} if evaluated else {}


def logged(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl, none if it does not exist.

    A last line that is incomplete after a kill is left out.

    Raises:
      UserError: another line is damaged.
    """
    if not path.exists():
        return
    remedy = "repair or remove that line"
    for number, line in enumerate(json_files.read_lines(path, dict[str, float | None], remedy), 1):
        if reason := json_files.fault(line, _Logged):
            raise UserError(f"{path} line {number}: {reason}; {remedy}")
        yield line
