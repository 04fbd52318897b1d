"""Signatures as schemas: what a callable takes, and whether values fit its annotations."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections import abc
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from jaxdl.errors import UserError, own_line, reason, suggestion
from jaxdl.signatures import in_words, signature

# Arguments that Flax gives a module's constructor; never set from a config.
_FLAX, _NNX = {"parent", "name"}, {"rngs"}


def parameters(thing: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a callable that can be given by name."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    takes = signature(thing).parameters
    hidden = _NNX | (_FLAX if set(takes) >= _FLAX else set())
    return {k: v for k, v in takes.items() if v.kind not in variadic and k not in hidden}


def argument_types(thing: Callable[..., Any]) -> dict[str, Any]:
    """The types of the arguments of a callable, where they can be known."""
    hints: dict[str, Any] = {}
    for target in (thing, thing.__init__) if inspect.isclass(thing) else (thing,):  # type: ignore[misc]
        try:
            hints |= _type_hints(target) if isinstance(target, Hashable) else get_type_hints(target)
        except Exception:  # an annotation that only a type checker can read
            continue
    return hints


@functools.cache
def _type_hints(target: Hashable) -> dict[str, Any]:
    """Evaluated once: a config asks for them again and again, and each is text to be compiled."""
    return get_type_hints(target)


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


def call(thing: Callable[..., Any], arguments: Mapping[str, Any], path: str) -> Any:
    """Call `thing(**arguments)` after checking the arguments against its signature.

    Raises:
      UserError: as `checked`; or the callable raised it, or is the user's own code and failed.
    """
    arguments = checked(thing, arguments, path)
    if missing := sorted(getattr(thing, "__abstractmethods__", ())):
        raise UserError(f"{path}: {in_words(thing)} must define {', '.join(missing)}")
    try:
        return thing(**arguments)
    except UserError as error:
        named = str(error).startswith("config.")  # it says itself which setting it is about
        raise UserError(str(error) if named else f"{path}: {error}") from None
    except Exception as error:
        if not (line := own_line(error)):
            raise
        raise UserError(f"{path}: {reason(error)}{line}") from error


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
