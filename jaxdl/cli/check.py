"""`jaxdl check`: check a config before training."""

from __future__ import annotations

import argparse
import os

from jaxdl.cli.options import Subcommands, add_config, add_workdir, build, check_writable
from jaxdl.files import local_run
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("check", help="check a config before training")
    add_config(command, required=True)
    add_workdir(command, required=False)
    command.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="CHIPS",
        help="compile for chips that you do not have, and report memory, network and speed: "
        "tpu:v5e:2x4, cuda:h100:8; separate several by commas",
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Check a config, or compile it for the targets."""
    if options.target:  # read when JAX is imported: print the compilers' errors only
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from jaxdl.training.build import read_config

    config = read_config(options.config, overrides, small_twin=False)
    if options.workdir is not None:
        check_writable(local_run(options.workdir))
    if options.target:
        from jaxdl.progress import Progress
        from jaxdl.targets import Target, check_targets

        targets = [Target.of(word.strip()) for word in ",".join(options.target).split(",")]
        progress = Progress(0, 0)
        return check_targets(config, targets, progress.say, progress.busy)
    from jaxdl.training.check import check as run_check

    run_check(build(config))
    say("ready to train")
