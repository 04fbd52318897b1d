"""Optimisers, by parameter group.

`config.optimizer = dict(name='adam', learning_rate=1e-3)` names any factory of optax, or of
`optax.contrib` as `contrib.muon`, with its own arguments; `kernel_muon` is our own. All optimisers
share some further keys (`build`). If a group of parameters needs other settings, `groups` lists
(regex, settings) pairs; the first that matches a parameter's path (`Dense_0/kernel`) decides.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import jax
import optax
import optax.contrib

from jaxdl import config as cfg
from jaxdl.durations import Clock
from jaxdl.errors import UserError, suggestion
from jaxdl.kernel_muon import kernel_muon
from jaxdl.schedules import Schedule, require_positive, schedule, traced
from jaxdl.tree import first_match, paths, regex

# Optimisers of `optax.contrib` that need more than the gradient of a batch, and what they need.
_NEEDS = {
    "dpsgd": "the gradient of each example alone",
    "mechanize": "an optimiser as an argument",
    "momo": "the loss at each update",
    "momo_adam": "the loss at each update",
    "sam": "two optimisers as arguments",
    "schedule_free": "an optimiser; contrib.schedule_free_adamw and …_sgd have one",
    "sophia": "the loss as a function",
}


@dataclass(frozen=True)
class Shared:
    """The keys of a node besides the arguments of an optimiser; see `build`."""

    clip_norm: float | None = None
    weight_decay: float | None = None
    decay_only: str | None = None
    groups: tuple[tuple[str, Any], ...] | None = None


@dataclass(frozen=True)
class LeastSquares:
    """Not a gradient method: each step solves the linear least-squares problem of its batch."""


def build(node: Any, clock: Clock, path: str = "config.optimizer") -> Any:
    """The optimiser of a config node: of optax, or the user's own, `'package.module:factory'`.

    Beside the factory's arguments, a node takes:
      learning_rate: a number or a schedule node.
      clip_norm: largest global norm of the gradient; above it the gradient is scaled down. Frozen
        parameters do not count, since the step leaves their gradient at zero (`trained`).
      weight_decay: for factories without one of their own, L2 decay added to the gradient.
      decay_only: regex of the parameters that decay; by default those with two axes or more,
        which spares biases and norms.
      groups: (regex, settings) pairs; settings override the node's keys for the parameters whose
        path the regex matches, None freezes them. Every parameter must match a pair.

    Returns:
      An `optax.GradientTransformation`, or `LeastSquares`.

    Raises:
      UserError: as `jaxdl.config.build`; and, at `init`, a parameter that no group covers or a
        pattern that matches none.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{path}: expected a dict with 'name', got {node!r}")
    _refuse_unfit(node, path)
    thing, arguments = cfg.choose(node, OPTIMIZERS, path)
    if thing is LeastSquares:
        return cfg.call(LeastSquares, arguments, path)
    node = dict(node)
    clip, groups = node.pop("clip_norm", None), node.pop("groups", None)
    inner = _by_group(node, groups, clock, path) if groups else _single(node, clock, path)
    if clip is None:
        return inner
    require_positive({"clip_norm": clip}, path)
    return optax.chain(optax.clip_by_global_norm(clip), inner)


def trained(node: Mapping[str, Any], params: Any) -> Any:
    """Which parameters the optimiser of a config node changes: a pytree of booleans like `params`.

    All but those that a group of None freezes; parameters that an optimiser of the user's own does
    not change count as trained.

    Raises:
      UserError: a parameter that no group covers or a pattern that matches none.
    """
    groups: Sequence[tuple[str, Any]] = node.get("groups") or (("", {}),)
    numbers = _group_numbers([pattern for pattern, _ in groups], params, "config.optimizer.groups")
    chosen = [groups[i][1] is not None for i in numbers]
    return jax.tree.unflatten(jax.tree.structure(params), chosen)


@functools.cache
def factories() -> dict[str, Callable[..., Any]]:
    """The factories of optax whose first argument is a learning rate, and one of our own."""
    optimizers: dict[str, Callable[..., Any]] = {"kernel_muon": kernel_muon}
    # L-BFGS searches along a line with the loss itself, which no other optimiser needs.
    for module, prefix, unfit in ((optax, "", {"lbfgs"}), (optax.contrib, "contrib.", {*_NEEDS})):
        for name, factory in vars(module).items():
            if inspect.isfunction(factory) and not name.startswith(("_", "scale_by_")):
                first = next(iter(inspect.signature(factory).parameters), None)
                if first == "learning_rate" and name not in unfit:
                    optimizers[prefix + name] = factory
    return optimizers


OPTIMIZERS: dict[str, Callable[..., Any]] = {**factories(), "least_squares": LeastSquares}


def learning_rate(node: Mapping[str, Any], clock: Clock) -> Schedule | None:
    """The schedule of the learning rate outside of groups, for logging; None if there is none."""
    if node.get("learning_rate") is None:
        return None
    return schedule(node["learning_rate"], clock, "config.optimizer.learning_rate")


def eval_params(params: Any, opt_state: Any) -> Any:
    """The parameters to evaluate: for most optimisers, those that it updates.

    A schedule-free optimiser takes gradients at y, and is evaluated at x (Defazio et al. 2024,
    equations 4 to 6). The state may also be nested dicts, from a checkpoint.
    """
    kind = optax.contrib.ScheduleFreeState

    def known(node: Any) -> bool:
        return isinstance(node, kind) or (isinstance(node, dict) and {*node} == {*kind._fields})

    for state in filter(known, jax.tree.leaves(opt_state, is_leaf=known)):
        state = kind(**state) if isinstance(state, dict) else state
        return optax.contrib.schedule_free_eval_params(state, params)
    return params


def _refuse_unfit(node: Mapping[str, Any], path: str) -> None:
    name = str(node.get("name")).removeprefix("optax.contrib:").removeprefix("contrib.")
    if name in _NEEDS and node["name"] != name:
        raise UserError(f"{path}.name: {node['name']!r} needs {_NEEDS[name]}; choose another")


def _single(
    node: dict[str, Any], clock: Clock, path: str, *, group: bool = False
) -> optax.GradientTransformation:
    _refuse_unfit(node, path)
    factory, arguments = cfg.choose(node, factories(), path)
    if group and "schedule_free" in node["name"]:  # see `eval_params`
        raise UserError(f"{path}: {node['name']} must have all parameters; leave groups out")
    takes = cfg.parameters(factory)
    if "learning_rate" in takes:  # of the user's own, one may do without
        arguments["learning_rate"] = _rate(arguments, clock, path)
    decayed = _decay_mask(arguments.pop("decay_only", None), f"{path}.decay_only", group)
    decays = traced(arguments.get("weight_decay")) or arguments.get("weight_decay")
    if decays:
        require_positive({"weight_decay": arguments["weight_decay"]}, path)
    decay = None if "weight_decay" in takes else arguments.pop("weight_decay", None)
    for mask in {"mask", "weight_decay_mask"} & set(takes):
        arguments.setdefault(mask, decayed)
    of_optax = factory.__module__.startswith("optax.")
    shared = ("decay_only", "weight_decay") + (() if group else ("clip_norm", "groups"))
    for key in arguments:
        if key not in takes:
            options = {*takes, *shared}
            raise UserError(f"{path}.{key}: unknown; {suggestion(key, options)}")
        if of_optax:
            _check(arguments[key], takes[key], f"{path}.{key}")
    if "schedule_free" in node["name"] and arguments.get("b1", 0.9) <= 0:  # it is divided by
        raise UserError(f"{path}.b1: expected a number above 0, got {arguments['b1']!r}")
    name = f"optax.{node['name']}" if of_optax else node["name"]
    try:
        optimizer = factory(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {name} refuses its arguments: {error}") from error
    if decay is not None and decays:
        optimizer = optax.chain(optax.add_decayed_weights(decay, decayed), optimizer)
    return optimizer


def _check(value: Any, parameter: inspect.Parameter, path: str) -> None:
    """Refuse values that an argument of optax cannot have; optax's annotations allow almost all."""
    hint, fraction = parameter.annotation, isinstance(value, float) and not value.is_integer()
    if type(parameter.default) is int and fraction:
        raise UserError(f"{path}: expected a whole number, got {value!r}")
    if isinstance(value, str):
        if not (str in get_args(hint) or get_origin(hint) is Literal):
            raise UserError(f"{path}: expected a number, got {value!r}")
        cfg.typed(value, hint, path)


def _rate(arguments: Mapping[str, Any], clock: Clock, path: str) -> Any:
    """The learning rate among an optimiser's arguments: a number, or a schedule."""
    if "learning_rate" not in arguments:
        raise UserError(f"{path}.learning_rate: missing; give a number or dict(name=…)")
    node = arguments["learning_rate"]
    rate = schedule(node, clock, f"{path}.learning_rate")
    return rate if isinstance(node, Mapping) else node  # a few of optax take numbers only


def _by_group(
    node: dict[str, Any], groups: Any, clock: Clock, path: str
) -> optax.GradientTransformation:
    members: dict[str, optax.GradientTransformation] = {}
    if not isinstance(groups, tuple):
        raise UserError(f"{path}.groups: expected pairs (regex, dict or None), got {groups!r}")
    usual = cfg.defaults(cfg.find(node["name"], factories(), f"{path}.name"))
    given = {key: value for key, value in node.items() if key not in usual or value != usual[key]}
    for i, pair in enumerate(groups):
        where = f"{path}.groups[{i}]"
        match pair:
            case (str(pattern), Mapping() | None as settings):
                regex(pattern, where)
            case _:
                raise UserError(f"{where}: expected a pair (regex, dict or None), got {pair!r}")
        if pattern in members:
            raise UserError(f"{where}: {pattern!r} is given twice; only the first would be used")
        if settings is None:
            members[pattern] = optax.set_to_zero()
        else:
            # A default of one optimiser is not a setting of another.
            base = node if settings.get("name", node["name"]) == node["name"] else given
            members[pattern] = _single({**base, **settings}, clock, where, group=True)

    def label(params: Any) -> Any:
        patterns = tuple(members)
        labels = [patterns[i] for i in _group_numbers(patterns, params, f"{path}.groups")]
        return jax.tree.unflatten(jax.tree.structure(params), labels)

    return optax.multi_transform(members, label)


def _group_numbers(patterns: Sequence[str], params: Any, path: str) -> list[int]:
    return first_match(patterns, paths(params), path, "('.*', {})")


def _decay_mask(pattern: Any, path: str, group: bool) -> Callable[[Any], Any]:
    if pattern is None:
        return lambda params: jax.tree.map(lambda w: w.ndim > 1, params)
    decays = regex(pattern, path)

    def mask(params: Any) -> Any:
        chosen = [bool(decays.search(name)) for name in paths(params)]
        if not (group or any(chosen)):  # a group may well hold none of those that decay
            raise UserError(
                f"{path}: {pattern!r} matches no parameter of {', '.join(paths(params))}"
            )
        return jax.tree.unflatten(jax.tree.structure(params), chosen)

    return mask
