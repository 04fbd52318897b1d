"""Config files: read one, apply overrides, build each part from its signature.

A config is a Python file with `get_config() -> ml_collections.ConfigDict`. A node such as
`config.model = dict(name='mlp', widths=(200, 100))` stands for a call: `name` picks the callable,
from a registry (a plain dict) or as a dotted `'package.module:thing'`, and the other keys are its
arguments. So the signature is the schema, and there is no second one to keep in step with it.

A dotted name runs code. What a config file of the user's own names is imported; what a file of a
run names, only from a module that the user has consented to (`FromRun`).
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import json
import logging
import math
import re
import sys
import types
from collections import abc
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from jaxdl import json_files
from jaxdl.durations import OTHER_UNIT
from jaxdl.errors import UserError
from jaxdl.files import refuse_special

_log = logging.getLogger("jaxdl")

# Arguments that Flax adds to every module's constructor; never set from a config.
_FLAX = {"parent", "name"}
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_LONGEST = 200  # characters of a dotted name


class Selectable(NamedTuple):
    """A node of a config that names a callable.

    Attributes:
      registry: what it can name.
      shared: keys that stay when an override names another one, whatever that takes.
    """

    registry: Mapping[str, Callable[..., Any]]
    shared: tuple[str, ...] = ()


class FromRun(str):
    """A text with a colon in a file of a run, which somebody else may have written.

    `find` imports what it names only if its module is among `trust`. The text knows this itself,
    and keeps it in copies and pickles, so that none of the functions that a config goes through can
    forget to hand it on: what nobody consented to is refused, also where a user's own model builds
    nodes of its own.

    Attributes:
      file: where it was read.
      trust: the modules whose code may run.
    """

    file: str = ""
    trust: frozenset[str] = frozenset()


def shipped() -> dict[str, Path]:
    """The configs that come with jaxdl: name -> file (in a checkout, or inside the package)."""
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}
    return {}


def read(
    file: str,
    overrides: Iterable[str] = (),
    nodes: Mapping[str, Selectable] | None = None,
) -> dict[str, Any]:
    """Read a config file and apply overrides.

    Args:
      file: path of a config file, or the name of a shipped one; `file.py:argument` hands
        `argument` to `get_config`.
      overrides: `key.sub=value` strings, as they follow `--config.` on the command line.
      nodes: path of a node -> what its name can stand for. When an override puts another
        callable in a node, the arguments that the new one does not take are dropped (logged).

    Returns:
      The config as nested dicts and tuples of JSON values.

    Raises:
      UserError: the file is missing or broken, or an override cannot be applied.
    """
    path, argument = _locate(file)
    config = plain(_get_config(path, argument), "config")
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: get_config() must return a ConfigDict, got {config!r}")
    return overridden(config, overrides, nodes)


def overridden(
    config: Mapping[str, Any],
    overrides: Iterable[str],
    nodes: Mapping[str, Selectable] | None = None,
) -> dict[str, Any]:
    """A config with overrides, as `read` applies them.

    Raises:
      UserError: an override cannot be applied.
    """
    changed = copy.deepcopy(dict(config))
    for override in overrides:
        _override(changed, override, nodes or {})
    return changed


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
    return _from_run(value, str(path), frozenset([trust] if isinstance(trust, str) else trust))


def _from_run(value: Any, file: str, trust: frozenset[str]) -> Any:
    """The value, whose texts that can name code know where they come from."""
    if isinstance(value, Mapping):
        return {key: _from_run(item, file, trust) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_from_run(item, file, trust) for item in value)
    if isinstance(value, str) and ":" in value:
        value = FromRun(value)
        value.file, value.trust = file, trust
    return value


def differences(old: Any, new: Any, path: str = "config") -> list[str]:
    """The leaves in which two configs differ, as `path: old -> new` lines."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for key in sorted({*old, *new})
            for line in differences(
                old.get(key, "(absent)"), new.get(key, "(absent)"), f"{path}.{key}"
            )
        ]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def build(
    node: Any,
    registry: Mapping[str, Callable[..., Any]],
    path: str,
    *,
    selector: str = "name",
) -> Any:
    """Call what a config node stands for.

    Args:
      node: a mapping whose `selector` key names the callable; its other keys are arguments.
      registry: name -> callable. A name with a colon, `'package.module:thing'`, is imported, if it
        is not a run's that the user has not consented to.
      path: where the node stands in the config, for messages.
      selector: the key that names the callable.

    Raises:
      UserError: the name or a key is unknown, a key is missing, or a value is of another type.
    """
    thing, arguments = choose(node, registry, path, selector=selector)
    return call(thing, arguments, path)


def choose(
    node: Any, registry: Mapping[str, Callable[..., Any]], path: str, *, selector: str = "name"
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The callable that a node names, and the node's other keys."""
    if not isinstance(node, Mapping):
        raise UserError(f"{path}: expected a dict with {selector!r}, got {node!r}")
    if selector not in node:
        raise UserError(f"{path}.{selector}: missing; choose from {', '.join(sorted(registry))}")
    arguments = {key: value for key, value in node.items() if key != selector}
    return find(node[selector], registry, f"{path}.{selector}"), arguments


def find(name: Any, registry: Mapping[str, Any], path: str) -> Any:
    """What `name` stands for: an entry of the registry, or a dotted `'package.module:thing'`.

    A user's own config may name whatever can be called. A run may name a class or function, and it
    must be the module's own, or, of a package, stand in a module inside it.

    Raises:
      UserError: there is no such thing, or it is a run's and nobody consented to its module.
    """
    if isinstance(name, str) and ":" in name:
        return _imported(name, path)
    if not isinstance(name, str) or name not in registry:
        raise UserError(f"{path}: unknown {name!r}; {suggestion(name, registry)}")
    return registry[name]


def call(thing: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> Any:
    """Call `thing(**arguments)` after checking the arguments against its signature."""
    arguments = checked(thing, arguments, path)
    try:
        return thing(**arguments)
    except UserError as error:
        raise UserError(str(error) if "config." in str(error) else f"{path}: {error}") from None


def checked(thing: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The arguments, once they fit the signature of `thing`.

    Raises:
      UserError: a key is unknown or missing, or a value is of another type.
    """
    settable = parameters(thing)
    hints, fitting = _hints(thing), {}
    for key, value in arguments.items():
        if key not in settable:
            raise UserError(f"{path}.{key}: unknown; {suggestion(key, settable)}")
        fitting[key] = _typed(value, hints.get(key, Any), f"{path}.{key}")
    for key, parameter in settable.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{path}.{key}: missing; {_name(thing)} needs it")
    return fitting


def parameters(thing: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a callable that can be given by name."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    takes = inspect.signature(thing).parameters
    hidden = _FLAX if set(takes) >= _FLAX else set()
    return {k: v for k, v in takes.items() if v.kind not in variadic and k not in hidden}


def suggestion(name: Any, options: Iterable[str]) -> str:
    """`did you mean 'x'? It takes: …` for a misspelt name."""
    listed = sorted(options)
    near = difflib.get_close_matches(str(name), listed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}it takes: {', '.join(listed) or 'nothing'}"


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
    raise UserError(
        f"{path}: {value!r} cannot be kept in config.json; give a number, a string, or the "
        "name of a callable as 'package.module:thing'"
    )


def _override(
    config: dict[str, Any],
    override: str,
    nodes: Mapping[str, Selectable],
) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--config.{override}: write --config.key.sub=value")
    *parents, leaf = key.split(".")
    node, path = config, "config"
    for parent in parents:
        if node.get(parent) is None:  # absent, perhaps misspelt: its signature will tell
            node[parent] = {}
        if not isinstance(node[parent], dict):
            raise UserError(f"--config.{key}: {path}.{parent} is {node[parent]!r}, not a group")
        node, path = node[parent], f"{path}.{parent}"
    selectable = nodes.get(".".join(parents))
    if selectable and leaf in ("name", "source") and node.get(leaf) != text:
        thing = find(text, selectable.registry, f"config.{key}")
        _drop_strangers(node, thing, ("name", "source", *selectable.shared), path)
        if path == "config.data" and config.get("target"):
            config["target"] = None
            _log.warning("config.target dropped: it was published for other data")
    node[leaf] = plain(_parse(text, node.get(leaf)), f"config.{key}")
    if node[leaf] is not None:
        node.pop(OTHER_UNIT.get(leaf, ""), None)


def _drop_strangers(
    node: dict[str, Any], thing: Callable[..., Any], shared: tuple[str, ...], path: str
) -> None:
    """Drop the keys of a node that the callable does not take, or takes as another type.

    What all callables there share stays.
    """
    settable, hints = parameters(thing), _hints(thing)
    for key in sorted(set(node) - set(shared)):
        if key not in settable:
            reason = f"{_name(thing)} does not take it"
        elif not _fits(node[key], hints.get(key, Any)):
            reason = f"{_name(thing)} takes {_name(hints[key])}"
        else:
            continue
        _log.warning("%s.%s=%r dropped: %s", path, key, node.pop(key), reason)


def _fits(value: Any, hint: Any) -> bool:
    try:
        _typed(value, hint, "")
    except UserError:
        return False
    return True


def _parse(text: str, old: Any) -> Any:
    if isinstance(old, str):
        return text
    # As Python or JSON writes it; or as float() takes it, such as inf: refused later, by its name.
    for read_value in (ast.literal_eval, json.loads, float):
        try:
            return read_value(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def _imported(name: str, path: str) -> Any:
    """What a dotted name stands for; see `find`."""
    run = name if isinstance(name, FromRun) else None
    path = path if run is None else f"{run.file}: {path}"
    parts = re.fullmatch(f"({_DOTTED}):({_DOTTED})", name)
    if parts is None or len(name) > _LONGEST:
        raise UserError(f"{path}: {name[:_LONGEST]!r} names no code; write 'package.module:thing'")
    module, attribute = parts.groups()
    if run is not None and module not in run.trust:
        raise UserError(
            f"{path} asks to run {str(name)!r}; if you trust that code, add --trust {module}"
        )
    thing: Any = _module(module, path, own=run is None)
    for part in [attribute] if run else attribute.split("."):  # of a run, no attributes of those
        if not hasattr(thing, part):
            raise UserError(
                f"{path}: {module!r} has no {attribute!r}; {suggestion(part, dir(thing))}"
            )
        thing = getattr(thing, part)
    if run is not None and not _defines(module, thing):
        raise UserError(
            f"{path}: {attribute!r} is not a class or function that {module!r} defines, and a run "
            "may name nothing else; define one there"
        )
    try:
        inspect.signature(thing)
    except (TypeError, ValueError):
        raise UserError(
            f"{path}: {str(name)!r} has no known arguments; name a class or function"
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


def _hints(thing: Callable[..., Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for target in (thing, thing.__init__) if inspect.isclass(thing) else (thing,):  # type: ignore[misc]
        try:
            hints |= get_type_hints(target)
        except Exception:  # an annotation that only a type checker can read
            continue
    return hints


def _typed(value: Any, hint: Any, path: str) -> Any:
    """The value, as the type that the annotation asks for.

    JSON knows no tuples, so a sequence is a tuple here and becomes a list where one is annotated.
    Where a dataclass is annotated, alone or as the values of a mapping, a dict holds its arguments.
    """
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    node, others = _dataclass(hint)
    if node and isinstance(value, Mapping):
        return call(node, value, path)
    if node and not others and not (value is None or isinstance(value, node)):
        raise UserError(f"{path}: expected a dict of {_name(node)}'s arguments, got {value!r}")
    inner = next((part for part in others if get_origin(part) is abc.Mapping), None)
    if inner and isinstance(value, Mapping) and _dataclass(get_args(inner)[1])[0]:
        return {k: _typed(v, get_args(inner)[1], f"{path}.{k}") for k, v in value.items()}
    # typeguard lets True pass for an int, as Python does; in a config it is a slip.
    slip = isinstance(value, bool) and hint in (int, float, int | None, float | None)
    for candidate in [value, list(value)] if isinstance(value, tuple) else [value]:
        try:
            check_type(candidate, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError:
            continue
        if not slip:
            return candidate
    raise UserError(f"{path}: expected {_name(hint)}, got {value!r}")


def _dataclass(hint: Any) -> tuple[type | None, list[Any]]:
    """The dataclass that an annotation asks for, if one, and what else it takes beside None."""
    parts = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    wanted = [part for part in parts if part is not types.NoneType]
    nodes = [p for p in wanted if inspect.isclass(p) and dataclasses.is_dataclass(p)]
    if len(nodes) != 1:
        return None, wanted
    return nodes[0], [part for part in wanted if part is not nodes[0]]


def _name(thing: Any) -> str:
    """What an annotation or a callable is called in messages."""
    if thing is bool:
        return "true or false"
    if get_origin(thing) is tuple and get_args(thing)[-1] is Ellipsis:
        return f"a list of {_name(get_args(thing)[0])}"
    if get_origin(thing) is abc.Mapping:
        return "dicts"
    text = thing.__name__ if inspect.isclass(thing) or inspect.isroutine(thing) else str(thing)
    return text.replace("typing.", "").replace("collections.abc.", "")
