"""A trained network of residual blocks, or a plain one, whose blocks can be switched.

The network and its parameters are a run's own: an interceptor of Flax switches branches where they
begin and end. The switches are arguments, so one compiled program serves all subsets of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.inference.restored import RestoredRun
from jaxdl.models.resnet import Block
from jaxdl.training.evaluation import transformed
from jaxdl.training.step import forward

Switches = Mapping[str, jax.Array]  # a block's path in the network -> a boolean


@contextmanager
def switched(keep: Switches, branch: Switches) -> Iterator[None]:
    """Within, blocks are traced with switches.

    Args:
      keep: False deletes the block.
      branch: of residual blocks: the gradient passes through the branch alone if True, through
        the shortcut alone if False, through both if the block is not named.
    """
    inputs: dict[str, jax.Array] = {}  # of blocks whose branch is still to begin

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module, (block, _, part) = context.module, "/".join(context.module.path).rpartition("/")
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, Block):
            name, (x, *rest) = "/".join(module.path), args
            if module.shortcut is None:
                y = call(*args, **kwargs)
                return jnp.where(keep[name], y, x) if x.shape == y.shape else y
            if name in branch:
                inputs[name] = jnp.where(branch[name], x, jax.lax.stop_gradient(x))
                x = jnp.where(branch[name], jax.lax.stop_gradient(x), x)  # for the shortcut
            return call(x, *rest, **kwargs)
        if isinstance(module.parent, Block) and module.parent.shortcut is not None:
            if part == "conv1" and block in inputs:  # where the branch begins
                args = (inputs.pop(block), *args[1:])
            if part == ("bn3" if module.parent.bottleneck else "bn2"):  # where it ends
                y = call(*args, **kwargs)
                return jnp.where(keep[block], y, jnp.zeros_like(y))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield


class Blocks(NamedTuple):
    """The blocks of a network, from the first to the last.

    Attributes:
      names: their paths, such as 'layer1/0'.
      deletable: the numbers of those that can be deleted.
      alike: groups of numbers of blocks that can change places.
    """

    names: tuple[str, ...]
    deletable: tuple[int, ...]
    alike: tuple[tuple[int, ...], ...]


def find_blocks(run: RestoredRun, batch: Mapping[str, Any], residual: bool) -> Blocks:
    """The blocks of a run's network.

    Raises:
      UserError: it has none, or they are not of the kind that `residual` says.
    """
    folder, config = run.directory.folder, run.config["model"]
    if config.get("preactivation") or config.get("remat"):
        raise UserError(f"{folder}: blocks with preactivation or remat have no switches here")
    found: dict[str, tuple[bool, bool]] = {}  # whether it has a shortcut; whether it keeps shapes

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        y, module = call(*args, **kwargs), context.module
        if isinstance(module, Block) and context.method_name == "__call__":
            found["/".join(module.path)] = module.shortcut is not None, args[0].shape == y.shape
        return y

    state = run.state
    with nn.intercept_methods(intercept):
        jax.eval_shape(lambda *given: outputs(run, *given), state, batch)
    if not found or any(shortcut != residual for shortcut, _ in found.values()):
        wanted = "residual blocks" if residual else "blocks without shortcuts"
        has = "no blocks" if not found else "some without" if residual else "some with"
        raise UserError(f"{folder}: its network must be of {wanted}; {config['name']} has {has}")
    alike: dict[str, list[int]] = {}
    for i, name in enumerate(found):
        shapes = jax.tree.map(lambda w: w.shape, part_of(state.params, name))
        alike.setdefault(f"{name.rpartition('/')[0]} {found[name][1]} {shapes}", []).append(i)
    return Blocks(
        names=tuple(found),
        deletable=tuple(i for i, (_, same) in enumerate(found.values()) if residual or same),
        alike=tuple(tuple(group) for group in alike.values() if len(group) > 1),
    )


def outputs(run: RestoredRun, state: Any, batch: Mapping[str, Any]) -> jax.Array:
    """What the network gives for a raw batch, as in evaluation."""

    def network(state: Any, batch: Any) -> Any:
        model, task, precision = run.model, run.task, run.precision
        return forward(model, task, precision, state.eval_params, state, batch, None)[0]

    return transformed(network, run.transforms.always)(state, batch)


def part_of(tree: Any, name: str) -> Any:
    """What nested dicts hold at a path."""
    for part in name.split("/"):
        tree = tree[part]
    return tree


def reordered(tree: Any, names: Sequence[str], order: Sequence[int]) -> Any:
    """Nested dicts that hold at names[i] what was at names[order[i]]."""

    def with_part(tree: Any, path: Sequence[str], part: Any) -> Any:
        return {**tree, path[0]: with_part(tree[path[0]], path[1:], part)} if path else part

    parts = [part_of(tree, name) for name in names]
    for name, source in zip(names, order, strict=True):
        tree = with_part(tree, name.split("/"), parts[source])
    return tree
