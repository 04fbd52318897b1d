"""Starts a run from weights that were trained elsewhere: `config.init_from`."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxdl import optim
from jaxdl.checkpointing import weight_files
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.weight_names import Filled, fill, flat, renamed
from jaxdl.errors import UserError
from jaxdl.files import refuse_links
from jaxdl.remote import weights_path
from jaxdl.types import ModelState, Params

_PREFIXES = 16  # the number of prefixes of names to try
_DEEPEST = 3  # the most parts of a prefix


@dataclass(frozen=True)
class InitFrom:
    """The weights from which a run without a checkpoint starts.

    Args:
      path: a weight file with PyTorch's names (`jaxdl.checkpointing.weight_files`), or the
        directory of a run: its newest sound checkpoint, and of that the moving average of the
        parameters if there is one. Either may be an address; hf://owner/name is a model of the
        Hugging Face hub, of which model.safetensors is read.
      exclude: regular expressions of our paths (`fc/kernel`) that keep their initial values, such
        as an output layer for other classes.
      rename: (regular expression, replacement) pairs, applied in order to the names in the file.
      strict: apart from what is excluded, nothing may be missing and nothing left over.

    Raises:
      UserError: the path is empty, or a regular expression or a replacement is not valid.
    """

    path: str
    exclude: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    strict: bool = True

    def __post_init__(self) -> None:
        """Check the path, and the regular expressions and their replacements."""
        if not self.path.strip():  # which would be the current folder
            raise UserError(
                "path: is empty; give a weight file or the directory of a run, or leave "
                "config.init_from out"
            )
        for i, pattern in enumerate(self.exclude):
            _try(pattern, "", f"exclude[{i}]: {pattern!r} is not a regular expression")
        for i, (pattern, replacement) in enumerate(self.rename):
            pair = f"{pattern!r} -> {replacement!r}"
            _try(pattern, replacement, f"rename[{i}]: {pair} is not a replacement")

    @functools.cached_property
    def arrays(self) -> dict[str, Any]:
        """Name -> array, as the file or the run names them; read once, until `forget`.

        Raises:
          UserError: it cannot be read.
        """
        try:
            if not self._place.is_dir():
                return weight_files.read(self._place)
            refuse_links(self._place)
            with jax.enable_x64(True):  # the run may have been of another precision
                state = Checkpoints(self._place / "checkpoints").read()
        except UserError as error:
            raise UserError(f"config.init_from: {error}") from None
        evaluated = optim.eval_params(state["params"], state.get("opt_state"))
        params = evaluated if state.get("ema") is None else state["ema"]
        return jax.device_get(flat(params, state["model_state"] or {}))

    def fill(self, params: Params, model_state: ModelState) -> Filled:
        """The parameters and model state, filled with the arrays.

        Raises:
          UserError: the arrays cannot be read, or do not fit.
        """
        named = self._renamed(self.arrays)
        try:
            return self._filled(named, params, model_state)
        except UserError as error:
            hint = self._prefix_hint(named, params, model_state)
            raise UserError(f"config.init_from: {self.path}: {error}{hint}") from None

    def _filled(self, named: dict[str, Any], params: Params, model_state: ModelState) -> Filled:
        if not self._place.is_dir():
            named = renamed(named, flat(params, model_state))
        return fill(named, params, model_state, exclude=self.exclude, strict=self.strict)

    def _prefix_hint(self, named: dict[str, Any], params: Params, model_state: ModelState) -> str:
        """The `rename` that makes the arrays fit, if only a prefix of their names is in the way.

        Lightning, for example, adds `model.` to all names.
        """
        parts = [re.findall(r"[^./]+[./]", name)[:_DEEPEST] for name in named]
        prefixes = {"".join(part[:k]) for part in parts for k in range(1, len(part) + 1)}
        for prefix in sorted(prefixes, key=lambda p: (p.count("."), p))[:_PREFIXES]:
            own = {n.removeprefix(prefix): x for n, x in named.items() if n.startswith(prefix)}
            others = [n for n in named if not n.startswith(prefix)]
            with contextlib.suppress(UserError):
                self._filled(own, params, model_state)
                hint = f"; it fits with config.init_from.rename=(('^{re.escape(prefix)}', ''),)"
                return hint + (" and strict=False" if others else "")
        return ""

    def forget(self) -> None:
        """Free the arrays that were read, which may be large."""
        self.__dict__.pop("arrays", None)

    @functools.cached_property
    def _place(self) -> Path:
        """The weight file or run; of a folder such as Hugging Face's, the weight file in it."""
        place = Path(weights_path(self.path)).expanduser()
        inside = place / "model.safetensors"
        return inside if inside.is_file() and not (place / "checkpoints").exists() else place

    def _renamed(self, arrays: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._rename(arrays)
        except UserError as error:
            raise UserError(f"config.init_from: {self.path}: {error}") from None

    def _rename(self, arrays: dict[str, Any]) -> dict[str, Any]:
        for pattern, replacement in self.rename:
            names = {name: re.sub(pattern, replacement, name) for name in arrays}
            if all(old == new for old, new in names.items()):
                raise UserError(f"rename: {pattern!r} matches no name, such as {min(names)}")
            if len(set(names.values())) < len(names):
                raise UserError(f"rename: {pattern!r} gives two arrays the same name")
            arrays = {names[name]: array for name, array in arrays.items()}
        return arrays


def _try(pattern: str, replacement: str, fault: str) -> None:
    try:
        re.sub(pattern, replacement, "")
    except (re.error, IndexError) as error:
        raise UserError(f"{fault}: {error}") from None
