"""The memory that a compiled train step needs on a device, by XLA's own analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax


@dataclass(frozen=True)
class Memory:
    """The memory that a compiled step needs; zero if the back end does not report it.

    Attributes:
      held: bytes of its arguments, such as state and batch.
      work: bytes of work space, and of results that do not reuse an argument's memory.
    """

    held: int
    work: int

    @classmethod
    def of(cls, compiled: Any) -> Memory:
        """The memory of a compiled program."""
        memory = compiled.memory_analysis()
        if memory is None:
            return cls(0, 0)
        results = max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)
        return cls(memory.argument_size_in_bytes, memory.temp_size_in_bytes + results)

    @property
    def needed(self) -> int:
        """Bytes needed on one device."""
        return self.held + self.work

    def __str__(self) -> str:
        """`3.5 MiB of state and data and 12.0 MiB of work space per device`."""
        return f"{mib(self.held)} of state and data and {mib(self.work)} of work space per device"


def mib(size: float) -> str:
    """`3.5 MiB`."""
    return f"{size / 2**20:,.1f} MiB"


def free_memory() -> int | None:
    """Free bytes on a device of this process, or of the machine on a CPU; None if unknown."""
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
