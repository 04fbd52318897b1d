"""Code that a config names, imported: anybody's own, and of a run only what was consented to."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

from jaxdl.errors import UserError, suggestion

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_NAME = f"({_DOTTED}):({_DOTTED})"  # 'package.module:thing'
_LONGEST = 200  # characters of a dotted name


class FromRun(str):
    """A text with a colon in a file of a run, which somebody else may have written.

    `config.find` imports what it names only if its module is among `trust`. The text knows this
    itself, and keeps it in copies and pickles, so that no function that a config goes through can
    forget to hand it on: what nobody consented to is refused, also where a user's own model builds
    nodes of its own.

    Attributes:
      file: where it was read.
      trust: the modules whose code may run.
    """

    file: str = ""
    trust: frozenset[str] = frozenset()


def modules(config: Any) -> frozenset[str]:
    """The modules whose code a config names, wherever it names it."""
    if isinstance(config, Mapping):
        return frozenset[str]().union(*map(modules, config.values()))
    if isinstance(config, tuple):
        return frozenset[str]().union(*map(modules, config))
    named = re.fullmatch(_NAME, config) if isinstance(config, str) else None
    return frozenset({named[1]} if named else ())


def imported(name: str, path: str) -> Any:
    """What a dotted name stands for; see `jaxdl.config.find`."""
    run = name if isinstance(name, FromRun) else None
    path = path if run is None else f"{run.file}: {path}"
    parts = re.fullmatch(_NAME, name)
    if parts is None or len(name) > _LONGEST:
        raise UserError(
            f"{path}: {name[:_LONGEST]!r} is not the name of code; write 'package.module:thing'"
        )
    module, attribute = parts.groups()
    if run is not None and module not in run.trust:
        raise UserError(
            f"{path} asks to run {str(name)!r}; if you trust that code, add --trust {module}"
        )
    thing: Any = _module(module, path, own=run is None)
    for part in [attribute] if run else attribute.split("."):  # of a run, no attributes of those
        if not hasattr(thing, part):
            names = [name for name in dir(thing) if not name.startswith("_")]
            raise UserError(
                f"{path}: {module!r} has no {attribute!r}; {suggestion(part, names, 'it has')}"
            )
        thing = getattr(thing, part)
    if run is not None and not _defines(module, thing):
        raise UserError(
            f"{path}: {attribute!r} is not a class or function that {module!r} defines, the only "
            "code that a run may name; define one there"
        )
    try:
        inspect.signature(thing)
    except (TypeError, ValueError):
        raise UserError(
            f"{path}: {str(name)!r} cannot be called; name a class or function"
        ) from None
    return thing


def _module(name: str, path: str, own: bool) -> types.ModuleType:
    """Import a module; a user's own code stands where the command is run.

    For a run's name the current directory comes last, and for the import alone: it may be the run's
    own, whose files must not stand before anybody's packages.
    """
    elsewhere = not {"", "."} & {*sys.path}
    if elsewhere:
        sys.path.insert(0 if own else len(sys.path), "")
    try:
        return importlib.import_module(name)
    except Exception as error:  # not there, or the user's own code does not import
        message = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot import {name!r} ({type(error).__name__}: {message}); run from the "
            "folder that holds it, or install it"
        ) from error
    finally:
        if elsewhere and not own:
            sys.path.remove("")


def _defines(module: str, thing: Any) -> bool:
    """Whether a thing is a class or function of a module, or of one inside a package."""
    own = f"{getattr(thing, '__module__', None)}.".startswith(f"{module}.")
    return own and (inspect.isclass(thing) or inspect.isfunction(thing))
