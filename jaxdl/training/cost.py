"""What a compiled train step costs, by XLA's own analysis: arithmetic, and memory of a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax


@dataclass(frozen=True)
class Cost:
    """What a compiled program of one step takes.

    Attributes:
      flops: floating-point operations an example.
      held: bytes of its arguments, such as state and batch.
      work: bytes of work space, and of results that take no argument's place.
    """

    flops: float
    held: int
    work: int

    @classmethod
    def of(cls, compiled: Any, examples: float) -> Cost:
        """The cost of a compiled program, whose step takes so many examples a device."""
        flops, memory = (
            (compiled.cost_analysis() or {}).get("flops", 0.0),
            compiled.memory_analysis(),
        )
        if memory is None:
            return cls(flops / examples, 0, 0)
        results = max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)
        return cls(
            flops / examples,
            memory.argument_size_in_bytes,
            memory.temp_size_in_bytes + results,
        )

    @property
    def needed(self) -> int:
        """Bytes of memory, of a device."""
        return self.held + self.work

    @property
    def arithmetic(self) -> str:
        """`1.234 MFLOP an example and training step`."""
        return f"{self.flops / 1e6:,.3f} MFLOP an example and training step"

    @property
    def memory(self) -> str:
        """`3.5 MiB of state and data, 12.0 MiB of work space, a device`."""
        return f"{mib(self.held)} of state and data, {mib(self.work)} of work space, a device"


def mib(size: float) -> str:
    """`3.5 MiB`."""
    return f"{size / 2**20:,.1f} MiB"


def free_memory() -> int | None:
    """Bytes that a device of this process has left, or on a CPU the machine; None if unknown."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("bytes_limit" in s for s in stats):
        return min(s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats)
    if jax.default_backend() != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    kib = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines)}
    return int(kib["MemAvailable"]) * 1024 if "MemAvailable" in kib else None
