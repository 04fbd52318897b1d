"""Overrides of a config: `--config.key.sub=value`, read as the annotation of the key says."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, get_origin

from jaxdl import config as cfg
from jaxdl.durations import OTHER_UNIT
from jaxdl.errors import UserError, brief
from jaxdl.signatures import in_words

_log = logging.getLogger("jaxdl")

_EXACT = 2**53  # up to which a float is one whole number


def override(
    config: Mapping[str, Any],
    overrides: Iterable[str],
    nodes: Mapping[str, cfg.Selectable] = MappingProxyType({}),
    root: Any = Any,
) -> dict[str, Any]:
    """A copy of a config with overrides.

    A text is read as the type that the annotation of its key allows. What is dropped is logged.

    Args:
      config: as `jaxdl.config.read` gives it.
      overrides: `key.sub=value` strings, as they follow `--config.` on the command line. Those that
        name a callable come first, so that the others can be its arguments, in any order.
      nodes: path of a node -> what its name can stand for. When an override names another callable,
        arguments that the new one does not take, or takes as another type, are dropped.
      root: the dataclass whose fields are the keys of a config, if one.

    Raises:
      UserError: an override cannot be applied.
    """
    changed = cfg.plain(config)

    def names_something(text: str) -> bool:
        key = text.partition("=")[0]
        node, _, leaf = key.rpartition(".")
        return key in nodes or (node in nodes and leaf == nodes[node].selector)

    for text in sorted(overrides, key=names_something, reverse=True):
        _override(changed, text, nodes, root)
    return changed


def _override(
    config: dict[str, Any], text: str, nodes: Mapping[str, cfg.Selectable], root: Any
) -> None:
    key, equals, written = text.partition("=")
    if not equals or not all(key.split(".")):  # the empty leaf would be lost in silence
        raise UserError(f"--config.{text}: write --config.key.sub=value")
    *parents, leaf = key.split(".")
    node, hint, path = config, root, ""
    for parent in parents:
        hint = cfg.takes(node, hint, nodes.get(path))[1](parent)
        path = f"{path}.{parent}".lstrip(".")
        names_one = path in nodes and key == f"{path}.{nodes[path].selector}"
        if names_one and isinstance(node.get(parent), bool | int | float | str):
            _log.warning("config.%s=%r dropped: it becomes a group of keys", path, node.pop(parent))
        if node.get(parent) is None:  # absent, perhaps misspelt: its signature will tell
            node[parent] = {}
        if not isinstance(node[parent], dict):
            raise UserError(
                f"--config.{key}: config.{path} is {brief(node[parent])}, not a group; set "
                f"--config.{path} as a whole"
            )
        node = node[parent]
    if path in nodes and leaf == nodes[path].selector:
        if node.get(leaf) != written:
            _drop_strangers(node, written, path, nodes)
        node[leaf] = written
        return
    old, hint = node.get(leaf), cfg.takes(node, hint, nodes.get(path))[1](leaf)
    node[leaf] = new = cfg.plain(_parse(written, hint, old), f"config.{key}")
    if key in nodes and isinstance(new, str) and (new in nodes[key].registry or ":" in new):
        selector, several = nodes[key].selector, get_origin(hint) is tuple
        one = f"=\"(dict({selector}='{new}'),)\"" if several else f".{selector}={new}"
        raise UserError(f"--config.{key}={new}: to name one, set --config.{key}{one}")
    if isinstance(old, Mapping):
        _say_lost(old, new, key, nodes.get(key))
    if new is not None:
        node.pop(OTHER_UNIT.get(leaf, ""), None)


def _say_lost(old: Mapping[str, Any], new: Any, key: str, node: cfg.Selectable | None) -> None:
    """Log which keys of a group an override drops by replacing it."""
    kept = new if isinstance(new, Mapping) else {}
    lost = [k for k in old if k not in kept and OTHER_UNIT.get(k) not in kept]
    if not lost or new is None or old.keys() <= OTHER_UNIT.keys():  # None, or a new duration
        return
    thing = cfg.takes(old, Any, node)[0]
    first = next((k for k in (cfg.parameters(thing) if thing else old) if k in old), lost[0])
    listed = ", ".join(f"{k}={old[k]!r}" for k in lost)
    _log.warning("config.%s loses %s; to keep them, set --config.%s.%s", key, listed, key, first)


def _drop_strangers(
    node: dict[str, Any], name: str, path: str, nodes: Mapping[str, cfg.Selectable]
) -> None:
    """Drop the keys of a node that the callable of another name does not take in the same sense."""
    selectable = nodes[path]
    thing = cfg.find(name, selectable.registry, f"config.{path}.{selectable.selector}")
    before = cfg.takes(node, Any, selectable)[1]
    settable, hints = cfg.parameters(thing), cfg.argument_types(thing)
    shared = cfg.parameters(selectable.shared) if selectable.shared else {}
    for key in sorted(set(node) - {*shared, selectable.selector}):
        hint = hints.get(key, Any)
        same = _fits(node[key], hint) and _overlap(before(key), hint)
        if key not in settable:
            reason = f"{in_words(thing)} does not take it"
        elif not (same or f"{path}.{key}" in nodes):  # a node within has callables of its own
            reason = f"{in_words(thing)} takes {in_words(hint)}"
        elif key in selectable.own:
            reason = f"{in_words(thing)} reads it in its own way"
        else:
            continue
        _log.warning("config.%s.%s=%r dropped: %s", path, key, node.pop(key), reason)


def _overlap(one: Any, other: Any) -> bool:
    """Whether two annotations have a type in common, beside None."""
    parts, others = cfg.options_of(one), cfg.options_of(other)
    return Any in (*parts, *others) or any(part in others for part in parts)


def _fits(value: Any, hint: Any) -> bool:
    try:
        cfg.typed(cfg.plain(value), hint, "")
    except UserError:
        return False
    return True


def _parse(text: str, hint: Any, old: Any) -> Any:
    """A text as the type that is annotated; without one, as what it looks like.

    There a string stays a string, save for None; quotes make one of anything. One or more words
    stand for a tuple of strings, and 1e3 for 1000 where a whole number is annotated.
    """
    value = _literal(text)
    readings = [value, _whole(value), text, _words(text)]
    if hint is Any:
        hint = str | None if isinstance(old, str) else type(value)
        readings.pop()
    return next((reading for reading in readings if _fits(reading, hint)), value)


def _whole(value: Any) -> Any:
    """The value with whole numbers for floats that are such, such as 1e3, also within."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, tuple | list):
        return type(value)(map(_whole, value))
    return {k: _whole(v) for k, v in value.items()} if isinstance(value, dict) else value


def _words(text: str) -> tuple[str, ...] | str:
    """The words of a text, such as (2020, 2021), for where a tuple of strings is annotated."""
    words = tuple(word.strip(" \t'\"") for word in text.strip(" \t()[]").split(","))
    return words if all(words) else text


def _literal(text: str) -> Any:
    # As Python or JSON writes it; or as float() takes it, such as inf: refused later, by its name.
    for read_value in (_python, json.loads, float):
        try:
            return read_value(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def _python(text: str) -> Any:
    """A literal of Python, in which `dict(a=1)` is one too."""
    return ast.literal_eval(_Dicts().visit(ast.parse(text.lstrip(" \t"), mode="eval")))


class _Dicts(ast.NodeTransformer):
    """Writes `dict(a=1)` as `{'a': 1}`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        keys = [keyword.arg for keyword in node.keywords]
        if not (isinstance(node.func, ast.Name) and node.func.id == "dict") or node.args:
            return node
        named: list[ast.expr | None] = [None if key is None else ast.Constant(key) for key in keys]
        return ast.Dict(named, [keyword.value for keyword in node.keywords])
