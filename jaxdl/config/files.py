"""Config files, those of users and of runs, and the plain values that they hold."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from jaxdl import json_files
from jaxdl.configs import shipped
from jaxdl.errors import UserError, brief, suggestion
from jaxdl.files import refuse_special
from jaxdl.named_code import FromRun


def read(file: Any) -> dict[str, Any]:
    """Read a config file.

    Args:
      file: path of a config file, or the name of a shipped one; `file.py:argument` hands
        `argument` to `get_config`. Or the config itself: a `ConfigDict`, or nested dicts.

    Returns:
      The config as nested dicts and tuples of JSON values.

    Raises:
      UserError: the file is missing or broken.
    """
    if isinstance(file, Mapping) or hasattr(file, "to_dict"):
        return cast("dict[str, Any]", plain(file))
    if not isinstance(file, str | os.PathLike):
        raise UserError(
            f"config: expected a file, the name of a shipped config or a ConfigDict, got "
            f"{brief(file)}"
        )
    path, argument = _locate(os.fspath(file))
    try:
        config = plain(_get_config(path, argument), "config")
    except RecursionError:
        raise UserError(f"--config {path}: a part of the config contains itself") from None
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: get_config() must return a ConfigDict, got {config!r}")
    return config


def read_json(
    path: Path, schema: Any = dict[str, Any], *, trust: Collection[str] = ()
) -> dict[str, Any]:
    """What a JSON file of a run directory holds, such as its config; lists become tuples.

    Data only: no code is run.

    Args:
      path: of the file.
      schema: the type that it must be of, as `jaxdl.json_files` says.
      trust: the modules whose code may run when something is built of it; see `FromRun`.

    Raises:
      UserError: the file is missing, or is not JSON of that type.
    """
    refuse_special(path)
    if not path.exists():
        raise UserError(f"{path}: not found; is this the --workdir of a run?")
    value = plain(json_files.read(path, schema), f"{path}: {path.stem}")
    return from_run(value, str(path), frozenset([trust] if isinstance(trust, str) else trust))


def _locate(file: str) -> tuple[Path, str | None]:
    stem, _, argument = file.partition(".py:")
    path = Path(stem + ".py" if argument else file)
    if path.is_dir():
        raise UserError(f"--config {file}: is a directory; name a file in it")
    if not path.exists() and str(path.parent) in (".", "configs"):
        path = shipped().get(path.stem, path)
    if not path.exists():
        raise UserError(
            f"--config {file}: no such file or shipped config; {suggestion(path.stem, shipped())}"
        )
    return path, argument or None


def _get_config(path: Path, argument: str | None) -> Any:
    spec = importlib.util.spec_from_file_location(f"_jaxdl_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config {path}: not a Python file; a config ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # configs may share a helper beside them
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"--config {path}: defines no get_config()")
        return module.get_config(argument) if argument else module.get_config()
    except UserError:
        raise
    except SystemExit as stop:  # else exit() there would end us, with whatever status it says
        line = _line_in(stop, path)
        raise UserError(
            f"--config {path}{line}: ends the program; get_config() must return a ConfigDict"
        ) from None
    except Exception as error:  # the file is the user's: whatever it raises is theirs to mend
        line = _line_in(error, path)
        message = " ".join(str(error).split())
        raise UserError(f"--config {path}{line}: {type(error).__name__}: {message}") from error
    finally:
        sys.path.remove(str(path.parent))


def _line_in(error: BaseException, path: Path) -> str:
    file = str(path.absolute())  # as importlib calls it
    if isinstance(error, SyntaxError) and error.filename == file:
        return f":{error.lineno}"
    lines, trace = [], error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{lines[-1]}" if lines else ""


def from_run(value: Any, file: str, trust: frozenset[str] = frozenset()) -> Any:
    """The value, whose texts that can name code know where they come from; see `FromRun`."""
    if isinstance(value, Mapping):
        return {key: from_run(item, file, trust) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(from_run(item, file, trust) for item in value)
    if isinstance(value, str) and ":" in value:
        value = FromRun(value)
        value.file, value.trust = file, trust
    return value


def as_own(saved: Any, own: Any) -> Any:
    """A run's config, in which names of code that the user's own config says too are the user's."""
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        return {key: as_own(item, own.get(key)) for key, item in saved.items()}
    if isinstance(saved, tuple) and isinstance(own, tuple) and len(saved) == len(own):
        return tuple(map(as_own, saved, own))
    return own if isinstance(saved, FromRun) and saved == own else saved


def plain(value: Any, path: str = "config") -> Any:
    """Nested dicts and tuples of JSON values, so that config.json says the same as the file.

    Raises:
      UserError: a value that JSON does not have, or a number that is not finite.
    """
    if isinstance(value, Mapping) or hasattr(value, "to_dict"):
        return {str(key): plain(value[key], f"{path}.{key}") for key in value}
    if isinstance(value, list | tuple):
        return tuple(plain(item, f"{path}[{i}]") for i, item in enumerate(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path}: {value} is not finite; give a number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not value.ndim:
        return plain(value.item(), path)
    raise UserError(
        f"{path}: {value!r} cannot be kept in config.json; give a number, a string, or the "
        "name of a callable as 'package.module:thing'"
    )


def at(config: Any, key: str) -> Any:
    """What stands at a dotted key; None where there is nothing."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def differences(old: Any, new: Any, path: str = "config") -> list[str]:
    """The leaves in which two configs differ, as `path: old -> new` lines.

    A node that names another callable takes other arguments, and differs by its name.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = {*old, *new}
        for selector in ("name", "source"):
            if selector in keys and old.get(selector) != new.get(selector):
                keys = {selector}
        return [
            line
            for key in sorted(keys)
            for line in differences(
                old.get(key, "(absent)"), new.get(key, "(absent)"), f"{path}.{key}"
            )
        ]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]
