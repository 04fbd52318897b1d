"""A Flax NNX module as the same pure functions as a Linen one.

NNX keeps parameters, statistics and random streams as variables inside the module; here they are
taken out of it (`nnx.split`) and put back for each call (`nnx.merge`). `nnx.Param` becomes
`params`, every other variable `model_state`, by the collections that Linen would have them in
(`nnx.BatchStat`: `batch_stats`). Random streams are no state: at each step every one of them begins
anew from the step's key and its own path, so that a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxdl.errors import UserError
from jaxdl.models.model import Model, arrays, unknown
from jaxdl.signatures import signature
from jaxdl.types import Carry, ModelState, Params

_ARRAYS = "arrays"  # of leaves that are not in a variable
Path = tuple[Any, ...]


def from_nnx(make: Callable[..., nnx.Module]) -> Model:
    """The pure functions of an NNX module.

    Args:
      make: the module's class or a function, with what it needs but `rngs` filled in
        (`functools.partial(CNN, width=32)`). It is called with `rngs` if it takes that.

    `train()` and `eval()` of the module set its mode, as NNX has it; `__call__` is also handed
    those of `train`, `deterministic` and `rngs` that it takes. A module that generates sequences
    has methods `initialize_carry` and `decode`, as a Linen one does.

    Raises:
      UserError: it does not make an NNX module, or the module makes or drops variables when it is
        called, or draws random numbers in evaluation.
    """
    made = nnx.eval_shape(lambda: _made(make, jax.random.key(0)))
    graph, template = nnx.split(made)
    places = {path: _place(path, leaf) for path, leaf in nnx.to_flat_state(template)}

    def init(key: jax.Array, inputs: tuple[Any, ...]) -> tuple[Params, ModelState]:
        return _taken_out(nnx.state(_made(make, key)), places)

    def module_of(
        params: Params, model_state: ModelState, key: jax.Array | None, train: bool
    ) -> nnx.Module:
        """The module with these variables inside; without a key its streams have a fixed one."""
        trees = {"params": params, **model_state}
        key = jax.random.key(0) if key is None else key
        leaves = []
        for path, leaf in nnx.to_flat_state(template):
            place = places[path]
            value = _stream(path, leaf, key) if place is None else _at(trees, place)
            leaves.append((path, leaf.replace(value) if isinstance(leaf, nnx.Variable) else value))
        module = nnx.merge(graph, nnx.from_flat_state(leaves))
        module.train() if train else module.eval()
        return module

    def run(
        params: Params,
        model_state: ModelState,
        key: jax.Array | None,
        train: bool,
        method: str,
        arguments: tuple[Any, ...],
    ) -> tuple[Any, ModelState]:
        module = module_of(params, model_state, key, train)
        before = _counts(module)
        call = getattr(type(module), method)
        outputs = call(module, *arrays(arguments), **_mode(call, key, train))
        after = nnx.state(module, nnx.Not(nnx.Intermediate))
        _check_variables({path for path, _ in nnx.to_flat_state(after)}, set(places))
        if key is None and (drawn := _drawn(before, _counts(module))):
            raise UserError(
                f"config.model: {type(module).__name__} draws random numbers in evaluation "
                f"({drawn}); draw them only where its `deterministic` is False"
            )
        return outputs, _taken_out(after, places)[1] if train else model_state

    def apply(
        params: Params,
        model_state: ModelState,
        inputs: tuple[Any, ...],
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, ModelState]:
        return run(params, model_state, key, train, "__call__", inputs)

    def initialize_carry(
        params: Params, model_state: ModelState, size: int, conditions: tuple[Any, ...] = ()
    ) -> Carry:
        arguments = (size, *conditions)
        return run(params, model_state, None, False, "initialize_carry", arguments)[0]

    def decode(
        params: Params,
        model_state: ModelState,
        carry: Carry,
        tokens: Any,
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, Carry]:
        return run(params, model_state, key, train, "decode", (carry, tokens))[0]

    def features(
        params: Params, model_state: ModelState, inputs: tuple[Any, ...], names: Sequence[str]
    ) -> dict[str, Any]:
        if isinstance(names, str):
            raise UserError(f"features: expected a list of names, got {names!r}")
        module = module_of(params, model_state, None, False)
        outputs = _captured(module, arrays(inputs))
        for name in names:
            if name not in outputs:
                raise unknown(name, outputs)
        return {name: outputs[name] for name in names}

    if not hasattr(type(made), "decode"):
        return Model(init, apply, features=features)
    return Model(init, apply, initialize_carry, decode, features)


def _made(make: Callable[..., nnx.Module], key: jax.Array) -> nnx.Module:
    inner = make.func if isinstance(make, functools.partial) else make
    takes_rngs = "rngs" in signature(inner).parameters
    module = make(rngs=nnx.Rngs(key)) if takes_rngs else make()
    if not isinstance(module, nnx.Module):
        raise UserError(f"config.model: expected an NNX module, got {type(module).__name__}")
    return module


def _place(path: Path, leaf: Any) -> tuple[str, ...] | None:
    """Where a leaf stands among params and model_state; None for a random stream's."""
    if isinstance(leaf, nnx.RngState):
        return None
    if not isinstance(leaf, nnx.Variable):
        collection = _ARRAYS
    elif isinstance(leaf, nnx.Param):
        collection = "params"
    else:
        collection = nnx.variable_name_from_type(type(leaf), allow_register=True)
    return (collection, *map(str, path))


def _taken_out(state: Any, places: Mapping[Path, tuple[str, ...] | None]) -> tuple[Any, Any]:
    """The values of a module's variables, as params and model_state."""
    trees: dict[str, Any] = {"params": {}}
    for path, leaf in nnx.to_flat_state(state):
        if (place := places[path]) is None:
            continue
        tree = trees
        for name in place[:-1]:
            tree = tree.setdefault(name, {})
        tree[place[-1]] = leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
    return trees.pop("params"), trees


def _at(trees: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        trees = trees[name]
    return trees


def _stream(path: Path, leaf: Any, key: jax.Array) -> jax.Array:
    """A random stream's key or count, at the beginning of a step."""
    shape = leaf.get_value().shape
    if isinstance(leaf, nnx.RngCount):
        return jnp.zeros(shape, jnp.uint32)
    own = jax.random.fold_in(key, zlib.crc32("/".join(map(str, path)).encode()))
    return jax.random.split(own, shape) if shape else own


def _counts(module: nnx.Module) -> dict[Path, Any]:
    counts = nnx.to_flat_state(nnx.state(module, nnx.RngCount))
    return {path: count.get_value() for path, count in counts}


def _drawn(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> str:
    """The first stream that something was drawn from, which counts up what it gives."""
    moved = (path for path in before if after.get(path) is not before[path])
    return "/".join(map(str, next(moved, ())))


def _mode(call: Callable[..., Any], key: jax.Array | None, train: bool) -> dict[str, Any]:
    """Of the ways in which NNX modules are told that they train, those that this one takes."""
    takes = inspect.signature(call).parameters
    rngs = None if key is None else nnx.Rngs(key)
    ways = {"train": train, "deterministic": not train, "rngs": rngs}
    return {name: value for name, value in ways.items() if name in takes}


def _check_variables(after: set[Path], before: set[Path]) -> None:
    if changed := sorted("/".join(map(str, path)) for path in after ^ before):
        raise UserError(
            f"config.model: the module creates or drops {changed[0]} when it is called; an NNX "
            "module must create all its variables in __init__"
        )


def _captured(module: nnx.Module, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Path -> the last outputs of each module inside, in evaluation."""

    def run(module: Any) -> Any:
        return module(*inputs, **_mode(type(module).__call__, None, False))

    if not hasattr(nnx, "capture"):
        raise UserError("features: for an NNX module they need a newer Flax; update it")
    _, sown = nnx.capture(run, nnx.Intermediate, method_outputs=nnx.Intermediate)(module)
    return {
        "/".join(map(str, path[:-1])): leaf.get_value()[-1]
        for path, leaf in nnx.to_flat_state(sown)
        if path[-1] == "__call__" and len(path) > 1
    }
