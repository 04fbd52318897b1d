"""Starting from what was learnt elsewhere: `config.init_from`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxdl import config as cfg
from jaxdl import weights
from jaxdl.checkpoints import Checkpoints
from jaxdl.errors import UserError
from jaxdl.files import refuse_links
from jaxdl.models.pretrained import Filled, fill, flat, renamed


@dataclass(frozen=True)
class InitFrom:
    """Where parameters and batch statistics start from, in a run that has no checkpoint yet.

    Args:
      path: a weight file with PyTorch's names (`jaxdl.weights`), or the directory of a run, whose
        newest sound checkpoint counts, the average of the parameters where one was kept.
      exclude: regular expressions of our paths (`fc/kernel`) that start fresh all the same, such
        as an output layer for other classes.
      rename: (regular expression, replacement) pairs, applied in order to the names in the file.
      strict: nothing may be missing, and nothing left over, but what is excluded.

    Raises:
      UserError: what should be a regular expression is none.
    """

    path: str
    exclude: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    strict: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no regular expression, or no replacement of one."""
        for i, pattern in enumerate(self.exclude):
            _try(pattern, "", f"exclude[{i}]: {pattern!r} is no regular expression")
        for i, (pattern, replacement) in enumerate(self.rename):
            pair = f"{pattern!r} -> {replacement!r}"
            _try(pattern, replacement, f"rename[{i}]: {pair} makes no sense")

    @classmethod
    def of(cls, node: str | Mapping[str, Any]) -> InitFrom:
        """From the config: a path alone, or a dict of arguments."""
        arguments = {"path": node} if isinstance(node, str) else node
        return cfg.call(cls, arguments, "config.init_from")

    @functools.cached_property
    def arrays(self) -> dict[str, Any]:
        """What was learnt, by the names that the file or the run has; read once, until `forget`.

        Raises:
          UserError: it cannot be read.
        """
        try:
            if not self._place.is_dir():
                return weights.read(self._place)
            refuse_links(self._place)
            with jax.enable_x64(True):  # that run may have had another precision
                state = Checkpoints(self._place / "checkpoints").read()
        except UserError as error:
            raise UserError(f"config.init_from: {error}") from None
        learnt = state["params"] if state.get("average") is None else state["average"]
        return jax.device_get(flat(learnt, state["variables"] or {}))

    def fill(self, params: Any, variables: Any) -> Filled:
        """The trees with what was learnt in them.

        Raises:
          UserError: it cannot be read, or does not fit.
        """
        arrays = self.arrays
        try:
            arrays = self._renamed(arrays)
            if not self._place.is_dir():
                arrays = renamed(arrays, flat(params, variables))
            return fill(arrays, params, variables, exclude=self.exclude, strict=self.strict)
        except UserError as error:
            raise UserError(f"config.init_from: {self.path}: {error}") from None

    def forget(self) -> None:
        """Let go of what was read, which may be large."""
        self.__dict__.pop("arrays", None)

    @property
    def _place(self) -> Path:
        return Path(self.path).expanduser()

    def _renamed(self, arrays: dict[str, Any]) -> dict[str, Any]:
        for pattern, replacement in self.rename:
            names = {name: re.sub(pattern, replacement, name) for name in arrays}
            if all(old == new for old, new in names.items()):
                raise UserError(f"rename: {pattern!r} changes no name, such as {min(names)}")
            if len(set(names.values())) < len(names):
                raise UserError(f"rename: {pattern!r} gives two arrays one name")
            arrays = {names[name]: array for name, array in arrays.items()}
        return arrays


def _try(pattern: str, replacement: str, fault: str) -> None:
    try:
        re.sub(pattern, replacement, "")
    except (re.error, IndexError) as error:
        raise UserError(f"{fault}: {error}") from None
