"""Weights by name: from the trees of a model to PyTorch's names, and back.

One rule translates a module that is named as in PyTorch: the path `layer1/0/conv1/kernel` is
`layer1.0.conv1.weight` there, and its axes are (outputs, inputs, *space) where ours are
(*space, inputs, outputs). All functions are pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, some
from jaxdl.tree import flatten, spell
from jaxdl.types import ModelState, Params

Arrays = Mapping[str, Any]  # path -> array

_TORCH = {
    "embedding": "weight",
    "kernel": "weight",
    "mean": "running_mean",
    "scale": "weight",
    "var": "running_var",
}
_NAMED = 4  # paths in a message


class Filled(NamedTuple):
    """Trees into which arrays were put.

    Attributes:
      params: parameters.
      model_state: batch statistics and whatever else the model keeps, by collection.
      loaded: paths that were replaced.
      fresh: paths that stayed as they were.
      unused: paths of arrays that were not used.
    """

    params: Params
    model_state: ModelState
    loaded: Sequence[str]
    fresh: Sequence[str]
    unused: Sequence[str]

    def __str__(self) -> str:
        fresh = f" ({some(self.fresh, _NAMED, ', ')})" if self.fresh else ""
        counts = f"{len(self.loaded)} loaded, {len(self.fresh)} fresh{fresh}"
        return f"{counts}, {len(self.unused)} unused"


def flat(params: Params, model_state: ModelState) -> dict[str, Any]:
    """Path -> leaf of parameters and model state: `bn1/scale` and `bn1/mean`.

    The collections of model_state are not part of the paths: no module has a name in two of them.
    """
    trees = (params, *model_state.values())
    return {path: leaf for tree in trees for path, leaf in flatten(tree).items()}


def fill(
    arrays: Arrays,
    params: Params,
    model_state: ModelState,
    *,
    exclude: Sequence[str] = (),
    strict: bool = True,
) -> Filled:
    """The trees with the arrays in them, cast to the types that the trees have.

    Args:
      arrays: path -> array, paths as `flat` gives them.
      params: parameters, a pytree; only their shapes and types matter where all are replaced.
      model_state: the same, by collection.
      exclude: regular expressions of paths that stay as they are.
      strict: apart from what is excluded, arrays and trees must have the same paths.

    Raises:
      UserError: an array is missing, unknown, of another shape or kind of number, or not finite;
        an expression matches nothing; or no array fits.
    """
    leaves = flat(params, model_state)
    for pattern in exclude:
        if not any(re.search(pattern, path) for path in {**leaves, **arrays}):
            raise UserError(f"exclude: {pattern!r} matches none of {some(leaves, _NAMED, ', ')}")
    excluded = {path for path in {**leaves, **arrays} if any(re.search(p, path) for p in exclude)}
    faults = {
        "missing": [path for path in leaves if strict and path not in {*excluded, *arrays}],
        "unknown": [path for path in arrays if strict and path not in {*excluded, *leaves}],
        "different": [
            f"{path} ({_show(arrays[path])}, here {_show(leaf)})"
            for path, leaf in leaves.items()
            if path in arrays and path not in excluded and not _compatible(arrays[path], leaf)
        ],
    }
    if any(faults.values()):
        counts = "; ".join(
            f"{len(v)} {kind}: {some(v, _NAMED, ', ')}" for kind, v in faults.items() if v
        )
        raise UserError(
            f"does not fit config.model, {counts}; list what should start fresh or be ignored in "
            "config.init_from.exclude, such as ('^fc/',)"
        )
    loaded = {
        path: _cast(path, arrays[path], leaf)
        for path, leaf in leaves.items()
        if path in arrays and path not in excluded
    }
    if not loaded:
        raise UserError(
            f"none of its arrays belongs to config.model, which has {some(leaves, _NAMED, ', ')}"
        )
    return Filled(
        _put(loaded, params),
        {name: _put(loaded, tree) for name, tree in model_state.items()},
        loaded=list(loaded),
        fresh=[path for path in leaves if path not in loaded],
        unused=[path for path in arrays if path not in loaded],
    )


def from_torch(
    tensors: Arrays, params: Params, model_state: ModelState
) -> tuple[Params, ModelState]:
    """The trees with all of PyTorch's tensors in them.

    Raises:
      UserError: as `fill`.
    """
    filled = fill(renamed(tensors, flat(params, model_state)), params, model_state)
    return filled.params, filled.model_state


def to_torch(params: Params, model_state: ModelState) -> dict[str, np.ndarray]:
    """Name -> array of parameters and model state, as the same network has them in PyTorch."""
    return {
        torch_name(path): np.ascontiguousarray(_outputs_first(path, np.asarray(leaf)))
        for path, leaf in flat(params, model_state).items()
    }


def renamed(tensors: Arrays, paths: Iterable[str]) -> dict[str, Any]:
    """PyTorch's tensors under our paths and with our axes.

    Tensors of no path keep their names, with slashes for dots, and those that have one of our paths
    for a name, as `jaxdl export` writes them, their axes too. `num_batches_tracked`, which has no
    counterpart here, is left out. Names of torchvision's older files are understood too.

    Raises:
      UserError: two names are of one path.
    """
    paths = dict.fromkeys(paths)
    path_of = {_older_name(path): path for path in paths} | {
        torch_name(path): path for path in paths
    }
    named: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if not name.endswith("num_batches_tracked"):
            path = path_of.get(name, name.replace(".", "/"))
            if path in named:
                raise UserError(
                    f"{name} and another of its arrays both stand for {path}; exclude one"
                )
            ours = name in paths or _is_flax(name)
            named[path] = tensor if ours else _outputs_last(path, tensor)
    return named


def _is_flax(name: str) -> bool:
    """Whether a name is Flax's, with slashes or dots, whose kernels have our axes.

    PyTorch calls none `kernel`.
    """
    return re.split(r"[./]", name)[-1] == "kernel"


def torch_name(path: str) -> str:
    """`layer1/0/conv1/kernel` -> `layer1.0.conv1.weight`."""
    *modules, leaf = path.split("/")
    return ".".join([*modules, _TORCH.get(leaf, leaf)])


def _older_name(path: str) -> str:
    """The name before torchvision 0.13, which did not wrap the convolutions of detectors."""
    path = re.sub(r"(_blocks/\d+|^rpn/head/conv/0)/0/", r"\1/", path)
    path = re.sub(r"^rpn/head/conv/0/", "rpn/head/conv/", path)
    path = re.sub(r"_head/conv/(\d+)/0/", lambda i: f"_head/conv/{2 * int(i[1])}/", path)
    return torch_name(path)


def _outputs_first(path: str, x: np.ndarray) -> np.ndarray:
    """A kernel (*space, inputs, outputs) as (outputs, inputs, *space)."""
    return x.transpose(-1, -2, *range(x.ndim - 2)) if path.endswith("kernel") else x


def _outputs_last(path: str, x: np.ndarray) -> np.ndarray:
    """A kernel (outputs, inputs, *space) as (*space, inputs, outputs)."""
    kernel = path.endswith("kernel") and x.ndim > 1
    return x.transpose(*range(2, x.ndim), 1, 0) if kernel else x


def _put(arrays: Arrays, tree: Any) -> Any:
    return jax.tree.map_with_path(lambda path, leaf: arrays.get(spell(path), leaf), tree)


def _compatible(array: Any, leaf: Any) -> bool:
    floating = [jnp.issubdtype(x.dtype, jnp.floating) for x in (array, leaf)]
    return array.shape == leaf.shape and floating[0] == floating[1]


def _cast(path: str, array: Any, leaf: Any) -> np.ndarray:
    cast = np.asarray(array).astype(leaf.dtype)
    if not np.isfinite(cast).all():
        raise UserError(f"{path} has numbers that are not finite in {cast.dtype.name}")
    return cast


def _show(x: Any) -> str:
    return f"{np.dtype(x.dtype).name}{list(x.shape)}"
