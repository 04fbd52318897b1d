"""Checkpoints: the only file that knows Orbax.

    checkpoints/<step>/state/…         what Orbax wrote: all of a State, one unit
    checkpoints/<step>/contents.json   shape and type of every array, and notes
    checkpoints/<step>/manifest.json   step, and the SHA-256 of every file

A checkpoint is written beside its place and renamed into it when complete. Orbax does not check
what it reads, so the manifest does: a damaged checkpoint is named and the one before it used, and
if none is sound the run stops. A damaged one becomes `damaged-<step>` once training gets there
again, and is never deleted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from jaxdl.errors import UserError, some

_log = logging.getLogger("jaxdl")

_STEP = re.compile("0|[1-9][0-9]*")  # a step as it is written: 8, not 08


class Checkpoints:
    """The checkpoints of a run.

    Args:
      folder: where they are; made when the first is saved.
      keep: how many of the newest to keep, at least 1; the best is kept beside them.
      best: restore and read the best one instead of the newest.

    Attributes:
      seconds: what the last save took, until it was safely on disk.
    """

    def __init__(self, folder: Path, keep: int = 3, best: bool = False) -> None:
        if keep < 1:
            raise UserError(f"config.training.keep: expected at least 1, got {keep}")
        self._folder, self._keep, self._best = folder.absolute(), keep, best
        logging.getLogger("absl").addFilter(_said_once)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._newest: int | None = None  # the step that was saved or restored last
        self.seconds = 0.0

    def steps(self) -> list[int]:
        """The steps that were saved, oldest first."""
        return saved_steps(self._folder)

    def save(self, step: int, state: Any, notes: Mapping[str, Any] | None = None) -> None:
        """Save a state; returns once it is copied, and writes in the background.

        A step that is already saved is left alone. An error of the previous save is raised here.
        `notes` are JSON values; where they have `best`, its `step` names the best one so far.
        """
        self.wait()
        if step == self._newest:
            return
        import orbax.checkpoint as ocp

        began, partial = time.perf_counter(), self._folder / f"partial-{step}"
        contents = {"arrays": _arrays(state), "notes": dict(notes or {})}
        if jax.process_index() == 0:  # of several processes, one writes what is not Orbax's
            try:
                self._clear(step)
                partial.mkdir(parents=True)
                (partial / "contents.json").write_text(json.dumps(contents, indent=1))
            except OSError as error:
                raise self._unwritable(error) from error
        ocp.multihost.sync_global_processes(f"jaxdl checkpoint {step}")
        checkpointer = ocp.StandardCheckpointer()
        # A copy, because training goes on in the very buffers that Orbax is reading.
        checkpointer.save(partial / "state", jax.tree.map(jnp.copy, state))
        self._pending = self._writer.submit(
            self._seal, checkpointer, partial, step, _best_step(contents["notes"]), began
        )
        self._newest = step

    def wait(self) -> None:
        """Wait until what was saved is safely on disk.

        Raises:
          UserError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            try:
                pending.result()
            except Exception as error:  # TensorStore has its own, also for a full disk
                raise self._unwritable(error) from error

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest (or best) sound checkpoint and its notes; None where nothing was ever saved.

        Args:
          like: a pytree of the state's structure, shapes, types and shardings.

        Raises:
          UserError: there are checkpoints, but none that is sound; or the sound one is of another
            structure.
        """
        step = self._sound()
        if step is None:
            return None
        self._newest = step
        return self._load(step, like)

    def read(self) -> dict[str, Any]:
        """The state of the newest (or best) sound checkpoint, in nested dicts, on one device.

        For those who want what was learnt and not to train on: no config, code or data is needed.

        Raises:
          UserError: nothing was saved, or nothing that is sound.
        """
        import orbax.checkpoint as ocp

        step = self._sound()
        if step is None:
            raise UserError(f"{self._folder}: no checkpoint yet; run `jaxdl train` first")
        path, here = self._folder / str(step) / "state", SingleDeviceSharding(jax.devices()[0])
        with ocp.StandardCheckpointer() as checkpointer:
            like = jax.tree.map(
                lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=here),
                dict(checkpointer.metadata(path).item_metadata),
            )
            return checkpointer.restore(path, like)

    def _sound(self) -> int | None:
        """The newest step with a sound checkpoint; None where nothing was ever saved."""
        steps = self.steps()
        for step in reversed(steps):
            damage = verify(self._folder / str(step))
            if damage is None:
                return self._best_of(step) if self._best else step
            _log.warning("%s; trying the checkpoint before it", damage)
        if steps:
            raise UserError(
                f"{self._folder}: all {len(steps)} checkpoints are damaged; nothing was deleted. "
                "Restore them from a backup, or train anew in another --workdir"
            )
        return None

    def _best_of(self, newest: int) -> int:
        """The best step, as the newest sound checkpoint has it."""
        notes = json.loads((self._folder / str(newest) / "contents.json").read_text())["notes"]
        step = _best_step(notes)
        if step is None:
            raise UserError(
                f"{self._folder}: no best checkpoint; config.training.best names the metric by "
                "which to choose"
            )
        if damage := verify(self._folder / str(step)):
            raise UserError(f"{damage}; it was the best, so leave out --best")
        return step

    def _load(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        import orbax.checkpoint as ocp

        folder = self._folder / str(step)
        contents = json.loads((folder / "contents.json").read_text())
        there, here = contents["arrays"], _arrays(like)
        changed = [
            f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} here"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        if changed:
            raise UserError(
                f"{folder}: does not fit this config's model and optimiser ({some(changed)}); "
                "use the versions and the code that wrote it"
            )
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                state = checkpointer.restore(folder / "state", like)
        except (ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{folder}: does not fit this config's model and optimiser ({reason}); "
                "use the versions and the code that wrote it"
            ) from error
        return state, contents["notes"]

    def _clear(self, step: int) -> None:
        """Clear the way for a step: of what a kill left half-written, and of what is damaged."""
        for partial in self._folder.glob("partial-*"):
            shutil.rmtree(partial)
        for later in (s for s in self.steps() if s >= step):
            # Restoring passed over it, so it is damaged; left there it would count as the newest.
            shutil.rmtree(self._folder / f"damaged-{later}", ignore_errors=True)
            (self._folder / str(later)).rename(self._folder / f"damaged-{later}")

    def _unwritable(self, error: Exception) -> UserError:
        reason = str(error).strip().partition("\n")[0]
        return UserError(
            f"{self._folder}: cannot save a checkpoint ({type(error).__name__}: {reason}); "
            "make room and run again"
        )

    def _seal(
        self, checkpointer: Any, partial: Path, step: int, best: int | None, began: float
    ) -> None:
        checkpointer.wait_until_finished()
        checkpointer.close()
        if jax.process_index() > 0:
            return
        manifest = {"step": step, "sha256": _digests(partial)}
        with open(partial / "manifest.json", "w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._folder / str(step))
        for old in {*self.steps()[: -self._keep]} - {best}:
            shutil.rmtree(self._folder / str(old))
        self.seconds = time.perf_counter() - began


def saved_steps(folder: Path) -> list[int]:
    """The steps of which a folder holds a checkpoint, oldest first."""
    return sorted(int(path.name) for path in folder.glob("*") if _STEP.fullmatch(path.name))


def _said_once(record: logging.LogRecord) -> bool:
    """Keeps out the stacks that Orbax's threads log: `Checkpoints.wait` raises the same error."""
    return not (record.exc_info and "orbax" in record.pathname)


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in one line; None where every file is as it was written."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        expected = dict(manifest["sha256"].items())
        if manifest["step"] != int(folder.name):
            return f"{folder}: the manifest is of another checkpoint"
    except (OSError, RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:
        return f"{folder}: no readable manifest.json ({type(error).__name__})"
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():  # what it leads to may change, and is not ours to delete
            return f"{folder}: {path.name} is a symbolic link"
    try:
        found = _digests(folder)
    except OSError as error:
        return f"{folder}: cannot be read ({error})"
    for name in sorted({*expected, *found}):
        if name not in found:
            return f"{folder}: {name} is missing"
        if name not in expected:
            return f"{folder}: {name} does not belong to it"
        if found[name] != expected[name]:
            return f"{folder}: {name} is damaged (its SHA-256 differs)"
    return None


def _best_step(notes: Mapping[str, Any]) -> int | None:
    best = notes.get("best")
    return best and int(best["step"])


def _arrays(state: Any) -> dict[str, str]:
    """Path -> type and shape of every array of a state."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "manifest.json"
    }
