"""Compiles a config's train step and evaluation for chips that you do not have."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.experimental import topologies

from jaxdl.errors import UserError, first_line
from jaxdl.hlo import Program
from jaxdl.targets import cache
from jaxdl.targets.target import Target
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.experiment import Experiment
from jaxdl.training.memory import Memory

# The packages with each compiler.
_COMPILERS = {"tpu": ("libtpu",), "cuda": ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")}
# Options that choose kernels by timing them on a device; without one, XLA takes cuBLAS's.
_WITHOUT_A_DEVICE = {
    "tpu": {},
    "cuda": {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False},
}
# A TPU's compiler then neither asks the network about this machine, nor insists on running alone;
# and what is traced is not for this CPU's oneDNN.
_ALONE = {
    "JAXDL_ONEDNN": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_MIN_LOG_LEVEL": "3",
}
_SCALE = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

Busy = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Compiled:
    """A program as compiled, for one device of several.

    Attributes:
      what: 'train step' or 'evaluation'.
      examples: of a batch, over all devices.
      held: bytes of its arguments.
      work: bytes of work space.
      flops: operand type -> operations of matrix products and convolutions.
      traffic: bytes read from and written to memory.
      collectives: as `Program.collectives`.
      cached: whether it was compiled earlier, and its figures are from the cache.
    """

    what: str
    examples: int
    held: int
    work: int
    flops: Mapping[str, float]
    traffic: float
    collectives: Mapping[tuple[str, str], float]
    cached: bool = False


class TooLarge(Exception):
    """A compiler refused a program that needs more memory than the chip has.

    Args:
      needed: bytes of memory.
      available: bytes that the chip leaves to programs.
    """

    def __init__(self, needed: float, available: float) -> None:
        super().__init__(needed, available)
        self.needed, self.available = needed, available


def prepare() -> None:
    """Prepare this process to compile for other chips, without looking for its own.

    Call it before JAX's first computation.
    """
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")


def require(target: Target) -> None:
    """Refuse a target whose compiler is not installed.

    Raises:
      UserError: with what to install.
    """
    if not any(map(_installed, _COMPILERS[target.platform])):
        raise UserError(
            f"--target {target}: its compiler is not installed; from the checkout, "
            f"pip install -e '.[{target.platform}]'"
        )


def devices(target: Target) -> list[jax.Device]:
    """The devices of a target, which can only be compiled for.

    Raises:
      UserError: the compiler knows no such slice.
    """
    if target.platform == "tpu":
        options = {"topology_name": target.topology, **target.host}
    else:
        options = {"topology": target.topology, "target_config": target.description}
    try:
        topology = topologies.get_topology_desc(platform=target.platform, **options)
    except Exception as error:  # of many types, by the compiler
        raise UserError(f"--target {target}: no such slice ({first_line(error, 200)})") from None
    return list(topology.devices)


def compilable(config: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """The config with 'scan' in place of cuDNN's recurrence, which needs a device to compile."""
    model = config["model"]
    if target.platform != "cuda" or model.get("implementation") != "cudnn":
        return config
    return {**config, "model": {**model, "implementation": "scan"}}


def experiment_on(config: Mapping[str, Any], target: Target) -> Experiment:
    """The experiment of a config on the devices of a target.

    Raises:
      UserError: as `build_experiment` and `check_shapes`.
    """
    experiment = build_experiment(compilable(config, target), devices=devices(target))
    check_shapes(experiment)
    return experiment


def compile_for(
    experiment: Experiment, target: Target, what: str, busy: Busy = lambda what: nullcontext()
) -> Compiled:
    """The train step or the evaluation of an experiment, compiled for the target that it is on.

    What it shows is kept in the user's cache folder, so that the same program is compiled once.

    Args:
      experiment: from `experiment_on`.
      target: its devices.
      what: 'train step' or 'evaluation'.
      busy: shows what is done while a block runs, such as `Progress.busy`.

    Raises:
      TooLarge: the compiler found that it needs more memory than there is.
      UserError: the compiler failed.
    """
    with experiment.precision.enabled():
        with busy(f"tracing the {what}"):
            lowered, examples = _lowered(experiment, what)
            key = cache.key(lowered, target, _WITHOUT_A_DEVICE[target.platform], __file__)
        found = cache.read(key)
        before = found is not None
        if found is None:
            with busy(f"compiling the {what} of {examples:,} examples for {target}"):
                found = _compiled(lowered, target, what)
            cache.write(key, found)
    if too_large := found.get("too_large"):
        raise TooLarge(*too_large)
    flops = {dtype: n / experiment.devices.mesh.size for dtype, n in found["flops"].items()}
    collectives = {(kind, quantity): n for kind, quantity, n in found["collectives"]}
    return Compiled(
        what, examples, found["held"], found["work"], flops, found["traffic"], collectives, before
    )


def with_batch(experiment: Experiment, size: int) -> Experiment:
    """The experiment with training batches of another size."""
    order = replace(
        experiment.order, batch_size=size, examples=max(size, experiment.order.examples)
    )
    return replace(experiment, order=order)


def _lowered(experiment: Experiment, what: str) -> tuple[Any, int]:
    """A program of an experiment before it is compiled, and the examples of its batch."""
    state, placed = experiment.abstract_state, experiment.devices
    if what == "train step":
        batch = experiment.abstract_batch()
        return placed.lowered_step(experiment.step, state, batch), experiment.order.batch_size
    size = experiment.training.eval_batch_size
    carry = jax.eval_shape(lambda state: experiment.fresh_carry(state, size), state)
    carry = None if carry is None else placed.abstract(carry)
    batch = experiment.abstract_eval_batch((*experiment.eval_splits, "train")[0])
    return placed.lowered(experiment.evaluation, replace(state, carry=carry), batch), size


def _compiled(lowered: Any, target: Target, what: str) -> dict[str, Any]:
    """What compiling a program shows, as JSON holds it; FLOPs are those of all devices."""
    try:
        compiled = lowered.compile(_WITHOUT_A_DEVICE[target.platform])
    except jax.errors.JaxRuntimeError as error:
        if sizes := _exceeded(str(error)):
            return {"too_large": sizes}
        raise UserError(
            f"--target {target}: its compiler fails on the {what}: {first_line(error, 300)}"
        ) from None
    memory, program = Memory.of(compiled), Program.of(compiled.as_text())
    # Libraries such as cuDNN hide their arithmetic, so it is counted before they are chosen.
    whole = Program.of(lowered.compiler_ir("hlo").as_hlo_text())
    return {
        "held": memory.held,
        "work": memory.work,
        "flops": whole.flops,
        "traffic": program.traffic,
        "collectives": [[*name, n] for name, n in program.collectives.items()],
    }


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _exceeded(message: str) -> tuple[float, float] | None:
    """The bytes needed and available, from the message of a TPU's compiler; None if it has none."""
    size = r"([\d.]+)([KMGT]?)"
    sizes = re.search(rf"Used {size} of {size} hbm", message)
    sizes = sizes or re.search(rf"\({size}\) exceeds available HBM \({size}\)", message)
    if sizes is None:
        return None
    return float(sizes[1]) * _SCALE[sizes[2]], float(sizes[3]) * _SCALE[sizes[4]]
