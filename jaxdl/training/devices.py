"""Devices: the mesh, who holds what, and compiling for it. The same for one device or many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdl.errors import UserError
from jaxdl.training.compiler import compiler_options


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
    """

    mesh: Mesh

    @classmethod
    def of(cls, number: int | None = None) -> Devices:
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
        return cls(jax.make_mesh((number,), ("data",), axes, devices=there[:number]))

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds the whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def spread(self, axis: int = 0) -> NamedSharding:
        """Devices hold equal shares along an axis."""
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, "data"))

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
        self, function: Callable, *args: Any, donate: tuple[int, ...] = (), once: bool = False
    ) -> Any:
        """The function, compiled for the shapes and shardings of `args`.

        `args` may be arrays or `jax.ShapeDtypeStruct`s. Results are replicated.
        """
        jitted = jit(function, once=once, donate_argnums=donate, out_shardings=self.replicated)
        return jitted.lower(*args).compile()

    def abstract(self, tree: Any, sharding: NamedSharding | None = None) -> Any:
        """Shapes, types and shardings of a tree, replicated unless said otherwise."""
        sharding = sharding or self.replicated
        kind = jax.dtypes.canonicalize_dtype  # NumPy's float64 is float32 to JAX, unless enabled
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, kind(x.dtype), sharding=sharding), tree
        )
