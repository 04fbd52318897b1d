"""Timings that can be compared: variants in processes of their own, in turn, on a quiet machine.

Each process readies itself, then waits. A round times every variant once, so that whatever drifts
(clock, heat, neighbours) meets them all alike. A timing during which other processes used more
than a little of the machine is thrown away and repeated; where that never succeeds, the variant
misses the round, and the table says so.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SHARE = 0.02  # of the machine that others may use during a timing
TRIES = 10


def serve(steps: Callable[[int], object]) -> None:
    """In the process of a variant: time `steps(n)`, which must block, as often as is asked."""
    print("ready", flush=True)
    for line in sys.stdin:
        n = int(line)
        machine, own, start = _machine_seconds(), _own_seconds(), time.perf_counter()
        steps(n)
        seconds = time.perf_counter() - start
        others = _machine_seconds() - machine - (_own_seconds() - own)
        # The kernel counts in hundredths of a second.
        share = max(0.0, others - 0.01) / (seconds * (os.cpu_count() or 1))
        print(json.dumps({"milliseconds": 1e3 * seconds / n, "others": share}), flush=True)


def _machine_seconds() -> float:
    """What all processes, and neighbours on the host, have used of the CPUs; 0 if unknown."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Variant:
    """One way of doing the work, in its process.

    Args:
      name: in the table.
      command: starts the process, which calls `serve`.
      steps: how many steps a timing takes.

    Attributes:
      times: milliseconds a step, a round each; None for a round that was disturbed throughout.
    """

    name: str
    command: list[str]
    steps: int
    times: list[float | None] = field(default_factory=list)

    def start(self) -> bool:
        """Start the process and wait for it; False if it cannot do the work."""
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "ready":
                self._ask(self.steps)  # warm up
                return True
        assert self._process.stderr is not None
        said = self._process.stderr.read().strip().splitlines() or ["it said nothing"]
        print(f"{self.name}: does not run here: {said[-1]}", file=sys.stderr)
        return False

    def round(self) -> None:
        """Time it once, undisturbed if that can be had."""
        for _ in range(TRIES):
            found = self._ask(self.steps)
            if found["others"] <= SHARE:
                self.times.append(found["milliseconds"])
                return
            time.sleep(1)
        self.times.append(None)

    def _ask(self, steps: int) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(steps, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    @property
    def median(self) -> float:
        """Milliseconds a step; infinite if no round was quiet."""
        quiet = [t for t in self.times if t is not None]
        return statistics.median(quiet) if quiet else float("inf")


def race(variants: list[Variant], rounds: int) -> list[Variant]:
    """Time all variants, `rounds` times in turn; those that ran."""
    running = [v for v in variants if v.start()]
    for _ in range(rounds):
        for variant in running:
            variant.round()
    for variant in running:
        variant.stop()
    return running


def ratios(slow: Variant, fast: Variant) -> list[float]:
    """How many times as many steps a second `fast` makes, in each round quiet for both."""
    both = zip(slow.times, fast.times, strict=True)
    return sorted(s / f for s, f in both if s is not None and f is not None)


def report(title: str, ours: str, variants: list[Variant]) -> str:
    """A table of medians, and the ratio of our variant to the best of the others."""
    lines = [f"{title}", f"  {'':34} {'ms/step':>9} {'steps/s':>9}   spread of ms/step     rounds"]
    for v in sorted(variants, key=lambda v: v.median):
        quiet = sorted(t for t in v.times if t is not None) or [float("nan")]
        lines.append(
            f"  {v.name:34} {v.median:9.4f} {1e3 / v.median:9.1f}   "
            f"{quiet[0]:9.4f} {quiet[-1]:9.4f}   {len(quiet)} of {len(v.times)}"
        )
    mine = next(v for v in variants if v.name == ours)
    best = min((v for v in variants if v is not mine), key=lambda v: v.median)
    found = ratios(best, mine)
    if not found:
        return "\n".join([*lines, "  no quiet round: run again with nothing else on the machine"])
    lines.append(
        f"  {ours} makes {statistics.median(found):.2f} times the steps of {best.name} "
        f"({found[0]:.2f} to {found[-1]:.2f} over {len(found)} rounds)"
    )
    return "\n".join(lines)
