"""Checkpoints of a run, saved and restored; the only file that knows Orbax.

A checkpoint is written to `partial-<step>` and renamed to `<step>` when complete. Orbax does not
check what it reads, so `jaxdl.checkpointing.manifest` does: a damaged checkpoint is reported and
the one before it used; if none is sound, the run stops. A damaged checkpoint is never deleted: it
is renamed to `damaged-<step>` when training reaches its step again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from jaxdl.checkpointing import renamed
from jaxdl.checkpointing.manifest import (
    best_step,
    contents,
    digests,
    saved_steps,
    verify,
)
from jaxdl.errors import UserError, first_line, reason, some
from jaxdl.files import refuse_special, replace_text, special
from jaxdl.tree import flatten

_log = logging.getLogger("jaxdl")

_OS_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")
_SAVE_SECONDS, _SAVE_SHARE = 30.0, 1 / 30  # between two saves, and of the time that they take
_HALF = re.compile(r"^b?float16(?=\[)")


def none_saved(folder: Path) -> UserError:
    """The error for a run without a checkpoint."""
    if (folder.parent / "result.json").exists():
        return UserError(
            f"{folder}: the run has finished, but its checkpoint is missing; restore it, or train "
            "in another --workdir"
        )
    return UserError(f"{folder}: no checkpoint yet; run `jaxdl train` first")


class Checkpoints:
    """The checkpoints of a run.

    Args:
      folder: of the checkpoints; made when the first is saved.
      keep: how many of the newest to keep, at least 1; the best is kept too.
      best: restore and read the best checkpoint instead of the newest: its step, or True to take
        the step that the notes of the newest name.
      check: called before each change; raises a `UserError` if this process may no longer write.
      saved: called with the step and the folder of each checkpoint that is safely on disk, by the
        thread that saves or waits.

    Attributes:
      folder: of the checkpoints, an absolute path.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        best: int | bool = False,
        check: Callable[[], None] = lambda: None,
        saved: Callable[[int, Path], None] = lambda step, folder: None,
    ) -> None:
        if keep < 1:
            raise UserError(f"config.training.keep: expected at least 1, got {keep}")
        self.folder, self._keep, self._best = folder.absolute(), keep, best
        self._check, self._told = check, saved
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._newest: int | None = None  # the step that was saved or restored last
        self._seconds = 0.0  # that the last save took, until it was safely on disk
        self._saved = time.perf_counter()

    def steps(self) -> list[int]:
        """The steps that were saved, oldest first."""
        return saved_steps(self.folder)

    def save(self, step: int, state: Any, notes: Mapping[str, Any] | None = None) -> None:
        """Save a state in the background; returns once it is copied.

        A step of which there is a sound checkpoint is not saved again.

        Args:
          step: of the state.
          state: a pytree of arrays.
          notes: JSON values; `best`, if there is one, has the `step` of the best checkpoint so far.

        Raises:
          UserError: this save cannot begin, or the one before it failed.
        """
        self.wait()
        if step == self._newest or self._has(step):
            return
        self._check()
        _hush_orbax()
        import orbax.checkpoint as ocp

        began, partial = time.perf_counter(), self.folder / f"partial-{step}"
        description = {"arrays": _arrays(state), "notes": dict(notes or {})}
        if jax.process_index() == 0:  # the others write arrays only, by Orbax
            try:
                self._clear(step)
                partial.mkdir(parents=True)
                replace_text(partial / "contents.json", json.dumps(description, indent=1))
            except (OSError, UserError) as error:
                raise self._unwritable(error) from error
        ocp.multihost.sync_global_processes(f"jaxdl checkpoint {step}")
        checkpointer = ocp.StandardCheckpointer()
        # A copy, because training donates the buffers that Orbax is reading.
        checkpointer.save(partial / "state", jax.tree.map(jnp.copy, state))
        self._pending = self._writer.submit(
            self._seal, checkpointer, partial, step, best_step(description["notes"]), began
        )
        self._newest, self._saved = step, time.perf_counter()

    def _has(self, step: int) -> bool:
        """Whether there is a sound checkpoint of this step.

        Several processes save together, so none of them may return early because it sees files that
        another does not see yet.
        """
        found = jax.process_count() == 1 and step in self.steps()
        return found and verify(self.folder / str(step)) is None

    def overdue(self) -> bool:
        """Whether a save is due, if the config does not say how often.

        That is every 30 seconds, or, if a save takes longer than a second, so rarely that saving
        takes a thirtieth of the time.
        """
        interval = max(_SAVE_SECONDS, self._seconds / _SAVE_SHARE)
        return time.perf_counter() - self._saved > interval

    def wait(self) -> None:
        """Wait until the last save is safely on disk.

        Raises:
          UserError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            try:
                pending.result()
            except Exception as error:  # TensorStore raises its own types, also for a full disk
                self._check()  # another process may have deleted it
                raise self._unwritable(error) from error
            assert self._newest is not None
            self._told(self._newest, self.folder / str(self._newest))

    def settle(self) -> None:
        """As `wait`, if the last save has finished by now; otherwise do nothing."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest (or best) sound checkpoint and its notes; None if nothing was ever saved.

        Args:
          like: a pytree of the state's structure, shapes, types and shardings.

        Raises:
          UserError: all checkpoints are damaged, or the sound one has another structure.
        """
        step = self._sound()
        if step is None:
            return None
        self._newest = step
        return self._load(step, like)

    def read(self) -> dict[str, Any]:
        """The state of the newest (or best) sound checkpoint, in nested dicts, on one device.

        For inference: no config, code or data is needed.

        Raises:
          UserError: nothing was saved, or all checkpoints are damaged.
        """
        import orbax.checkpoint as ocp

        step = self._sound()
        if step is None:
            raise none_saved(self.folder)
        path, sharding = self.folder / str(step) / "state", SingleDeviceSharding(jax.devices()[0])
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                like = jax.tree.map(
                    lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=sharding),
                    dict(checkpointer.metadata(path).item_metadata),
                )
                state = checkpointer.restore(path, like)
                return {renamed.state_part(part): tree for part, tree in state.items()}
        except Exception as error:  # the hashes are right, so the reason is Orbax's
            raise UserError(
                f"{path}: Orbax cannot read it ({first_line(error, 200)}); use the versions "
                "that wrote it"
            ) from error

    def _sound(self) -> int | None:
        """The newest step with a sound checkpoint; None if nothing was ever saved."""
        steps = self.steps()
        for step in reversed(steps):
            damage = verify(self.folder / str(step))
            if damage is None:
                return step if self._best is False else self._best_of(step)
            _log.warning("%s; trying the checkpoint before it", damage)
        if steps:
            raise UserError(
                f"{self.folder}: all {len(steps)} checkpoints are damaged; nothing was deleted. "
                "Restore them from a backup, or train again in another --workdir"
            )
        return None

    def _best_of(self, newest: int) -> int:
        """The best step: the given one, or the one that the newest sound checkpoint notes."""
        step: int | None = self._best
        if step is True:
            step = best_step(contents(self.folder / str(newest))["notes"])
        if step is None:
            raise UserError(
                f"{self.folder}: no best checkpoint; set config.training.best to a metric that "
                "chooses one"
            )
        if damage := verify(self.folder / str(step)):
            raise UserError(f"{damage}; that was the best checkpoint, so leave out --best")
        return step

    def _load(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        import orbax.checkpoint as ocp

        folder = self.folder / str(step)
        description, expected = contents(folder), _arrays(like)
        saved = dict(_as_today(*pair) for pair in description["arrays"].items())
        changed = [
            f"{name} is {saved.get(name, 'absent')}, expected {expected.get(name, 'absent')}"
            for name in sorted({*saved, *expected})
            if saved.get(name) != expected.get(name)
        ]
        if changed:
            raise UserError(
                f"{folder}: does not fit this config's model and optimiser ({some(changed)}); "
                "use the versions and the code that wrote it"
            )
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                state = _restore(checkpointer, folder / "state", like)
        except Exception as error:  # Orbax raises many types, and TensorStore its own
            raise UserError(
                f"{folder}: does not fit this config's model and optimiser "
                f"({first_line(error, 200)}); use the versions and the code that wrote it"
            ) from error
        return state, description["notes"]

    def _clear(self, step: int) -> None:
        """Make room for a step: delete partial checkpoints, and rename damaged ones."""
        refuse_special(self.folder)
        for partial in self.folder.glob("partial-*"):
            refuse_special(partial)  # opening a pipe would block
            shutil.rmtree(partial)
        for later in (s for s in self.steps() if s >= step):
            # Restoring skipped it, so it is damaged; it must not count as the newest.
            refuse_special(self.folder / f"damaged-{later}")
            shutil.rmtree(self.folder / f"damaged-{later}", ignore_errors=True)
            (self.folder / str(later)).rename(self.folder / f"damaged-{later}")

    def _unwritable(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return UserError(f"cannot save a checkpoint: {error}")
        why = reason(error)
        if number := _OS_ERROR.search(why):  # TensorStore puts much text before it
            why = os.strerror(int(number[1]))
        elif isinstance(error, OSError):
            why = error.strerror or why
        return UserError(
            f"{self.folder}: cannot save a checkpoint ({why}); make room and run again"
        )

    def _seal(
        self, checkpointer: Any, partial: Path, step: int, best: int | None, began: float
    ) -> None:
        """Wait for Orbax, add the manifest, give the checkpoint its name, and delete old ones."""
        checkpointer.wait_until_finished()
        checkpointer.close()
        if jax.process_index() > 0:
            return
        manifest = {"step": step, "sha256": digests(partial)}
        replace_text(partial / "manifest.json", json.dumps(manifest, indent=1))
        self._check()
        partial.rename(self.folder / str(step))
        for old in {*self.steps()[: -self._keep]} - {best}:
            if not special(self.folder / str(old)):
                shutil.rmtree(self.folder / str(old))
        self._seconds = time.perf_counter() - began


def _hush_orbax() -> None:
    """Suppress what Orbax's threads print of an error that `Checkpoints.wait` raises.

    They log its traceback, asyncio logs one for each array that failed with the first, and the
    remains of a failed save complain about a closed event loop.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_not_of_orbax)
    warnings.filterwarnings("ignore", r"coroutine 'async_serialize.*never awaited", RuntimeWarning)
    if not isinstance(sys.unraisablehook, _Hushed):
        sys.unraisablehook = _Hushed(sys.unraisablehook)


class _Hushed:
    """A `sys.unraisablehook` that ignores what failed saves of Orbax leave."""

    def __init__(self, hook: Callable[[Any], Any]) -> None:
        self._hook = hook

    def __call__(self, unraisable: Any, /) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    traceback = record.exc_info or record.name == "asyncio"
    return not (traceback and "orbax" in record.pathname + record.getMessage())


def _arrays(state: Any) -> dict[str, str]:
    """Path -> type and shape of every array of a state."""
    return {path: f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in flatten(state).items()}


def _as_today(path: str, kind: str) -> tuple[str, str]:
    """The path, type and shape that an array has in states today; Orbax casts when it reads.

    jaxdl 0.1 kept the average of the parameters in their own type, even in 16 bits.
    """
    path = renamed.state_part(path)
    return path, _HALF.sub("float32", kind) if path.startswith("ema/") else kind


def _restore(checkpointer: Any, path: Path, like: Any) -> Any:
    """Restore with Orbax, even if parts of the state have the names of jaxdl 0.1."""
    saved = set(dict(checkpointer.metadata(path).item_metadata))
    old = {new: name for name, new in renamed.STATE.items() if name in saved}
    if not old or not dataclasses.is_dataclass(like):
        return checkpointer.restore(path, like)
    names = [field.name for field in dataclasses.fields(like)]
    parts = {old.get(name, name): getattr(like, name) for name in names}
    parts = checkpointer.restore(path, parts)
    return dataclasses.replace(like, **{name: parts[old.get(name, name)] for name in names})  # type: ignore[type-var]
