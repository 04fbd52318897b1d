"""The chips that can be compiled for, and what their makers publish of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxdl.errors import UserError, brief, suggestion

GIB = 1 << 30
_TERA, _GIGA = 1e12, 1e9
_HOST = 8  # GPUs of a machine


@dataclass(frozen=True)
class Gpu:
    """What XLA must know of an NVIDIA GPU to compile for it.

    Attributes:
      capability: CUDA's, such as (9, 0).
      cores: multiprocessors.
      units: float32 units of each.
      threads: that one can hold.
      shared: bytes of shared memory of one, of which a block can have all but 1 KiB.
      cache: bytes of L2.
      clock: GHz.
    """

    capability: tuple[int, int]
    cores: int
    units: int
    threads: int
    shared: int
    cache: int
    clock: float


@dataclass(frozen=True)
class Chip:
    """A chip: peaks that nothing exceeds.

    Attributes:
      flops: bits of a floating-point operand -> operations a second, dense. Products of 32-bit
        numbers are those that JAX takes by default: in TF32 on a GPU, in bfloat16 on a TPU.
      memory: bytes.
      bandwidth: of the memory, bytes a second.
      network: bytes a second that one chip can send to others of its slice or machine.
      source: where this is published.
      axes: of the slices that it comes in, as '2x4'; 1 where it is only counted.
      gpu: None for a TPU.
    """

    flops: Mapping[int, float]
    memory: float
    bandwidth: float
    network: float
    source: str
    axes: int = 1
    gpu: Gpu | None = None

    def seconds(self, flops: Mapping[str, float]) -> float:
        """The least time for operations, counted by the type of their operands, as HLO calls it."""
        return sum(n / self._rate(dtype) for dtype, n in flops.items())

    def _rate(self, dtype: str) -> float:
        bits = int((re.search(r"\d+", dtype) or ["16"])[0])
        return self.flops[min((b for b in self.flops if b >= bits), default=max(self.flops))]


def _tpu(
    bfloat16: float, memory: float, bandwidth: float, gigabits: float, page: str, axes: int
) -> Chip:
    source = f"https://cloud.google.com/tpu/docs/{page}"
    network = gigabits * _GIGA / 8
    return Chip({16: bfloat16 * _TERA}, memory * GIB, bandwidth * _GIGA, network, source, axes)


def _nvidia(
    rates: tuple[float, float, float],
    memory: float,
    bandwidth: float,
    links: float,
    page: str,
    gpu: Gpu,
) -> Chip:
    """A GPU: teraflops of 16, 32 and 64 bits, and gigabytes a second of all links, both ways."""
    flops = {bits: rate * _TERA for bits, rate in zip((16, 32, 64), rates, strict=True)}
    source = f"https://www.nvidia.com/en-us/data-center/{page}/"
    return Chip(flops, memory, bandwidth * _GIGA, links / 2 * _GIGA, source, gpu=gpu)


_AMPERE = Gpu((8, 0), 108, 64, 2048, 167936, 40 << 20, 1.41)
_HOPPER = Gpu((9, 0), 132, 128, 2048, 233472, 50 << 20, 1.98)
_ADA = Gpu((8, 9), 58, 128, 1536, 102400, 48 << 20, 2.04)
_BLACKWELL = Gpu((10, 0), 148, 128, 2048, 233472, 132644864, 1.965)

# Memory of a GPU is what its driver reports, a little less than what it is sold by.
CHIPS: dict[str, Chip] = {
    "v4": _tpu(275, 32, 1228, 2400, "v4", 3),
    "v5e": _tpu(197, 16, 819, 1600, "v5e", 2),
    "v5p": _tpu(459, 95, 2765, 4800, "v5p", 3),
    "v6e": _tpu(918, 32, 1640, 3584, "v6e", 2),
    "a100": _nvidia((312, 156, 19.5), 85100068864, 2039, 600, "a100", _AMPERE),
    "h100": _nvidia((989, 495, 67), 84942979072, 3352, 900, "h100", _HOPPER),
    "h200": _nvidia((989, 495, 67), 151397597184, 4800, 900, "h200", _HOPPER),
    "l4": _nvidia((121, 60, 0.49), 24152899584, 300, 64, "l4", _ADA),
    "b200": _nvidia((2250, 1125, 37), 191514411008, 7672, 1800, "hgx", _BLACKWELL),
}


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
            raise UserError(f"{where}: begins with tpu: or cuda:, such as tpu:v5e:2x4, cuda:h100:8")
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
            raise UserError(f"{where}: a machine has 2x2 chips, so the first two sides are even")
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
    def topology(self) -> str:
        """What XLA calls it: of GPUs, slices x machines x GPUs of each."""
        if self.platform == "tpu":
            return f"{self.name}:{'x'.join(map(str, self.sizes))}"
        hosts = -(-self.number // _HOST)
        return f"1x{hosts}x{self.number // hosts}"

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
