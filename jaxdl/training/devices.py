"""Devices: the mesh, who holds what, and compiling for it. The same for one device or many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdl.errors import UserError
from jaxdl.training.compiler import compiler_options

Placement = Literal["replicated", "fsdp"]
_WHOLE = 1 << 16  # arrays of fewer numbers are not worth gathering: every device holds them


def jit(function: Callable, *, once: bool = False, **options: Any) -> Any:
    """`jax.jit`, with the compiler set up for the platform at hand.

    Args:
      function: what to compile.
      once: it will run only once, so it should compile fast rather than run fast.
      **options: of `jax.jit`.
    """
    settings = compiler_options(jax.default_backend(), once)
    return jax.jit(function, compiler_options=settings, **options)


@dataclass(frozen=True)
class Devices:
    """A mesh with one axis, `data`, over which batches are spread.

    Attributes:
      mesh: the mesh.
      placement: of the state: 'replicated', or 'fsdp', where each device holds a share of every
        large array and XLA gathers it where it is used (Rajbhandari et al. 2020, "ZeRO").
    """

    mesh: Mesh
    placement: Placement = "replicated"

    @classmethod
    def of(cls, number: int | None = None, placement: Placement = "replicated") -> Devices:
        """The first `number` devices; by default all.

        Raises:
          UserError: there are not so many.
        """
        there = jax.devices()
        number = len(there) if number is None else number
        if not 1 <= number <= len(there):
            raise UserError(
                f"config.devices: {number} asked for, but JAX sees {len(there)} "
                f"({there[0].platform}); choose 1 to {len(there)}"
            )
        axes = (AxisType.Auto,)  # explicit axes do not fit Linen's batch norm, LSTM and Embed
        return cls(jax.make_mesh((number,), ("data",), axes, devices=there[:number]), placement)

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds the whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def spread(self, axis: int = 0) -> NamedSharding:
        """Devices hold equal shares along an axis."""
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, "data"))

    def held(self, state: Any) -> Any:
        """The sharding of each array of a state: by `placement`, along its largest axis that
        divides over the devices.
        """
        return jax.tree.map(self._held, state)

    def _held(self, leaf: Any) -> NamedSharding:
        fitting = [i for i, size in enumerate(leaf.shape) if size % self.mesh.size == 0]
        if self.placement == "replicated" or np.prod(leaf.shape) < _WHOLE or not fitting:
            return self.replicated
        return self.spread(max(fitting, key=lambda axis: leaf.shape[axis]))

    def check_batch(self, size: int, path: str) -> None:
        """Refuse a batch that does not divide.

        Raises:
          UserError: the devices cannot have equal shares.
        """
        number = self.mesh.size
        if size % number:
            raise UserError(
                f"{path}: {size} does not divide over {number} devices; choose a multiple of "
                f"{number}, or fewer with config.devices"
            )

    def replicate(self, tree: Any) -> Any:
        """The tree on every device."""
        return jax.device_put(tree, self.replicated)

    def scatter(self, tree: Any, axis: int = 0) -> Any:
        """The tree spread over the devices along an axis."""
        return jax.device_put(tree, self.spread(axis))

    def compiled(
        self,
        function: Callable,
        *args: Any,
        donate: tuple[int, ...] = (),
        once: bool = False,
        results: Any = None,
    ) -> Any:
        """The function, compiled for the shapes and shardings of `args`.

        `args` may be arrays or `jax.ShapeDtypeStruct`s. `results` are the shardings of the results,
        or of parts of them; by default they are replicated.
        """
        results = self.replicated if results is None else results
        jitted = jit(function, once=once, donate_argnums=donate, out_shardings=results)
        return jitted.lower(*args).compile()

    def compiled_step(self, step: Callable, state: Any, *args: Any) -> Any:
        """`(state, …) -> (state, …)`, compiled: the state, donated, comes back as it is `held`."""
        results = (self.held(state), self.replicated)
        return self.compiled(step, state, *args, donate=(0,), results=results)

    def abstract_state(self, state: Any) -> Any:
        """Shapes, types and shardings of a state, as it is `held`."""
        return self.abstract(state, self.held(state))

    def abstract(self, tree: Any, shardings: Any = None) -> Any:
        """Shapes, types and shardings of a tree, replicated unless said otherwise.

        Args:
          tree: arrays, or what has their shape and dtype.
          shardings: one for all, or a tree of them.
        """
        shardings = self.replicated if shardings is None else shardings
        if isinstance(shardings, NamedSharding):
            shardings = jax.tree.map(lambda _, one=shardings: one, tree)
        kind = jax.dtypes.canonicalize_dtype  # NumPy's float64 is float32 to JAX, unless enabled
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, kind(x.dtype), sharding=s), tree, shardings
        )
