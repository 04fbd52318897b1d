"""The peaks of chips, as their makers publish them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30
_TERA, _GIGA = 1e12, 1e9


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

# How a device calls itself -> the chip. Of GPUs on PCIe, which are slower, nothing is known here.
_KINDS = {
    r"TPU v4": "v4",
    r"TPU v5 ?(lite|e)": "v5e",
    r"TPU v5p?": "v5p",
    r"TPU v6 ?(lite|e)": "v6e",
    r"NVIDIA (A100|H100|H200|L4|B200)(?!.*(PCIe|NVL))(\b.*)?": "",
}


def chip_of(kind: str) -> Chip | None:
    """The chip of a device.

    Args:
      kind: what JAX says of a device, such as 'NVIDIA H100 80GB HBM3'.

    Returns:
      None where its peak is not known, as of a CPU.
    """
    for pattern, name in _KINDS.items():
        if match := re.fullmatch(pattern, kind):
            return CHIPS[name or match[1].lower()]
    return None
