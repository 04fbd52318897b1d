"""`jaxdl train`: train, or resume."""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path
from typing import Any

from jaxdl.caches import keep_programs
from jaxdl.cli.options import Subcommands, add_config, add_trust, add_workdir, existing_run
from jaxdl.durations import OTHER_UNIT
from jaxdl.errors import UserError, printable
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
        help="be one of several processes; without an address as Slurm, Open MPI, Kubernetes say",
    )
    command.add_argument("--processes", type=int, metavar="N", help="how many, with an address")
    command.add_argument("--process", type=int, metavar="I", help="which one this is, 0 to N - 1")
    command.add_argument(
        "--patience", type=int, default=600, metavar="SECONDS", help="end where others hang (600)"
    )
    command.add_argument(
        "--extend",
        type=_length,
        metavar="UNIT=N",
        help="make the run in the workdir so long in all: epochs=20, or steps=5000",
    )
    command.add_argument(
        "--profile",
        type=_window,
        metavar="STEP:N",
        help="trace N steps from a step on, for xprof and TensorBoard, to the run directory",
    )
    add_trust(command)
    command.set_defaults(command=run, overrides_run=True)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Train, or resume what is in the workdir."""
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.parallel import processes
    from jaxdl.training.build import overridden, read_config
    from jaxdl.training.start import train_run

    if options.config is None or options.extend:
        existing_run(options.workdir)
    with contextlib.ExitStack() as stack:
        if options.distributed is None and (options.processes, options.process) != (None, None):
            raise UserError("--processes: needs --distributed HOST:PORT, the address of process 0")
        if options.distributed is not None:
            team = options.distributed, options.processes, options.process, options.patience
            stack.enter_context(processes.joined(*team))
        keep_programs()
        run = Run(options.workdir, processes.leads(), trust=options.trust)
        stack.enter_context(run.locked())
        if options.config:
            config = read_config(options.config, overrides)
        else:
            config = overridden(run.config(), overrides)
        result, before = train_run(config, run, options.extend, options.profile)
        if processes.leads():
            if before:
                say(f"{options.workdir}: finished before; this is its result")
            _conclude(result, run.folder)


def _conclude(result: dict[str, Any], folder: Path) -> None:
    """The final metrics, and whether the published target was met."""
    from jaxdl.tasks.detection_base import MEANING

    for name, value in result["metrics"].items():
        say(f"{printable(name):24} {'nan' if value is None else format(value, '.6g')}")
    counted = ", ".join(f"{count:,} {split}" for split, count in result["examples"].items())
    counted = f"evaluated {counted} examples" if counted else "no split was evaluated"
    say(
        f"{counted} at step {result['step']:,}; "
        f"{result['examples_per_second']:,.0f} training examples/s"
    )
    if stopped := result.get("stopped_early"):
        said, best = f"stopped early, at step {stopped['step']:,} of {stopped['of_steps']:,}", ""
        if kept := result["best"]:
            named = printable(kept["metric"])
            best = f"; the best, {named} {kept['value']:.6g} at step {kept['step']:,}, is --best"
        say(f"{said}, after {stopped['patience']} evaluations without a better one{best}")
    if any(name.endswith("/AP") for name in result["metrics"]):
        say(MEANING)
    target = result["target"]
    if target:
        verdict = "met" if result["met"] else "NOT met"
        say(f"target {target['metric']} {target['value']:g} ({target['source']}): {verdict}")
    say(f"everything is in {folder}")


def _window(text: str) -> tuple[int, int]:
    start, colon, length = text.partition(":")
    if not (colon and start.isdecimal() and length.isdecimal() and int(length) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not such as 100:10, ten steps from step 100")
    return int(start), int(length)


def _length(text: str) -> dict[str, float]:
    unit, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if unit not in OTHER_UNIT or not 0 < value < math.inf or (unit == "steps" and value % 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not such as epochs=20 or steps=5000")
    return {unit: int(value) if value % 1 == 0 else value}
