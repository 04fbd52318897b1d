"""The mesh of devices, what each holds, and compiling for it; the same for one device or many.

Several processes (`jaxdl.parallel.processes`) all run the same program. The mesh spans the devices
of all, and each process supplies the rows of a batch that its own devices hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from jaxdl.errors import UserError, first_line, suggestion
from jaxdl.parallel.sharding import Placement, check_rules, specs
from jaxdl.runtime import compiler_options
from jaxdl.types import DATA_AXIS

_AXES = (DATA_AXIS, "model")
Parallel = Literal["jit", "pmap"]


def seen_devices() -> list[jax.Device]:
    """All devices that JAX sees.

    Raises:
      UserError: none is of the platform that JAX_PLATFORMS asks for.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX raises either
        if not (asked := os.environ.get("JAX_PLATFORMS")):
            raise
        why = f" ({first_line(error, 200)})" if str(error) else ""
        raise UserError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device{why}; set it to 'cpu' or leave it "
            "out, or install what JAX needs for the device, such as the extra 'cuda' or 'tpu'"
        ) from None


def jit(
    function: Callable, *, once: bool = False, platform: str | None = None, **options: Any
) -> Any:
    """`jax.jit` with the compiler options that are best on a platform.

    Args:
      function: to compile.
      once: it will run only once, so compile it fast, whatever its speed.
      platform: by default the one that JAX computes on.
      **options: of `jax.jit`.
    """
    settings = compiler_options(platform or seen_devices()[0].platform, once)
    return jax.jit(function, compiler_options=settings, **options)


@dataclass(frozen=True)
class Devices:
    """A mesh with two axes: batches are split along `data`, arrays of the state by `placement`.

    Attributes:
      mesh: of axes `data` and `model`.
      placement: rules for the state; see `jaxdl.parallel.sharding`.
      parallel: what runs a train step: 'jit', or 'pmap', where every device holds the whole state
        and batch.
    """

    mesh: Mesh
    placement: Placement = "replicated"
    parallel: Parallel = "jit"

    @classmethod
    def of(
        cls,
        number: int | Mapping[str, int] | None = None,
        placement: Placement = "replicated",
        parallel: Parallel = "jit",
        devices: Sequence[jax.Device] | None = None,
    ) -> Devices:
        """A mesh of the first so many devices.

        Args:
          number: how many, all along `data`; or how many along each axis, as dict(data=4, model=2),
            where `data` takes the rest if it is not named; by default all.
          placement: rules for the state.
          parallel: what runs a train step.
          devices: to take them from, by default all that JAX sees. They need not exist, where they
            are only compiled for.

        Raises:
          UserError: there are fewer devices, or the placement or `parallel` does not fit the mesh.
        """
        devices = seen_devices() if devices is None else devices
        sizes = _sizes(number, len(devices))
        total = sizes["data"] * sizes["model"]
        if min(sizes.values()) < 1 or total > len(devices):
            raise UserError(
                f"config.devices: {total} asked for, but JAX sees {len(devices)} "
                f"({devices[0].platform}); choose 1 to {len(devices)}"
            )
        if jax.process_count() > 1 and total != len(devices):
            raise UserError(
                f"config.devices: {total} of {len(devices)}, but several processes use all of "
                "them; leave it out"
            )
        check_rules(placement, sizes)
        if parallel == "pmap" and (placement != "replicated" or sizes["model"] > 1):
            raise UserError(
                "config.parallel: with pmap every device holds the whole state; to use a placement "
                "or devices along 'model', set it to 'jit'"
            )
        if parallel == "pmap" and jax.process_count() > 1:
            raise UserError(
                "config.parallel: pmap works in a single process; set it to 'jit' for several"
            )
        auto = (
            AxisType.Auto,
        ) * 2  # Linen's batch norm, LSTM and Embed do not work with explicit axes
        shape = tuple(sizes[axis] for axis in _AXES)
        return cls(jax.make_mesh(shape, _AXES, auto, devices=devices[:total]), placement, parallel)

    @property
    def replicated(self) -> NamedSharding:
        """The sharding in which every device holds the whole array."""
        return NamedSharding(self.mesh, PartitionSpec())

    def spread(self, axis: int = 0) -> NamedSharding:
        """The sharding in which devices hold equal shares along an axis of a batch."""
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, "data"))

    def held(self, state: Any) -> Any:
        """The sharding of each array of a `State`, by `placement`."""
        tree = specs(self.placement, self.mesh.shape, state)
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), tree)

    def share(self, state: Any) -> int:
        """Bytes of a `State` that one device holds."""
        shards = jax.tree.map(lambda x, s: s.shard_shape(x.shape), state, self.held(state))
        sizes = jax.tree.map(lambda x, s: int(np.prod(s)) * x.dtype.itemsize, state, shards)
        return sum(jax.tree.leaves(sizes))

    def check_batch(self, size: int, path: str) -> None:
        """Check that a batch of a size divides evenly over the devices; `path` is for the message.

        Raises:
          UserError: it does not.
        """
        number = self.mesh.shape["data"]
        if size % number:
            raise UserError(
                f"{path}: {size} does not divide evenly over {number} devices; choose a multiple "
                f"of {number}, or fewer with config.devices"
            )

    def check_groups(self, size: int, parts: int, group: int | None) -> None:
        """Check that each device's share of each part of a batch is whole groups of examples.

        Raises:
          UserError: it is not.
        """
        share, rest = divmod(size, parts * self.mesh.shape["data"])
        if group and (rest or share % group):
            raise UserError(
                f"config.training.ghost_batch_size: a group is {group} examples, but each of "
                f"{self.mesh.shape['data']} devices has {size / parts / self.mesh.shape['data']:g} "
                f"of {size} in {parts} part{'s' * (parts > 1)}; choose a divisor of that number, "
                "or another batch_size, accumulate or config.devices"
            )

    def local(self, size: int) -> Int[np.ndarray, " local"]:
        """The rows of a batch of a size that devices of this process hold, ascending."""
        slices = self.spread().addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[index] for index in slices]))

    def replicate(self, tree: Any) -> Any:
        """The tree, which every process has whole, on every device."""
        if jax.process_count() == 1:
            return jax.device_put(tree, self.replicated)
        return jax.tree.map(self._everywhere, tree)

    def _everywhere(self, leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, self.replicated)
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, self.replicated, whole.__getitem__)

    def scatter(self, tree: Any, axis: int = 0) -> Any:
        """The tree split over the devices along an axis; each process gives its `local` rows."""
        return jax.make_array_from_process_local_data(self.spread(axis), tree)

    def gathered(self, tree: Any) -> Any:
        """The tree as arrays that every process can read whole."""
        if jax.process_count() == 1:
            return tree
        return jax.jit(lambda tree: tree, out_shardings=self.replicated)(tree)

    def compiled(self, function: Callable, *args: Any, **options: Any) -> Any:
        """The function, compiled for the shapes and shardings of `args`; see `lowered`."""
        return self.lowered(function, *args, **options).compile()

    def lowered(
        self,
        function: Callable,
        *args: Any,
        donate: tuple[int, ...] = (),
        once: bool = False,
        results: Any = None,
    ) -> Any:
        """The function, lowered for the shapes and shardings of `args`.

        Args:
          function: to compile.
          *args: arrays or `jax.ShapeDtypeStruct`s.
          donate: positions of the arguments whose buffers it may reuse.
          once: it will run only once; see `jit`.
          results: shardings of the results, a prefix of their tree; by default replicated.
        """
        results = self.replicated if results is None else results
        platform = self.mesh.devices.flat[0].platform
        options = {"donate_argnums": donate, "out_shardings": results}
        return jit(function, once=once, platform=platform, **options).lower(*args)

    def compiled_step(self, step: Callable, state: Any, *args: Any) -> Any:
        """`(state, …) -> (state, …)`, compiled; the state is donated and keeps its sharding."""
        return self.lowered_step(step, state, *args).compile()

    def lowered_step(self, step: Callable, state: Any, *args: Any) -> Any:
        """As `compiled_step`, lowered."""
        results = (self.held(state), self.replicated)
        if self.parallel == "pmap":
            step = self._pmapped(step)
        return self.lowered(step, state, *args, donate=(0,), results=results)

    def _pmapped(self, step: Callable) -> Callable:
        """The step by `jax.pmap`, on whole states and batches: it takes its device's share."""
        devices = self.mesh.devices.reshape(-1)

        def run(*args: Any) -> Any:
            # `pmap` must map something; each device finds its share by its index on the axis.
            mapped = jax.pmap(
                lambda _, *args: step(*args),
                DATA_AXIS,
                in_axes=(0, *(None,) * len(args)),
                out_axes=None,
                devices=list(devices),
            )
            return mapped(np.arange(len(devices)), *args)

        return run

    def abstract_state(self, state: Any) -> Any:
        """Shapes, types and shardings of a state, by `placement`."""
        return self.abstract(state, self.held(state))

    def abstract(self, tree: Any, shardings: Any = None) -> Any:
        """Shapes, types and shardings of a tree.

        Args:
          tree: of arrays, or anything with shape and dtype.
          shardings: one for all, or a tree of them; by default replicated.
        """
        shardings = self.replicated if shardings is None else shardings
        if isinstance(shardings, NamedSharding):
            shardings = jax.tree.map(lambda _, one=shardings: one, tree)
        kind = jax.dtypes.canonicalize_dtype  # NumPy's float64 is float32 to JAX, unless enabled
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, kind(x.dtype), sharding=s), tree, shardings
        )


def _sizes(number: int | Mapping[str, int] | None, total: int) -> dict[str, int]:
    """Devices along each axis."""
    if not isinstance(number, Mapping):
        return {"data": total if number is None else number, "model": 1}
    for axis in number:
        if axis not in _AXES:
            raise UserError(f"config.devices.{axis}: unknown; {suggestion(axis, _AXES)}")
    model = number.get("model", 1)
    if "data" not in number and (model < 1 or total % model):
        raise UserError(
            f"config.devices.model: {model} does not divide the {total} devices that JAX sees; "
            "choose a divisor, or set data too"
        )
    return {"data": total // model, "model": model, **number}
