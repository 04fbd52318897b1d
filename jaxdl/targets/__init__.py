"""Targets: what a train step would need of TPUs and GPUs that you do not have.

The compilers of both run without a device. `target` names the targets; `compiled` compiles a
config's step and evaluation for them, and `jaxdl.hlo` counts operations and bytes in the result;
`cache` keeps the counts; and `report` says what they mean, by the peaks that makers publish
(`jaxdl.chips`). It may use all rooms but `cli` and `reports`.
"""

from __future__ import annotations

from jaxdl.targets.compiled import Compiled, compile_for
from jaxdl.targets.report import check_targets
from jaxdl.targets.target import Target

__all__ = ["Compiled", "Target", "check_targets", "compile_for"]
