"""Weights that were learnt elsewhere, in the trees of a model.

A module that bears the name of its counterpart in PyTorch has its weights by one rule: the path
`layer1/0/conv1/kernel` is `layer1.0.conv1.weight` there, whose axes are (outputs, inputs, *space)
where ours are (*space, inputs, outputs). All functions are pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.functional import Params, Variables

Arrays = Mapping[str, Any]  # path -> array

_TORCH = {
    "embedding": "weight",
    "kernel": "weight",
    "mean": "running_mean",
    "scale": "weight",
    "var": "running_var",
}
_NAMED = 4  # paths that a message names


class Filled(NamedTuple):
    """Trees that were filled.

    Attributes:
      params: parameters.
      variables: batch statistics and whatever else the model keeps, by collection.
      loaded: paths of what was put in.
      fresh: paths of what stayed as it was.
      unused: paths of what there was no use for.
    """

    params: Params
    variables: Variables
    loaded: Sequence[str]
    fresh: Sequence[str]
    unused: Sequence[str]

    def __str__(self) -> str:
        fresh = f" ({_listed(self.fresh)})" if self.fresh else ""
        counts = f"{len(self.loaded)} loaded, {len(self.fresh)} fresh{fresh}"
        return f"{counts}, {len(self.unused)} unused"


def flat(params: Params, variables: Variables) -> dict[str, Any]:
    """Path -> leaf of all that a model has learnt: `bn1/scale` of parameters, `bn1/mean` of others.

    The name of a collection of variables is left out, since no module has two leaves of one name.
    """
    leaves = [leaf for tree in (params, *variables.values()) for leaf in _leaves(tree)]
    return dict(leaves)


def fill(
    arrays: Arrays,
    params: Params,
    variables: Variables,
    *,
    exclude: Sequence[str] = (),
    strict: bool = True,
) -> Filled:
    """The trees with the arrays in them, cast to the types that the trees have.

    Args:
      arrays: path -> array, paths as `flat` gives them.
      params: parameters, a pytree; the shapes alone matter where all is replaced.
      variables: the same, by collection.
      exclude: regular expressions of paths that stay as they are.
      strict: every path that is not excluded must be among the arrays, and the other way about.

    Raises:
      UserError: an array is missing, unknown, of another shape or kind of number, or not finite;
        an expression matches nothing, or nothing is left to be put in.
    """
    there = flat(params, variables)
    for pattern in exclude:
        if not any(re.search(pattern, path) for path in {**there, **arrays}):
            raise UserError(f"exclude: {pattern!r} matches none of {_listed(there)}")
    kept = {path for path in {**there, **arrays} if any(re.search(p, path) for p in exclude)}
    faults = {
        "missing": [path for path in there if strict and path not in {*kept, *arrays}],
        "unknown": [path for path in arrays if strict and path not in {*kept, *there}],
        "unlike": [
            f"{path} ({_show(arrays[path])}, here {_show(leaf)})"
            for path, leaf in there.items()
            if path in arrays and path not in kept and not _alike(arrays[path], leaf)
        ],
    }
    if any(faults.values()):
        said = "; ".join(f"{len(v)} {kind}: {_listed(v)}" for kind, v in faults.items() if v)
        raise UserError(
            f"does not fit config.model, {said}; name what is to start fresh or be left out in "
            "config.init_from.exclude, as ('^fc/',)"
        )
    loaded = {
        path: _cast(path, arrays[path], leaf)
        for path, leaf in there.items()
        if path in arrays and path not in kept
    }
    if not loaded:
        raise UserError(f"nothing of it is a path of config.model, which has {_listed(there)}")
    return Filled(
        _put(loaded, params),
        {name: _put(loaded, tree) for name, tree in variables.items()},
        loaded=list(loaded),
        fresh=[path for path in there if path not in loaded],
        unused=[path for path in arrays if path not in loaded],
    )


def from_torch(tensors: Arrays, params: Params, variables: Variables) -> tuple[Params, Variables]:
    """The trees with PyTorch's tensors in them, every one.

    Raises:
      UserError: as `fill`.
    """
    filled = fill(renamed(tensors, flat(params, variables)), params, variables)
    return filled.params, filled.variables


def to_torch(params: Params, variables: Variables) -> dict[str, np.ndarray]:
    """Name -> array of all that was learnt, as the same network has it in PyTorch."""
    return {
        torch_name(path): _outputs_first(path, np.asarray(leaf))
        for path, leaf in flat(params, variables).items()
    }


def renamed(tensors: Arrays, paths: Iterable[str]) -> dict[str, Any]:
    """PyTorch's tensors under these paths and with our axes.

    What belongs to none of them keeps its name, with slashes; the counters of batches, which
    nothing here counts, are left out. The names of torchvision's older files are known too.
    """
    paths = list(paths)
    path_of = {_older_name(path): path for path in paths} | {
        torch_name(path): path for path in paths
    }
    return {
        path: _outputs_last(path, tensor)
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
        for path in [path_of.get(name, name.replace(".", "/"))]
    }


def torch_name(path: str) -> str:
    """`layer1/0/conv1/kernel` -> `layer1.0.conv1.weight`."""
    *modules, leaf = path.split("/")
    return ".".join([*modules, _TORCH.get(leaf, leaf)])


def _older_name(path: str) -> str:
    """Torchvision's before 0.13, when the convolutions of a detector were not wrapped."""
    path = re.sub(r"(_blocks/\d+)/0/", r"\1/", path)
    path = re.sub(r"_head/conv/(\d+)/0/", lambda i: f"_head/conv/{2 * int(i[1])}/", path)
    return torch_name(path)


def _outputs_first(path: str, x: np.ndarray) -> np.ndarray:
    """A kernel (*space, inputs, outputs) as (outputs, inputs, *space)."""
    return x.transpose(-1, -2, *range(x.ndim - 2)) if path.endswith("kernel") else x


def _outputs_last(path: str, x: np.ndarray) -> np.ndarray:
    """A kernel (outputs, inputs, *space) as (*space, inputs, outputs)."""
    kernel = path.endswith("kernel") and x.ndim > 1
    return x.transpose(*range(2, x.ndim), 1, 0) if kernel else x


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(_path(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def _put(arrays: Arrays, tree: Any) -> Any:
    return jax.tree.map_with_path(lambda path, leaf: arrays.get(_path(path), leaf), tree)


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _alike(array: Any, leaf: Any) -> bool:
    floating = [jnp.issubdtype(x.dtype, jnp.floating) for x in (array, leaf)]
    return array.shape == leaf.shape and floating[0] == floating[1]


def _cast(path: str, array: Any, leaf: Any) -> np.ndarray:
    cast = np.asarray(array).astype(leaf.dtype)
    if not np.isfinite(cast).all():
        raise UserError(f"{path} has numbers that are not finite as {cast.dtype.name}")
    return cast


def _show(x: Any) -> str:
    return f"{np.dtype(x.dtype).name}{list(x.shape)}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
