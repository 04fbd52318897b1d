"""Paths of parameters and settings: how they are spelt, and first-match rules on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxdl.errors import UserError, some


def spell(path: Any) -> str:
    """A key path of `jax.tree_util`, as `Dense_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """Path -> leaf, in the order of `jax.tree.leaves`."""
    return {spell(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def leaves(mapping: Any, key: Callable[[Any], str] = str) -> Iterator[tuple[str, Any]]:
    """The dotted path and the value of each leaf of nested mappings, as of a config."""
    if not isinstance(mapping, Mapping) or not mapping:
        yield "", mapping
        return
    for name, value in mapping.items():
        for path, leaf in leaves(value, key):
            yield f"{key(name)}.{path}".rstrip("."), leaf


def paths(tree: Any) -> list[str]:
    """The path of each leaf, in the order of `jax.tree.leaves`."""
    return list(flatten(tree))


def regex(pattern: Any, path: str) -> re.Pattern[str]:
    """A regular expression of a config; `path` says where it stands.

    Raises:
      UserError: it is not one.
    """
    if not isinstance(pattern, str):
        raise UserError(f"{path}: expected a regular expression, got {pattern!r}")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{path}: {pattern!r} is not a regular expression: {error}") from None


def first_match(patterns: Sequence[str], names: Sequence[str], path: str, rest: str) -> list[int]:
    """For each name, the number of the first of the ordered patterns that is found in it.

    Args:
      patterns: regular expressions.
      names: paths of parameters.
      path: where the patterns stand in the config, for messages.
      rest: what to end the list with, so that every name is covered.

    Raises:
      UserError: no pattern is found in a name, or a pattern decides for no name.
    """
    matches = [next((i for i, r in enumerate(patterns) if re.search(r, n)), None) for n in names]
    if None in matches:
        raise UserError(
            f"{path}: no pattern matches {names[matches.index(None)]!r}; end with {rest}"
        )
    for i, pattern in enumerate(patterns):
        if i not in matches:
            there = some(names, 8, ", ")
            raise UserError(
                f"{path}[{i}]: {pattern!r} is the first match of no parameter; there are {there}"
            )
    return [i for i in matches if i is not None]
