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
import contextlib
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
from jaxdl.configs import shipped
from jaxdl.durations import OTHER_UNIT
from jaxdl.errors import UserError, brief
from jaxdl.files import refuse_special
from jaxdl.signatures import in_words

_log = logging.getLogger("jaxdl")

# Arguments that Flax adds to every module's constructor; never set from a config.
_FLAX = {"parent", "name"}
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_LONGEST = 200  # characters of a dotted name


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


def read(
    file: str,
    overrides: Iterable[str] = (),
    nodes: Mapping[str, Selectable] | None = None,
    root: Any = Any,
) -> dict[str, Any]:
    """Read a config file and apply overrides.

    Args:
      file: path of a config file, or the name of a shipped one; `file.py:argument` hands
        `argument` to `get_config`.
      overrides, nodes, root: as in `override`.

    Returns:
      The config as nested dicts and tuples of JSON values.

    Raises:
      UserError: the file is missing or broken, or an override cannot be applied.
    """
    path, argument = _locate(file)
    config = plain(_get_config(path, argument), "config")
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: get_config() must return a ConfigDict, got {config!r}")
    return override(config, overrides, nodes or {}, root)


def override(
    config: Mapping[str, Any],
    overrides: Iterable[str],
    nodes: Mapping[str, Selectable],
    root: Any = Any,
) -> dict[str, Any]:
    """A copy of a config with overrides.

    A text is read as the type that the annotation of its key allows. What is dropped is logged.

    Args:
      config: as `read` gives it.
      overrides: `key.sub=value` strings, as they follow `--config.` on the command line. Those that
        name a callable come first, so that the others can be its arguments, in any order.
      nodes: path of a node -> what its name can stand for. When an override names another callable,
        arguments that the new one does not take, or takes as another type, are dropped.
      root: the dataclass whose fields are the keys of a config, if one.

    Raises:
      UserError: an override cannot be applied.
    """
    changed = plain(config)

    def names_something(text: str) -> bool:
        key = text.partition("=")[0]
        node, _, leaf = key.rpartition(".")
        return key in nodes or (node in nodes and leaf == nodes[node].selector)

    for text in sorted(overrides, key=names_something, reverse=True):
        _override(changed, text, nodes, root)
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
    thing, type_of = _takes(value, hint, nodes.get(path))
    missing = {} if thing is None else defaults(thing)
    for key in nodes[path].derived if path in nodes else ():
        missing.pop(key, None)
    return {
        key: complete(item, nodes, type_of(key), f"{path}.{key}".lstrip("."))
        for key, item in {**value, **{k: missing[k] for k in missing if k not in value}}.items()
    }


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
    hints, fitting = argument_types(thing), {}
    for key, value in arguments.items():
        if key not in settable:
            raise UserError(f"{path}.{key}: unknown; {suggestion(key, settable)}")
        fitting[key] = _typed(value, hints.get(key, Any), f"{path}.{key}")
    for key, parameter in settable.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"{path}.{key}: missing; {in_words(thing)} needs it")
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
    config: dict[str, Any], text: str, nodes: Mapping[str, Selectable], root: Any
) -> None:
    key, equals, written = text.partition("=")
    if not equals or not key:
        raise UserError(f"--config.{text}: write --config.key.sub=value")
    *parents, leaf = key.split(".")
    node, hint, path = config, root, ""
    for parent in parents:
        hint = _takes(node, hint, nodes.get(path))[1](parent)
        path = f"{path}.{parent}".lstrip(".")
        names_one = path in nodes and key == f"{path}.{nodes[path].selector}"
        if names_one and isinstance(node.get(parent), bool | int | float | str):
            _log.warning("config.%s=%r dropped: it becomes a group", path, node.pop(parent))
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
    old, hint = node.get(leaf), _takes(node, hint, nodes.get(path))[1](leaf)
    node[leaf] = new = plain(_parse(written, hint, old), f"config.{key}")
    if key in nodes and isinstance(new, str) and (new in nodes[key].registry or ":" in new):
        selector, several = nodes[key].selector, get_origin(hint) is tuple
        one = f"=\"(dict({selector}='{new}'),)\"" if several else f".{selector}={new}"
        raise UserError(f"--config.{key}={new}: to name one, set --config.{key}{one}")
    if isinstance(old, Mapping):
        _say_lost(old, new, key, nodes.get(key))
    if new is not None:
        node.pop(OTHER_UNIT.get(leaf, ""), None)


def _say_lost(old: Mapping[str, Any], new: Any, key: str, node: Selectable | None) -> None:
    """Log which keys of a group an override drops by replacing it."""
    kept = new if isinstance(new, Mapping) else {}
    lost = [k for k in old if k not in kept and OTHER_UNIT.get(k) not in kept]
    if not lost or new is None:  # None says itself that there shall be none
        return
    thing = _takes(old, Any, node)[0]
    first = next((k for k in (parameters(thing) if thing else old) if k in old), lost[0])
    listed = ", ".join(f"{k}={old[k]!r}" for k in lost)
    _log.warning("config.%s loses %s; to keep that, set --config.%s.%s", key, listed, key, first)


def _drop_strangers(
    node: dict[str, Any], name: str, path: str, nodes: Mapping[str, Selectable]
) -> None:
    """Drop the keys of a node that the callable of another name does not take in the same sense."""
    selectable = nodes[path]
    thing = find(name, selectable.registry, f"config.{path}.{selectable.selector}")
    before = _takes(node, Any, selectable)[1]
    settable, hints = parameters(thing), argument_types(thing)
    shared = parameters(selectable.shared) if selectable.shared else {}
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


def _takes(
    node: Any, hint: Any, selectable: Selectable | None
) -> tuple[Callable[..., Any] | None, Callable[[str], Any]]:
    """What the keys of a node are arguments of, if that is known, and what says a key's type."""
    if selectable is not None:
        thing, shared = None, argument_types(selectable.shared) if selectable.shared else {}
        with contextlib.suppress(UserError):
            thing = find(node.get(selectable.selector), selectable.registry, "")
        hints = shared | (argument_types(thing) if thing else {})
        return thing, lambda key: hints.get(key, Any)
    dataclass, others = _group_and_others(hint)
    if dataclass:
        keys = argument_types(dataclass)
        return dataclass, lambda key: keys.get(key, Any)
    inner = next((get_args(part)[1] for part in others if get_origin(part) is abc.Mapping), Any)
    return None, lambda key: inner


def _overlap(one: Any, other: Any) -> bool:
    """Whether two annotations have a type in common, beside None."""
    parts, others = _parts(one), _parts(other)
    return Any in (*parts, *others) or any(part in others for part in parts)


def _parts(hint: Any) -> list[Any]:
    """The types that an annotation allows, without None."""
    union = get_origin(hint) in (types.UnionType, Union)
    return [part for part in (get_args(hint) if union else (hint,)) if part is not types.NoneType]


def _fits(value: Any, hint: Any) -> bool:
    try:
        _typed(plain(value), hint, "")
    except UserError:
        return False
    return True


def _parse(text: str, hint: Any, old: Any) -> Any:
    """A text as the type that is annotated; without one, as what it looks like.

    There a string stays a string, save for None; quotes make one of anything. One or more words
    stand for a tuple of strings.
    """
    value = _literal(text)
    words = None if hint is Any else _words(text)
    if hint is Any:
        hint = str | None if isinstance(old, str) else type(value)
    return next((v for v in (value, text, words) if _fits(v, hint)), value)


def _words(text: str) -> tuple[str, ...] | None:
    """The words of a text, such as (2020, 2021), for where a tuple of strings is annotated."""
    words = [word.strip(" \t'\"") for word in text.strip(" \t()[]").split(",")]
    return tuple(words) if all(words) else None


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


def argument_types(thing: Callable[..., Any]) -> dict[str, Any]:
    """The types of the arguments of a callable, where they can be known."""
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

    node, others = _group_and_others(hint)
    if node and isinstance(value, Mapping):
        return call(node, value, path)
    if node and not others and not (value is None or isinstance(value, node)):
        raise UserError(f"{path}: expected a dict of {in_words(node)}'s arguments, got {value!r}")
    inner = next((part for part in others if get_origin(part) is abc.Mapping), None)
    if inner and isinstance(value, Mapping) and group_in(get_args(inner)[1]):
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
    kind = "true or false" if hint is bool else in_words(hint)
    raise UserError(f"{path}: expected {kind}, got {value!r}")


def group_in(hint: Any) -> type | None:
    """The dataclass whose arguments a dict in place of this annotation holds, if any."""
    node, others = _group_and_others(hint)
    inner = next((part for part in others if get_origin(part) is abc.Mapping), None)
    return node or (group_in(get_args(inner)[1]) if inner else None)


def _group_and_others(hint: Any) -> tuple[type | None, list[Any]]:
    """The dataclass that an annotation asks for, if one, and what else it takes beside None."""
    wanted = _parts(hint)
    nodes = [p for p in wanted if inspect.isclass(p) and dataclasses.is_dataclass(p)]
    if len(nodes) != 1:
        return None, wanted
    return nodes[0], [part for part in wanted if part is not nodes[0]]
