"""`jaxdl train`: train, or resume."""

from __future__ import annotations

import argparse
import contextlib
import math

from jaxdl.cli.options import Subcommands, add_config, add_trust, add_workdir
from jaxdl.durations import OTHER_UNIT
from jaxdl.errors import UserError
from jaxdl.files import existing_run
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("train", help="train, or resume what is in the workdir")
    add_config(command)
    add_workdir(command)
    command.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT",
        help="train as one of several processes: HOST:PORT of process 0, or nothing under Slurm, "
        "Open MPI and Kubernetes",
    )
    command.add_argument(
        "--processes", type=int, metavar="N", help="the number of processes, with HOST:PORT"
    )
    command.add_argument(
        "--process", type=int, metavar="I", help="the number of this process, 0 to N - 1"
    )
    command.add_argument(
        "--timeout",
        type=int,
        default=600,
        metavar="SECONDS",
        help="exit when other processes have not answered for this long (600)",
    )
    command.add_argument(
        "--extend",
        type=_length,
        metavar="UNIT=N",
        help="train the run in the workdir for longer, to epochs=20 or steps=5000 in total",
    )
    command.add_argument(
        "--profile",
        type=_window,
        metavar="STEP:N",
        help="trace N steps from STEP on, for xprof and TensorBoard",
    )
    add_trust(command)
    command.set_defaults(command=run, overrides_run=True)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Train, or resume what is in the workdir."""
    from jaxdl.inference.conclusion import conclusion
    from jaxdl.parallel import processes
    from jaxdl.training.start import train_workdir

    if options.config is None or options.extend:
        existing_run(options.workdir)
    if options.distributed is None and (options.processes, options.process) != (None, None):
        raise UserError("--processes: needs --distributed HOST:PORT, the address of process 0")
    with contextlib.ExitStack() as stack:
        if options.distributed is not None:
            team = options.distributed, options.processes, options.process, options.timeout
            stack.enter_context(processes.joined(*team))
        result = train_workdir(
            options.workdir,
            options.config,
            overrides,
            trust=options.trust,
            extend=options.extend,
            profile=options.profile,
        )
        if processes.leads():
            metrics, sentences = conclusion(result)
            for name, value in metrics.items():
                say(f"{name:24} {value}")
            for sentence in (*sentences, f"everything is in {options.workdir}"):
                say(sentence)


def _window(text: str) -> tuple[int, int]:
    start, colon, length = text.partition(":")
    if not (colon and start.isdecimal() and length.isdecimal() and int(length) > 0):
        raise argparse.ArgumentTypeError(f"expected STEP:N, such as 100:10, got {text!r}")
    return int(start), int(length)


def _length(text: str) -> dict[str, float]:
    unit, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if unit not in OTHER_UNIT or not 0 < value < math.inf or (unit == "steps" and value % 1):
        raise argparse.ArgumentTypeError(f"expected epochs=N or steps=N, got {text!r}")
    return {unit: int(value) if value % 1 == 0 else value}
