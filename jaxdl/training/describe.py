"""`jaxdl describe`: what a config can name, and the keys of its groups."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxdl import config as cfg
from jaxdl import optim, schedules
from jaxdl.data import SOURCES
from jaxdl.environments import ENVIRONMENTS
from jaxdl.errors import UserError, near
from jaxdl.figures import FIGURES
from jaxdl.models import MODELS
from jaxdl.signatures import documentation, in_words
from jaxdl.tasks import TASKS
from jaxdl.trackers import TRACKERS
from jaxdl.training.settings import Data, Settings
from jaxdl.transforms import TRANSFORMS

_Part = Callable[..., Any]
_WIDTH = 100

REGISTRIES: dict[str, Mapping[str, _Part]] = {
    "models": MODELS,
    "environments": ENVIRONMENTS,
    "tasks": TASKS,
    "sources": SOURCES,
    "transforms": TRANSFORMS,
    "optimisers": optim.OPTIMIZERS,
    "schedules": schedules.SCHEDULES,
    "figures": FIGURES,
    "trackers": TRACKERS,
}
# The keys whose values are names in a registry, and the functions that document shared keys.
_NAMED = {
    "config.model": "models",
    "config.task": "tasks",
    "config.figures": "figures",
    "config.logging": "trackers",
}
_SHARED: dict[str, _Part] = {"optimisers": optim.build, "schedules": schedules.schedule}


@functools.cache
def groups() -> dict[str, _Part]:
    """The groups of a config: path -> the dataclass, or function, that documents its keys."""
    of_sources = (pair for source in SOURCES.values() for pair in _groups(source, "config.data"))
    return {
        **dict(_groups(Settings, "config")),
        **dict(_groups(Data, "config.data")),
        **{path: thing for path, thing in of_sources if path != "config.data"},
        "config.optimizer": optim.build,
        "config.optimizer.learning_rate": schedules.schedule,
    }


def overview(*titles: str) -> Iterator[str]:
    """A line about each part of some registries, by default of all, and about each group."""
    listed = {**REGISTRIES, "groups": dict(sorted(groups().items()))}
    for title, parts in {title: listed[title] for title in titles or listed}.items():
        yield title
        wide = max(map(len, parts))
        for name, part in parts.items():
            summary = textwrap.shorten(
                documentation(part).summary, _WIDTH - wide - 4, placeholder="…"
            )
            yield f"  {name:{wide}}  {summary}".rstrip()


def describe(name: str) -> Iterator[str]:
    """The docstring, arguments, types and defaults of what a name stands for.

    Args:
      name: in a registry, the path of a group such as 'config.training', or a dotted
        'package.module:thing', which is imported.

    Raises:
      UserError: nothing has this name.
    """
    if ":" in name:
        yield from _described(name, cfg.find(name, {}, "describe"), "")
        return
    if name in REGISTRIES:
        yield from overview(name)
        return
    parent, _, key = name.rpartition(".")
    if name not in groups() and key in _keys(groups().get(parent)):
        yield from _argument(groups()[parent], key)
        if title := _NAMED.get(name):
            yield from ("", *overview(title))
        return
    parts = [
        (f"{name} ({title})", registry[name], title)
        for title, registry in REGISTRIES.items()
        if name in registry
    ]
    parts += [(name, group, "") for path, group in groups().items() if path == name]
    if not parts:
        raise UserError(_unknown(name))
    for i, part in enumerate(parts):
        yield from ("", *_described(*part)) if i else _described(*part)


def names() -> list[str]:
    """All names that `describe` knows: groups and their keys, registries and their parts."""
    parts = [name for registry in REGISTRIES.values() for name in registry]
    keys = [f"{path}.{key}" for path, group in groups().items() for key in _keys(group)]
    return [*dict.fromkeys([*groups(), *REGISTRIES, *parts, *keys])]


def _unknown(name: str) -> str:
    return (
        f"describe: unknown {name!r}; {near(name, names(), most=3)}`jaxdl describe` lists all names"
    )


def _described(heading: str, thing: _Part, registry: str) -> Iterator[str]:
    said = documentation(thing)
    yield heading
    yield from _indented(said.summary, 2)
    # Others' docstrings go on for pages, in a markup of their own.
    if said.body and not thing.__module__.startswith("optax"):
        yield ""
        yield from _indented(said.body, 2)
    by_hand = (*FIGURES.values(), *_SHARED.values())  # their arguments are not keys of a config
    for name in () if thing in by_hand else cfg.parameters(thing):
        yield from ("", *_argument(thing, name))
    if registry in _SHARED and thing is not optim.LeastSquares:
        shared = next(path for path, group in groups().items() if group is _SHARED[registry])
        yield from ("", f"  Keys that all {registry} share: jaxdl describe {shared}")


def _keys(group: _Part | None) -> Iterable[str]:
    """The keys of a group; those of a function are only documented in its text."""
    return cfg.parameters(group) if inspect.isclass(group) else ()


def _argument(thing: _Part, name: str) -> Iterator[str]:
    """An argument's name, type and default; and what the docstring says of it."""
    default, hints = cfg.parameters(thing)[name].default, cfg.argument_types(thing)
    if thing in optim.OPTIMIZERS.values() and name == "learning_rate":
        kind = "float or schedule"
    elif name in hints:
        kind = in_words(hints[name])
    else:  # not annotated, or only for a type checker
        kind = "any" if default in (None, inspect.Parameter.empty) else in_words(type(default))
    yield f"  {name}: {kind}{_default(thing, name, default)}"
    yield from _indented(documentation(thing).arguments.get(name, ""), 6)
    group = cfg.group_in(hints.get(name))
    if path := next((path for path, other in groups().items() if other is group), None):
        yield f"      Its keys: jaxdl describe {path}"


def _default(thing: _Part, name: str, default: Any) -> str:
    if default is inspect.Parameter.empty:
        return ", required"
    made = getattr(thing, "__dataclass_fields__", {}).get(name)
    if made and made.default_factory is not dataclasses.MISSING:
        default = made.default_factory()
        default = default if isinstance(default, dict) else {}
    return f" = {default.__name__ if inspect.isclass(default) else repr(default)}"


def _groups(thing: _Part, path: str) -> Iterator[tuple[str, _Part]]:
    """A callable, and the dataclasses in its annotations, by their path in a config."""
    yield path, thing
    for key, hint in cfg.argument_types(thing).items():
        if group := cfg.group_in(hint):
            yield from _groups(group, f"{path}.{key}")


def _indented(text: str, by: int) -> Iterator[str]:
    """The text, its paragraphs wrapped; what is indented in it, such as a list, keeps its lines."""
    for i, paragraph in enumerate(text.split("\n\n")):
        if i:
            yield ""
        lines = paragraph.splitlines()
        if not any(line.startswith(" ") for line in lines):
            lines = textwrap.wrap(" ".join(lines), _WIDTH - by)
        yield from (" " * by + line for line in lines)
