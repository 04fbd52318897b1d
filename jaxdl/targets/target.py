"""What can be compiled for: so many of the chips in `jaxdl.chips`, connected."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from jaxdl.chips import CHIPS, Chip
from jaxdl.errors import UserError, brief, suggestion

_HOST = 8  # GPUs of a machine
_BOARD = 4  # chips of a TPU's machine, 2x2


@dataclass(frozen=True)
class Target:
    """So many chips, connected: `tpu:v5e:2x4`, `cuda:h100:8`, `cuda:a100`.

    Attributes:
      platform: 'tpu' or 'cuda'.
      name: of the chip, one of `CHIPS`.
      sizes: of the slice along its axes, or the number of GPUs.
    """

    platform: str
    name: str
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Target:
        """The target of a word.

        Raises:
          UserError: there is no such chip, or it does not come so.
        """
        where = f"--target {brief(text)[1:-1]}"
        platform, _, rest = text.partition(":")
        name, _, shape = rest.partition(":")
        names = [n for n, chip in CHIPS.items() if platform == ("cuda" if chip.gpu else "tpu")]
        if not names:
            raise UserError(
                f"{where}: must begin with tpu: or cuda:, such as tpu:v5e:2x4 or cuda:h100:8"
            )
        if name not in names:
            raise UserError(f"{where}: no such chip; {suggestion(name, names)}")
        axes = CHIPS[name].axes
        if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})*", shape or "1" * (axes == 1)):
            raise UserError(f"{where}: {_example(platform, name)}")
        sizes = tuple(map(int, (shape or "1").split("x")))
        if len(sizes) != axes:
            raise UserError(f"{where}: {_example(platform, name)}")
        if platform == "cuda" and sizes[0] > _HOST and sizes[0] % _HOST:
            raise UserError(
                f"{where}: machines have {_HOST} GPUs; choose 1 to {_HOST}, or a multiple"
            )
        target = cls(platform, name, sizes)
        if platform == "tpu" and not target.in_one_machine and any(n % 2 for n in sizes[:2]):
            raise UserError(
                f"{where}: a machine has 2x2 chips, so the first two sides must be even"
            )
        return target

    def __str__(self) -> str:
        return f"{self.platform}:{self.name}:{'x'.join(map(str, self.sizes))}"

    @property
    def chip(self) -> Chip:
        """One of the chips."""
        return CHIPS[self.name]

    @property
    def number(self) -> int:
        """How many chips."""
        return math.prod(self.sizes)

    @property
    def in_one_machine(self) -> bool:
        """Whether it is a part of a TPU's machine, of 2x2 chips."""
        return max(self.sizes[:2]) <= 2 and self.sizes[2:] in ((), (1,))

    @property
    def machines(self) -> int:
        """Among how many machines the chips are."""
        return -(-self.number // (_BOARD if self.platform == "tpu" else _HOST))

    @property
    def topology(self) -> str:
        """What XLA calls it: of GPUs, slices x machines x GPUs of each."""
        if self.platform == "tpu":
            return f"{self.name}:{'x'.join(map(str, self.sizes))}"
        return f"1x{self.machines}x{self.number // self.machines}"

    @property
    def host(self) -> dict[str, Any]:
        """How a TPU's machine is set up: two cores make a device, a small slice is one machine."""
        cores = {"chip_config_name": "megacore"} if self.name == "v4" else {}
        if not self.in_one_machine:
            return cores
        return {**cores, "chips_per_host_bounds": [*self.sizes, 1, 1][:3]}

    @property
    def description(self) -> str:
        """The GPU as XLA's `GpuTargetConfigProto`, in text; '' of a TPU, which XLA knows."""
        chip, gpu = self.chip, self.chip.gpu
        if gpu is None:
            return ""
        major, minor = gpu.capability
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024 threads_per_warp: 32
              shared_memory_per_block: 49152 shared_memory_per_core: {gpu.shared}
              shared_memory_per_block_optin: {gpu.shared - 1024}
              threads_per_core_limit: {gpu.threads} core_count: {gpu.cores}
              fpus_per_core: {gpu.units} l2_cache_size: {gpu.cache} clock_rate_ghz: {gpu.clock}
              memory_bandwidth: {int(chip.bandwidth)} device_memory_size: {int(chip.memory)}
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
              registers_per_core_limit: 65536 registers_per_block_limit: 65536
              cuda_compute_capability {{ major: {major} minor: {minor} }}
            }}
            platform_name: "CUDA"
            dnn_version_info {{ major: 9 minor: 8 }}
            device_description_str: "NVIDIA {self.name.upper()}"
        """


def _example(platform: str, name: str) -> str:
    axes = CHIPS[name].axes
    if axes == 1:
        return f"say how many GPUs, such as {platform}:{name}:8"
    sizes = "x".join("2" * axes)
    return f"say the {axes} sides of the slice, such as {platform}:{name}:{sizes}"
