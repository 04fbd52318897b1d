"""Reports what a compiled program needs: memory, arithmetic, traffic, network, and what binds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from jaxdl.chips import GIB, Chip
from jaxdl.data import LazyImages, Table
from jaxdl.errors import UserError, some
from jaxdl.optim import LeastSquares
from jaxdl.targets import compiled as compilers
from jaxdl.targets.compiled import Busy, Compiled, TooLarge, compile_for, with_batch
from jaxdl.targets.target import Target
from jaxdl.terminal import say
from jaxdl.training.check import report_placement
from jaxdl.training.experiment import Experiment
from jaxdl.training.memory import mib
from jaxdl.training.state import count

_BATCHES = {"train step": "batch_size", "evaluation": "eval_batch_size"}
# Images a second and core of a server: crops to 224 pixels from JPEGs whose shorter side is 256
# (experiments/SPEED.md, "The image pipeline").
DECODED = 3_000
_CLOSE = 1.1  # how near to the largest batch that fits the search comes, as a ratio


@dataclass(frozen=True)
class Roofline:
    """The least seconds that a program can take (Williams et al. 2009): each part alone.

    Attributes:
      arithmetic: of its matrix products and convolutions.
      memory: to move its bytes.
      network: to send its bytes to other chips.
    """

    arithmetic: float
    memory: float
    network: float

    @classmethod
    def of(cls, program: Compiled, chip: Chip) -> Roofline:
        """The bounds of a program on a chip."""
        sent = sum(n for (_, quantity), n in program.collectives.items() if quantity == "sent")
        return cls(
            chip.seconds(program.flops), program.traffic / chip.bandwidth, sent / chip.network
        )

    @property
    def seconds(self) -> float:
        """The largest of the three: no program is faster, even if they overlap."""
        return max(self.arithmetic, self.memory, self.network)

    @property
    def binds(self) -> str:
        """Which of the three it is."""
        return max(vars(self), key=vars(self).__getitem__)


def check_targets(
    config: Mapping[str, Any],
    targets: Sequence[Target],
    say: Callable[[str], None] = say,
    busy: Busy = lambda what: nullcontext(),
) -> None:
    """Compile a config's train step and evaluation for each target, and say what they take.

    Args:
      config: as `jaxdl.training.build.read_config` gives it.
      targets: all of them are reported, also after one that is too small.
      say: prints a line.
      busy: shows what is done while a block runs, such as `Progress.busy`.

    Raises:
      UserError: a compiler is missing or fails, the config cannot be on a target, or it does not
        fit into its memory.
    """
    for target in targets:
        compilers.require(target)
    compilers.prepare()
    faults: list[str] = []
    for target in targets:
        chip = target.chip
        rate = chip.flops[16] / 1e12
        say(
            f"target      {target}: {target.number:,} x {chip.memory / GIB:.1f} GiB, {rate:,.0f} "
            f"TFLOP/s in bfloat16, {chip.bandwidth / 1e9:,.0f} GB/s; {chip.source}"
        )
        experiment = compilers.experiment_on(config, target)
        say(f"parameters  {count(experiment.abstract_state.params):,}")
        report_placement(experiment, say)
        if compilers.compilable(config, target) is not config:
            say("recurrence  as 'scan', since cuDNN's can only be compiled on a GPU")
        for what in _BATCHES:
            faults += _tell(experiment, target, what, say, busy)
    if faults:
        raise UserError(some(faults))


def _tell(
    experiment: Experiment, target: Target, what: str, say: Callable[[str], None], busy: Busy
) -> Iterator[str]:
    """Tell of a program, and give what is at fault with it."""
    memory = target.chip.memory
    try:
        program = compile_for(experiment, target, what, busy)
    except TooLarge as error:
        needed, memory = error.needed, error.available
    else:
        for line in lines(program, target.chip, experiment.devices.mesh.size):
            say(line)
        train = experiment.splits["train"]
        if what == "train step" and (needed_of_host := decoding(program, target, train)):
            say(needed_of_host)
        needed = program.held + program.work
    if needed <= memory:
        return
    say(f"{what:10}  needs {mib(needed)} per chip, {mib(needed - memory)} too much")
    key = f"config.training.{_BATCHES[what]}"
    remedy = "lower it"
    if what == "train step" and not isinstance(experiment.optimizer, LeastSquares):
        share = experiment.devices.share(experiment.abstract_state)
        # What is not state grows with the batch, and not quite evenly.
        scale = 0.95 * max(0, memory - share) / max(1, needed - share)
        size = _largest(experiment, target, scale, busy)
        remedy = (
            f"the largest that fits is about {size:,}; or set config.training.accumulate"
            if size
            else "not even the smallest fits; use larger chips, or more with config.placement=fsdp"
        )
    yield f"--target {target}: {key} needs {mib(needed)} of {mib(memory)}; {remedy}"


def lines(program: Compiled, chip: Chip, chips: int) -> list[str]:
    """What there is to say of a program that was compiled for so many chips."""
    bounds, examples = Roofline.of(program, chip), program.examples
    needed = program.held + program.work
    fits = f"fits into {chip.memory / GIB:.1f} GiB" if needed <= chip.memory else "does not fit"
    share = examples / chips  # of a chip
    flops, kinds = sum(program.flops.values()), _kinds(program.collectives)
    times = ", ".join(f"{name} {1e3 * value:,.3g} ms" for name, value in vars(bounds).items())
    rate = f"{examples / bounds.seconds:,.0f}" if bounds.seconds else "any number of"
    return [
        f"{program.what} of {examples:,} examples{', from the cache' * program.cached}",
        f"  memory    {mib(program.held)} of arguments and {mib(program.work)} of work space per "
        f"chip: {fits}",
        f"  takes     {flops / share / 1e6:,.3f} MFLOP and {program.traffic / share / 1e6:,.3f} MB "
        "of memory traffic per example",
        f"  network   {kinds or 'no traffic'}",
        f"  at least  {times}: {bounds.binds} binds, at most {rate} examples/s",
    ]


def decoding(program: Compiled, target: Target, train: Table) -> str | None:
    """What each machine must decode so that its chips never wait; None where nothing is decoded."""
    seconds = Roofline.of(program, target.chip).seconds
    if not seconds or not any(isinstance(column, LazyImages) for column in train.columns.values()):
        return None
    rate = program.examples / seconds / target.machines
    whose = f"each of {target.machines:,} machines" if target.machines > 1 else "the machine"
    cores = math.ceil(rate / DECODED)
    return (
        f"  input     at that rate {whose} must decode {rate:,.0f} images/s: about {cores:,} "
        f"core{'s' * (cores > 1)} of {DECODED:,} images/s, if shorter sides are 256 pixels"
    )


def _kinds(collectives: Mapping[tuple[str, str], float]) -> str:
    kinds = dict.fromkeys(kind for kind, _ in collectives)
    return ", ".join(
        f"{collectives[kind, 'count']:,.0f} {kind} of {mib(collectives[kind, 'bytes'])}"
        for kind in kinds
    )


def _largest(experiment: Experiment, target: Target, scale: float, busy: Busy) -> int:
    """About the largest batch of a train step that fits, 0 if none; a guess is `scale` of it."""
    unit = experiment.devices.mesh.shape["data"] * experiment.training.accumulate

    def fits(units: int) -> bool:
        size = units * unit
        try:
            program = compile_for(with_batch(experiment, size), target, "train step", busy)
        except TooLarge:
            return False
        return program.held + program.work <= target.chip.memory

    units = experiment.order.batch_size // unit
    return unit * largest(units, fits, int(units * scale))


def largest(too_many: int, fits: Callable[[int], bool], guess: int) -> int:
    """About the largest number below `too_many` that fits, 0 if none does; from a guess on."""
    low, high = 0, too_many
    while high - low > 1 and (low == 0 or high > _CLOSE * low):
        middle = min(max(guess, low + 1), high - 1)
        if fits(middle):
            low, guess = middle, min(int(_CLOSE * middle), (middle + high) // 2)
        else:
            high, guess = middle, (low + middle) // 2
    return low
