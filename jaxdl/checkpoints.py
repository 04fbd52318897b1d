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
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from jaxdl import json_files
from jaxdl.errors import UserError, some
from jaxdl.files import refuse_special, replace_text, special

_log = logging.getLogger("jaxdl")

_REMEDY = "restore it from a backup"
_HEADER = b"/.zarray"  # what ends the key of an array's header
_OS_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")
_STEP = re.compile("0|[1-9][0-9]*")  # a step as it is written: 8, not 08
_NARROW = re.compile(r"^b?float16(?=\[)")


@dataclass
class Manifest:
    """What manifest.json holds."""

    step: int
    sha256: dict[str, str]


@dataclass
class Best:
    """Of the best checkpoint, among the notes."""

    step: int
    metric: str = ""
    value: float = 0.0


@dataclass
class Notes:
    """What is noted beside a state, as far as it is read again."""

    wall_seconds: float = 0.0
    best: Best | None = None
    origin: dict[str, dict[str, Any]] = field(default_factory=dict)
    diverged: dict[str, str] = field(default_factory=dict)


@dataclass
class Contents:
    """What contents.json holds."""

    arrays: dict[str, str]
    notes: Notes


@dataclass
class _Header:
    """What an array's own header in the files of Orbax says of it, in Zarr's words."""

    dtype: str
    shape: list[int]


class Checkpoints:
    """The checkpoints of a run.

    Args:
      folder: where they are; made when the first is saved.
      keep: how many of the newest to keep, at least 1; the best is kept beside them.
      best: restore and read the best one instead of the newest.
      check: raises a `UserError` where they are no longer ours to write; called before each change.

    Attributes:
      seconds: what the last save took, until it was safely on disk.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        best: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        if keep < 1:
            raise UserError(f"config.training.keep: expected at least 1, got {keep}")
        self._folder, self._keep, self._best = folder.absolute(), keep, best
        self._check = check
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
        self._check()
        _hush_orbax()
        import orbax.checkpoint as ocp

        began, partial = time.perf_counter(), self._folder / f"partial-{step}"
        about = {"arrays": _arrays(state), "notes": dict(notes or {})}
        if jax.process_index() == 0:  # of several processes, one writes what is not Orbax's
            try:
                self._clear(step)
                partial.mkdir(parents=True)
                replace_text(partial / "contents.json", json.dumps(about, indent=1))
            except (OSError, UserError) as error:
                raise self._unwritable(error) from error
        ocp.multihost.sync_global_processes(f"jaxdl checkpoint {step}")
        checkpointer = ocp.StandardCheckpointer()
        # A copy, because training goes on in the very buffers that Orbax is reading.
        checkpointer.save(partial / "state", jax.tree.map(jnp.copy, state))
        self._pending = self._writer.submit(
            self._seal, checkpointer, partial, step, _best_step(about["notes"]), began
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
                self._check()  # or another has cleared it away
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
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                like = jax.tree.map(
                    lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=here),
                    dict(checkpointer.metadata(path).item_metadata),
                )
                return checkpointer.restore(path, like)
        except Exception as error:  # what Orbax happens to: the hashes were right
            raise UserError(
                f"{path}: Orbax cannot read it ({_line(error)}); use the versions that wrote it"
            ) from error

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
        step = _best_step(contents(self._folder / str(newest))["notes"])
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
        saved, here = contents(folder), _arrays(like)
        there = {name: _kept_today(name, kind) for name, kind in saved["arrays"].items()}
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
        except Exception as error:  # Orbax has many, and TensorStore its own
            raise UserError(
                f"{folder}: does not fit this config's model and optimiser ({_line(error)}); "
                "use the versions and the code that wrote it"
            ) from error
        return state, saved["notes"]

    def _clear(self, step: int) -> None:
        """Clear the way for a step: of what a kill left half-written, and of what is damaged."""
        refuse_special(self._folder)
        for partial in self._folder.glob("partial-*"):
            refuse_special(partial)  # removing it would wait for who writes to a pipe
            shutil.rmtree(partial)
        for later in (s for s in self.steps() if s >= step):
            # Restoring passed over it, so it is damaged; left there it would count as the newest.
            refuse_special(self._folder / f"damaged-{later}")
            shutil.rmtree(self._folder / f"damaged-{later}", ignore_errors=True)
            (self._folder / str(later)).rename(self._folder / f"damaged-{later}")

    def _unwritable(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return UserError(f"cannot save a checkpoint: {error}")
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if number := _OS_ERROR.search(reason):  # TensorStore says much before it
            reason = os.strerror(int(number[1]))
        elif isinstance(error, OSError):
            reason = error.strerror or reason
        return UserError(
            f"{self._folder}: cannot save a checkpoint ({reason}); make room and run again"
        )

    def _seal(
        self, checkpointer: Any, partial: Path, step: int, best: int | None, began: float
    ) -> None:
        checkpointer.wait_until_finished()
        checkpointer.close()
        if jax.process_index() > 0:
            return
        manifest = {"step": step, "sha256": _digests(partial)}
        replace_text(partial / "manifest.json", json.dumps(manifest, indent=1))
        self._check()
        partial.rename(self._folder / str(step))
        for old in {*self.steps()[: -self._keep]} - {best}:
            if not special(self._folder / str(old)):
                shutil.rmtree(self._folder / str(old))
        self.seconds = time.perf_counter() - began


def saved_steps(folder: Path) -> list[int]:
    """The steps of which a folder holds a checkpoint, oldest first."""
    return sorted(int(path.name) for path in folder.glob("*") if _STEP.fullmatch(path.name))


def _hush_orbax() -> None:
    """Keep out what Orbax's threads say of an error that `Checkpoints.wait` raises.

    They log its stack, and so does asyncio of each array that failed with the first; and what of a
    save had not ended yet finds its event loop closed.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_said_once)
    warnings.filterwarnings("ignore", r"coroutine 'async_serialize.*never awaited", RuntimeWarning)
    if not isinstance(sys.unraisablehook, _Hushed):
        sys.unraisablehook = _Hushed(sys.unraisablehook)


class _Hushed:
    """A hook for what cannot be raised, but for what Orbax leaves behind."""

    def __init__(self, hook: Callable[[Any], Any]) -> None:
        self._hook = hook

    def __call__(self, unraisable: Any, /) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)


def _said_once(record: logging.LogRecord) -> bool:
    stack = record.exc_info or record.name == "asyncio"
    return not (stack and "orbax" in record.pathname + record.getMessage())


def contents(folder: Path) -> dict[str, Any]:
    """What contents.json of a checkpoint holds, as `Contents` says.

    Raises:
      UserError: it cannot be read, or holds something else.
    """
    return json_files.read(folder / "contents.json", Contents, _REMEDY)


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in one line.

    None where every file is as it was written, and contents.json speaks of the arrays that are
    there: whoever writes other contents can write the hashes too.
    """
    for path in (folder, *sorted(folder.rglob("*"))):
        if kind := special(path):  # what a link leads to may change, and is not ours to delete
            return f"{folder}: {path.name!r} is {kind}"
    try:
        manifest = json_files.read(folder / "manifest.json", Manifest, _REMEDY)
    except UserError as error:
        return f"{folder}: no readable manifest.json ({error})"
    if str(manifest["step"]) != folder.name:
        return f"{folder}: the manifest is of another checkpoint"
    expected = manifest["sha256"]
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
    return _belied(folder)


def _belied(folder: Path) -> str | None:
    """In what contents.json is wrong of the arrays that are there; None where it is not."""
    try:
        named, stored = contents(folder)["arrays"], _stored(folder / "state")
    except UserError as error:
        return str(error)
    named = {name.replace("/", "."): kind for name, kind in named.items()}
    for name in sorted({*named, *stored}):
        if named.get(name) != stored.get(name):
            said, there = (json_files.shown(kinds.get(name, "absent")) for kinds in (named, stored))
            return (
                f"{folder}: contents.json is wrong: {json_files.shown(name)} is {said} there, and "
                f"{there} in state"
            )
    return None


def _stored(state: Path) -> dict[str, str]:
    """Path, with dots -> type and shape of every array. Reads headers only, and needs no device."""
    import tensorstore  # by which Orbax writes

    base = {"driver": "file", "path": f"{state.absolute()}/"}
    try:
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        keys = [key for key in store.list().result() if key.endswith(_HEADER)]
        reads = [store.read(key) for key in keys]
        return {
            key.removesuffix(_HEADER).decode(): _kind(read.result().value)
            for key, read in zip(keys, reads, strict=True)
        }
    except Exception as error:  # TensorStore has its own
        raise UserError(f"{state}: cannot be read ({_line(error)}); {_REMEDY}") from None


def _kind(header: bytes) -> str:
    """Type and shape, as Zarr says them of an array."""
    said = json_files.parse(header, _Header, "the header of an array", _REMEDY)
    return f"{np.dtype(said['dtype'])}{said['shape']}"


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _best_step(notes: Mapping[str, Any]) -> int | None:
    best = notes.get("best")
    return best and int(best["step"])


def _arrays(state: Any) -> dict[str, str]:
    """Path -> type and shape of every array of a state."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def _kept_today(name: str, kind: str) -> str:
    """The type and shape that an array is kept in today, to which Orbax casts as it reads.

    jaxdl 0.1 kept the average in the type of the parameters, however narrow.
    """
    return _NARROW.sub("float32", kind) if name.startswith("average/") else kind


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "manifest.json"
    }
