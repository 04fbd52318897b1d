"""How fast a run trains: examples and operations a second, and the share of the chips' peak."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxdl.chips import Chip, chip_of
from jaxdl.hlo import Program
from jaxdl.parallel.mesh import Devices

# Calls whose operations cannot be read from the program: cuDNN's, and kernels. oneDNN's can.
_LIBRARY = re.compile(
    r'custom_call_target="(?!jaxdl_onednn_)[^"]*(jaxdl|dnn|blas|triton|mosaic|tpu_custom)', re.I
)

_log = logging.getLogger("jaxdl")


@dataclass(frozen=True)
class Arithmetic:
    """The floating-point operations of a train step: matrix products and convolutions.

    They are counted in the program before XLA optimises it, over all devices. Loops count as often
    as they run; of branches (buckets, progressive sizes) the most expensive counts. What `remat`
    computes twice counts twice.

    Attributes:
      flops: type of the operands, as HLO calls it -> operations.
      devices: the number of devices that share them.
      chip: the kind of device; None if its peak is not known.
    """

    flops: Mapping[str, float]
    devices: int
    chip: Chip | None

    @classmethod
    def of(cls, lowered: Any, devices: Devices) -> Arithmetic | None:
        """The arithmetic of a lowered train step; None if it cannot be read.

        That is the case with `pmap`, and if a library such as cuDNN computes instead of XLA.
        """
        if devices.parallel == "pmap":
            return None
        try:
            text = lowered.compiler_ir("hlo").as_hlo_text()
            if _LIBRARY.search(text):
                return None
            flops = Program.of(text).flops
        except Exception as error:  # the text is XLA's, and may change
            _log.debug("flops: %r", error)
            return None
        kind = devices.mesh.devices.flat[0].device_kind
        return cls(flops, devices.mesh.size, chip_of(kind)) if flops else None

    def per_example(self, examples: int) -> str:
        """`1.234 MFLOP per training example`, for steps of this many examples."""
        mega = sum(self.flops.values()) / examples / 1e6
        return f"{mega:,.3f} MFLOP per training example"

    def rates(self, steps_per_second: float) -> dict[str, float]:
        """`flops_per_second` of all devices, and `mfu`, the share of their published peak.

        MFU as Chowdhery et al. (2022, PaLM, appendix B) define it, of the operations above, each
        held against the peak for its type.
        """
        rates = {"flops_per_second": sum(self.flops.values()) * steps_per_second}
        if self.chip is not None:
            rates["mfu"] = self.chip.seconds(self.flops) / self.devices * steps_per_second
        return rates


class Speed:
    """The speed of training between two evaluations.

    Args:
      batch_size: examples of a step.

    Attributes:
      arithmetic: of a step, once it is known.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size, self.arithmetic = batch_size, None
        self._step, self._seconds, self._waited = 0, 0.0, 0.0

    arithmetic: Arithmetic | None

    def restart(self, step: int) -> None:
        """Training begins at a step."""
        self._step = step

    def since(self, step: int, seconds: float, waited: float) -> dict[str, float]:
        """The rates since the last call; empty if no step was made.

        Args:
          step: number of updates made.
          seconds: of training so far.
          waited: seconds of these that were spent waiting for data.
        """
        steps, passed = step - self._step, seconds - self._seconds
        if steps <= 0 or passed <= 0:
            return {}
        rates = {
            "examples_per_second": steps * self._batch_size / passed,
            "data_wait_share": min(1.0, max(0.0, (waited - self._waited) / passed)),
        }
        self._step, self._seconds, self._waited = step, seconds, waited
        return rates | (self.arithmetic.rates(steps / passed) if self.arithmetic else {})
