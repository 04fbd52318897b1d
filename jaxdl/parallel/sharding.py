"""Placement: how a state is sharded over the mesh, by ordered (regular expression, rule) pairs.

A rule is 'replicated': every device holds the whole array; 'fsdp': each holds a share, and XLA
gathers the array where it is used (Rajbhandari et al. 2020, "ZeRO"); or a tuple with the mesh axis,
or None, of each axis of the array, such as `(None, 'model')`: tensor parallelism (Shoeybi et al.
2019, "Megatron-LM"). The first pair whose expression matches a part of a parameter's path decides
for the parameter, its moving average, and the optimiser's state for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import PartitionSpec

from jaxdl.errors import UserError
from jaxdl.tree import first_match, paths, regex, spell

Rule = Literal["replicated", "fsdp"] | tuple[str | None, ...]
Placement = Literal["replicated", "fsdp"] | tuple[tuple[str, Rule], ...]

_WHOLE = 1 << 16  # elements; smaller arrays are replicated, since gathering costs more


def specs(placement: Placement, mesh: Mapping[str, int], state: Any) -> Any:
    """The `PartitionSpec` of each array of a state.

    Args:
      placement: one rule for all, or pairs that cover every parameter.
      mesh: axis -> number of devices along it.
      state: a `jaxdl.training.state.State` of arrays or their shapes. A carry is sharded along its
        batch axis; arrays that belong to no parameter are replicated.

    Raises:
      UserError: no pair matches a parameter, a pair is never used, or a rule does not fit the mesh
        or its parameter.
    """
    specs_of = _param_specs(placement, mesh, state.params)

    def spec(path: Any, leaf: Any) -> PartitionSpec:
        parts = spell(path).split("/")
        if parts[0] == "carry":
            return PartitionSpec("data" if leaf.shape[0] % mesh["data"] == 0 else None)
        owners = ("/".join(parts[i:]) for i in range(1, len(parts)))  # params/…, opt_state/0/mu/…
        matches = (specs_of[owner] for owner in owners if owner in specs_of)
        shape, param_spec = next(matches, (None, PartitionSpec()))
        return param_spec if shape == leaf.shape else PartitionSpec()

    return jax.tree_util.tree_map_with_path(spec, state)


def why_whole(mesh: Mapping[str, int], params: Any) -> str:
    """Why 'fsdp' shards no parameter: what would have to be otherwise."""
    if mesh["data"] == 1:
        return "there is one device along 'data'"
    if all(leaf.size < _WHOLE for leaf in jax.tree.leaves(params)):
        return f"no parameter has {_WHOLE:,} elements; smaller ones cost more to gather"
    return f"no side of a large parameter divides by the {mesh['data']} devices along 'data'"


def check_rules(placement: Placement, mesh: Mapping[str, int]) -> None:
    """Check the rules, without the parameters.

    Raises:
      UserError: a regular expression is not valid, or the mesh does not have an axis.
    """
    for i, (pattern, rule) in enumerate(_pairs(placement)):
        regex(pattern, f"config.placement[{i}]")
        axes = [] if isinstance(rule, str) else [axis for axis in rule if axis is not None]
        for axis in axes:
            if axis not in mesh or axes.count(axis) > 1:
                raise UserError(
                    f"config.placement[{i}]: cannot shard along {', '.join(axes)}; the mesh has "
                    f"the axes {' and '.join(mesh)}, and a rule uses each at most once"
                )


def _param_specs(
    placement: Placement, mesh: Mapping[str, int], params: Any
) -> dict[str, tuple[tuple[int, ...], PartitionSpec]]:
    """Path of each parameter -> its shape and `PartitionSpec`."""
    pairs, names, result = _pairs(placement), paths(params), {}
    patterns = [pattern for pattern, _ in pairs]
    numbers = first_match(patterns, names, "config.placement", "('.*', 'replicated')")
    for i, path, leaf in zip(numbers, names, jax.tree.leaves(params), strict=True):
        where = f"config.placement[{i}]: {path} {list(leaf.shape)}"
        result[path] = leaf.shape, _spec(pairs[i][1], mesh, leaf.shape, where)
    return result


def _spec(rule: Rule, mesh: Mapping[str, int], shape: tuple[int, ...], where: str) -> PartitionSpec:
    if rule == "replicated":
        return PartitionSpec()
    if rule == "fsdp":
        divisible = [i for i, size in enumerate(shape) if size % mesh["data"] == 0]
        if np.prod(shape) < _WHOLE or not divisible:
            return PartitionSpec()
        return PartitionSpec(*(None,) * max(divisible, key=lambda axis: shape[axis]), "data")
    if len(rule) > len(shape):
        raise UserError(f"{where}: has {len(shape)} axes, but the rule names {len(rule)}")
    for size, axis in zip(shape, rule, strict=False):
        if axis is not None and size % mesh[axis]:
            raise UserError(
                f"{where}: {size} does not divide over the {mesh[axis]} devices along {axis!r}"
            )
    return PartitionSpec(*rule)


def _pairs(placement: Placement) -> tuple[tuple[str, Rule], ...]:
    return (("", placement),) if isinstance(placement, str) else placement
