"""Targets: what a train step would take of TPUs and GPUs that are not there.

The compilers of both run without a device. So `chips` names what can be asked for; `compiled`
compiles a config's step and evaluation for it, and `jaxdl.hlo` counts in what was compiled; `kept`
keeps the counts for the next time; and `report` says what they mean, by the peaks that makers
publish (`jaxdl.chips`). It may use all rooms but the command line's.
"""

from __future__ import annotations

from jaxdl.targets.chips import CHIPS, Chip, Target
from jaxdl.targets.compiled import Compiled, compile_for
from jaxdl.targets.report import check_targets

__all__ = ["CHIPS", "Chip", "Compiled", "Target", "check_targets", "compile_for"]
