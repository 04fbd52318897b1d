"""The types of parameters, arithmetic and outputs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, fields
from typing import Any, Literal

import jax
import jax.numpy as jnp

Float = Literal["float32", "float64", "bfloat16", "float16"]


@dataclass(frozen=True)
class Precision:
    """A precision policy.

    Modules compute in the type of their inputs and parameters, so casting both is enough; batch
    statistics stay in the type of the parameters.

    Args:
      params: type of the parameters and of the optimiser's state.
      compute: type of inputs and parameters inside the model.
      output: type of what the model hands to the task, which sums losses in it.
      reduce: type in which gradients are summed over devices; float64 parameters keep float64, and
        sharded states use `compute`.
    """

    params: Float = "float32"
    compute: Float = "float32"
    output: Literal["float32", "float64"] = "float32"
    reduce: Float = "float32"

    def to_params(self, tree: Any) -> Any:
        """The tree with its floating-point leaves as parameters are kept."""
        return _cast(tree, self.params)

    def to_compute(self, tree: Any) -> Any:
        """The tree with its floating-point leaves as the model computes."""
        return _cast(tree, self.compute)

    def to_outputs(self, tree: Any) -> Any:
        """The tree with its floating-point leaves as the task computes."""
        return _cast(tree, self.output)

    @property
    def sums(self) -> Float:
        """The type in which gradients are summed over devices."""
        return "float64" if self.params == "float64" else self.reduce

    def enabled(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which JAX has these types; float64 must be enabled."""
        wide = any(getattr(self, field.name) == "float64" for field in fields(self))
        return jax.enable_x64(True) if wide else contextlib.nullcontext()


def _cast(tree: Any, dtype: str) -> Any:
    def cast(x: Any) -> Any:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)
