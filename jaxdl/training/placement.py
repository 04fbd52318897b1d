"""Placement: what of a state each device holds, by ordered (regular expression, rule) pairs.

A rule is 'replicated', every device holds the whole array; 'fsdp', each holds a share of it and XLA
gathers it where it is used (Rajbhandari et al. 2020, "ZeRO"); or, for each axis of the array, the
axis of the mesh over which it is cut or None, as `(None, 'model')`: tensor parallelism (Shoeybi et
al. 2019, "Megatron-LM"). The first pair whose expression is found in a parameter's path decides,
for the parameter, its average, and what the optimiser keeps for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import PartitionSpec

from jaxdl.errors import UserError
from jaxdl.optim import deciding, expression, paths

Rule = Literal["replicated", "fsdp"] | tuple[str | None, ...]
Placement = Literal["replicated", "fsdp"] | tuple[tuple[str, Rule], ...]

_WHOLE = 1 << 16  # arrays of fewer numbers are not worth gathering: every device holds them


def specs(placement: Placement, mesh: Mapping[str, int], state: Any) -> Any:
    """The `PartitionSpec` of each array of a state.

    Args:
      placement: one rule for all, or pairs that cover every parameter.
      mesh: axis -> number of devices along it.
      state: a `jaxdl.training.state.State` of arrays, or of what has their shape. A carry is cut
        along its batch axis; what belongs to no parameter is whole on every device.

    Raises:
      UserError: a parameter that no pair covers, a pair that decides for none, or a rule that does
        not fit the mesh or its parameter.
    """
    chosen = _chosen(placement, mesh, state.params)

    def spec(path: Any, leaf: Any) -> PartitionSpec:
        parts = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if parts[0] == "carry":
            return PartitionSpec("data" if leaf.shape[0] % mesh["data"] == 0 else None)
        owners = ("/".join(parts[i:]) for i in range(1, len(parts)))  # params/…, opt_state/0/mu/…
        shape, found = next((chosen[owner] for owner in owners if owner in chosen), (None, None))
        return found if found is not None and shape == leaf.shape else PartitionSpec()

    return jax.tree_util.tree_map_with_path(spec, state)


def check_rules(placement: Placement, mesh: Mapping[str, int]) -> None:
    """Refuse what can be no rule, whatever the parameters are.

    Raises:
      UserError: an expression that is none, or an axis that the mesh does not have.
    """
    for i, (pattern, rule) in enumerate(_pairs(placement)):
        expression(pattern, f"config.placement[{i}]")
        axes = [] if isinstance(rule, str) else [axis for axis in rule if axis is not None]
        for axis in axes:
            if axis not in mesh or axes.count(axis) > 1:
                raise UserError(
                    f"config.placement[{i}]: cannot cut along {', '.join(axes)}; the mesh has the "
                    f"axes {' and '.join(mesh)}, each to be used once"
                )


def _chosen(
    placement: Placement, mesh: Mapping[str, int], params: Any
) -> dict[str, tuple[tuple[int, ...], PartitionSpec]]:
    """Path of each parameter -> its shape and where it goes."""
    pairs, names, chosen = _pairs(placement), paths(params), {}
    patterns = [pattern for pattern, _ in pairs]
    numbers = deciding(patterns, names, "config.placement", "('.*', 'replicated')")
    for i, path, leaf in zip(numbers, names, jax.tree.leaves(params), strict=True):
        where = f"config.placement[{i}]: {path} {list(leaf.shape)}"
        chosen[path] = leaf.shape, _spec(pairs[i][1], mesh, leaf.shape, where)
    return chosen


def _spec(rule: Rule, mesh: Mapping[str, int], shape: tuple[int, ...], where: str) -> PartitionSpec:
    if rule == "replicated":
        return PartitionSpec()
    if rule == "fsdp":
        fitting = [i for i, size in enumerate(shape) if size % mesh["data"] == 0]
        if np.prod(shape) < _WHOLE or not fitting:
            return PartitionSpec()
        return PartitionSpec(*(None,) * max(fitting, key=lambda axis: shape[axis]), "data")
    if len(rule) > len(shape):
        raise UserError(f"{where}: has {len(shape)} axes, the rule names {len(rule)}")
    for size, axis in zip(shape, rule, strict=False):
        if axis is not None and size % mesh[axis]:
            raise UserError(
                f"{where}: {size} does not divide over the {mesh[axis]} devices along {axis!r}"
            )
    return PartitionSpec(*rule)


def _pairs(placement: Placement) -> tuple[tuple[str, Rule], ...]:
    return (("", placement),) if isinstance(placement, str) else placement
