"""Nodes of a config: finds what they name, fills in defaults, and builds it."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections import abc
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args, get_origin

from jaxdl.config.annotations import argument_types, call, group_and_others, parameters
from jaxdl.config.files import plain
from jaxdl.errors import UserError, suggestion
from jaxdl.named_code import imported


class Selectable(NamedTuple):
    """A node of a config that names a callable, or each of a list of such nodes.

    Attributes:
      registry: what it can name.
      selector: the key that names it.
      shared: a dataclass whose fields are keys that any of them takes beside its arguments.
      own: arguments that mean something else to each callable, even if names and types agree.
      derived: arguments that follow from the rest of the config if they are not set, so that
        their default is not filled in.
    """

    registry: Mapping[str, Callable[..., Any]]
    selector: str = "name"
    shared: type | None = None
    own: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


def build(node: Any, registry: Mapping[str, Callable[..., Any]], path: str) -> Any:
    """Call what a config node stands for.

    Args:
      node: a mapping whose key `name` names the callable; its other keys are arguments.
      registry: name -> callable. A name with a colon, `'package.module:thing'`, is imported,
        unless it is a run's and the user has not consented to it.
      path: where the node stands in the config, for messages.

    Raises:
      UserError: the name or a key is unknown, a key is missing, or a value is of another type.
    """
    thing, arguments = choose(node, registry, path)
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


def takes(
    node: Any, hint: Any, selectable: Selectable | None
) -> tuple[Callable[..., Any] | None, Callable[[str], Any]]:
    """The callable that takes the keys of a node, if known, and a function key -> annotation."""
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


def complete(value: Any, nodes: Mapping[str, Selectable], hint: Any = Any, path: str = "") -> Any:
    """A config, or the part at a path, with the defaults of all that it names.

    Names that cannot be found are kept, and reported when the config is built.

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


def defaults(thing: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of a callable's arguments, as far as JSON can hold them."""
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
