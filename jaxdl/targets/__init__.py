"""Targets: what a train step would need of TPUs and GPUs that you do not have.

The compilers of both run without a device. `chips` names the targets; `compiled` compiles a
config's step and evaluation for them, and `jaxdl.hlo` counts operations and bytes in the result;
`cache` keeps the counts; and `report` says what they mean, by the peaks that makers publish
(`jaxdl.chips`). It may use all rooms but the command line's.
"""

from __future__ import annotations

from jaxdl.targets.chips import CHIPS, Chip, Target
from jaxdl.targets.compiled import Compiled, compile_for
from jaxdl.targets.report import check_targets

__all__ = ["CHIPS", "Chip", "Compiled", "Target", "check_targets", "compile_for"]
