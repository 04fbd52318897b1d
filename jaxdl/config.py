"""Config files: read one, and build each part from its signature.

A config is a Python file with `get_config() -> ml_collections.ConfigDict`. A node such as
`config.model = dict(name='mlp', widths=(200, 100))` stands for a call: `name` picks the callable,
from a registry (a plain dict) or as a dotted `'package.module:thing'`, and the other keys are its
arguments. So the signature is the schema, and there is no second one to keep in step with it.

A dotted name runs code. What a config file of the user's own names is imported; what a file of a
run names, only from a module that the user has consented to (`FromRun`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import math
import os
import sys
import types
from collections import abc
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

from jaxdl import json_files
from jaxdl.configs import shipped
from jaxdl.errors import UserError, brief, suggestion
from jaxdl.files import refuse_special
from jaxdl.named_code import FromRun, imported
from jaxdl.signatures import in_words, signature

# Arguments that Flax gives a module's constructor; never set from a config.
_FLAX, _NNX = {"parent", "name"}, {"rngs"}


class Selectable(NamedTuple):
    """A node of a config that names a callable, or each of a list of such nodes.

    Attributes:
      registry: what it can name.
      selector: the key that names it.
      shared: a dataclass whose fields are keys that any of them takes beside its arguments.
      own: arguments that each reads in its own way, even where their names and types agree.
      derived: arguments that follow from the rest of a run where the config is silent, so that
        their default is not what they are.
    """

    registry: Mapping[str, Callable[..., Any]]
    selector: str = "name"
    shared: type | None = None
    own: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


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


def at(config: Any, key: str) -> Any:
    """What stands at a dotted key; None where there is nothing."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def complete(value: Any, nodes: Mapping[str, Selectable], hint: Any = Any, path: str = "") -> Any:
    """A config, or the part at a path, with the defaults of all that it names.

    What cannot be found stays as it is: whoever builds it will say so.

    Args:
      value: the config.
      nodes: as in `override`.
      hint: the type that the value must be of; of a whole config, the dataclass of its keys.
      path: where the value stands, without `config.`
    """
    if isinstance(value, tuple) and path in nodes:
        return tuple(complete(item, nodes, hint, path) for item in value)
    if not isinstance(value, Mapping):
        return value
    thing, type_of = takes(value, hint, nodes.get(path))
    missing = {} if thing is None else defaults(thing)
    for key in nodes[path].derived if path in nodes else ():
        missing.pop(key, None)
    return {
        key: complete(item, nodes, type_of(key), f"{path}.{key}".lstrip("."))
        for key, item in {**value, **{k: missing[k] for k in missing if k not in value}}.items()
    }


def takes(
    node: Any, hint: Any, selectable: Selectable | None
) -> tuple[Callable[..., Any] | None, Callable[[str], Any]]:
    """What the keys of a node are arguments of, if that is known, and what says a key's type."""
    if selectable is not None:
        thing, shared = None, argument_types(selectable.shared) if selectable.shared else {}
        with contextlib.suppress(UserError):
            thing = find(node.get(selectable.selector), selectable.registry, "")
        hints = shared | (argument_types(thing) if thing else {})
        return thing, lambda key: hints.get(key, Any)
    dataclass, others = group_and_others(hint)
    if dataclass:
        keys = argument_types(dataclass)
        return dataclass, lambda key: keys.get(key, Any)
    inner = next((get_args(part)[1] for part in others if get_origin(part) is abc.Mapping), Any)
    return None, lambda key: inner


def defaults(thing: Callable[..., Any]) -> dict[str, Any]:
    """What a callable takes for arguments that are not given, as far as JSON can hold it."""
    found = {key: parameter.default for key, parameter in parameters(thing).items()}
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            if field.name in found and field.default_factory is not dataclasses.MISSING:
                found[field.name] = field.default_factory()
    kept = {}
    for key, default in found.items():
        if dataclasses.is_dataclass(default) and not inspect.isclass(default):
            default = dataclasses.asdict(default)
        with contextlib.suppress(UserError):
            value = plain(default)
            if type(value) is type(default) and value == default:
                kept[key] = value
    return kept


def as_own(saved: Any, own: Any) -> Any:
    """A run's config, in which names of code that the user's own config says too are the user's."""
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        return {key: as_own(item, own.get(key)) for key, item in saved.items()}
    if isinstance(saved, tuple) and isinstance(own, tuple) and len(saved) == len(own):
        return tuple(map(as_own, saved, own))
    return own if isinstance(saved, FromRun) and saved == own else saved


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
        return imported(name, path)
    if not isinstance(name, str) or name not in registry:
        raise UserError(f"{path}: unknown {name!r}; {suggestion(name, registry)}")
    return registry[name]


def call(thing: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> Any:
    """Call `thing(**arguments)` after checking the arguments against its signature."""
    arguments = checked(thing, arguments, path)
    try:
        return thing(**arguments)
    except UserError as error:
        named = str(error).startswith("config.")  # it says itself which setting it is about
        raise UserError(str(error) if named else f"{path}: {error}") from None


def checked(thing: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The arguments, once they fit the signature of `thing`.

    Raises:
      UserError: a key is unknown or missing, or a value is of another type.
    """
    settable = parameters(thing)
    hints, fitting = argument_types(thing), {}
    for key, value in arguments.items():
        if key not in settable:
            raise UserError(f"{path}.{key}: unknown; {suggestion(key, settable)}")
        fitting[key] = typed(value, hints.get(key, Any), f"{path}.{key}")
    for key, parameter in settable.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{path}.{key}: missing; {in_words(thing)} needs it")
    return fitting


def parameters(thing: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a callable that can be given by name."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    takes = signature(thing).parameters
    hidden = _NNX | (_FLAX if set(takes) >= _FLAX else set())
    return {k: v for k, v in takes.items() if v.kind not in variadic and k not in hidden}


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


def argument_types(thing: Callable[..., Any]) -> dict[str, Any]:
    """The types of the arguments of a callable, where they can be known."""
    hints: dict[str, Any] = {}
    for target in (thing, thing.__init__) if inspect.isclass(thing) else (thing,):  # type: ignore[misc]
        try:
            hints |= get_type_hints(target)
        except Exception:  # an annotation that only a type checker can read
            continue
    return hints


def typed(value: Any, hint: Any, path: str) -> Any:
    """The value, as the type that the annotation asks for.

    JSON knows no tuples, so a sequence is a tuple here and becomes a list where one is annotated.
    Where a dataclass is annotated, alone or as the values of a mapping, a dict holds its arguments.
    """
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    node, others = group_and_others(hint)
    if node and isinstance(value, Mapping):
        return call(node, value, path)
    if node and not others and not (value is None or isinstance(value, node)):
        raise UserError(f"{path}: expected a dict of {in_words(node)}'s arguments, got {value!r}")
    inner = next((part for part in others if get_origin(part) is abc.Mapping), None)
    if inner and isinstance(value, Mapping) and group_in(get_args(inner)[1]):
        return {k: typed(v, get_args(inner)[1], f"{path}.{k}") for k, v in value.items()}
    # typeguard lets True pass for an int, as Python does; in a config it is a slip.
    slip = isinstance(value, bool) and hint in (int, float, int | None, float | None)
    for candidate in [value, list(value)] if isinstance(value, tuple) else [value]:
        try:
            check_type(candidate, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError:
            continue
        if not slip:
            return candidate
    kind = "true or false" if hint is bool else in_words(hint)
    raise UserError(f"{path}: expected {kind}, got {value!r}")


def options_of(hint: Any) -> list[Any]:
    """The types that an annotation allows, without None."""
    union = get_origin(hint) in (types.UnionType, Union)
    return [part for part in (get_args(hint) if union else (hint,)) if part is not types.NoneType]


def group_in(hint: Any) -> type | None:
    """The dataclass whose arguments a dict in place of this annotation holds, if any."""
    node, others = group_and_others(hint)
    inner = next((part for part in others if get_origin(part) is abc.Mapping), None)
    return node or (group_in(get_args(inner)[1]) if inner else None)


def group_and_others(hint: Any) -> tuple[type | None, list[Any]]:
    """The dataclass that an annotation asks for, if one, and what else it takes beside None."""
    wanted = options_of(hint)
    nodes = [p for p in wanted if inspect.isclass(p) and dataclasses.is_dataclass(p)]
    if len(nodes) != 1:
        return None, wanted
    return nodes[0], [part for part in wanted if part is not nodes[0]]
