"""`jaxdl verify`: check that the result of a run stands."""

from __future__ import annotations

import argparse
import math

from jaxdl.cli.options import Subcommands, add_trust
from jaxdl.files import existing_run
from jaxdl.terminal import say

_MARKS = {True: "ok", False: "WRONG", None: ""}


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "verify",
        help="evaluate a finished run again, and check that its result stands",
        epilog="The exit status is 0 if the result stands, 1 if it does not, and 2 if it cannot be "
        "checked, for example because the data is missing.",
    )
    command.add_argument("workdir", metavar="RUN", help="the directory of a run")
    command.add_argument(
        "--tolerance",
        type=_share,
        default=1e-5,
        metavar="SHARE",
        help="the relative difference allowed in a metric (1e-5); 0 allows none",
    )
    add_trust(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Evaluate a finished run again, and check that its result stands."""
    folder = existing_run(options.workdir)
    from jaxdl.caches import keep_programs
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.reports.verify import verify

    keep_programs()
    findings = []
    for finding in verify(Run(folder, trust=options.trust), options.tolerance):
        findings.append(finding)
        say(f"{finding.part:12} {_MARKS[finding.stands]:6} {finding.text}")
    if any(finding.stands is False for finding in findings):
        say(f"the result of {folder} does NOT stand")
        raise SystemExit(1)
    say(f"the result of {folder} stands")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(
            f"expected a number from 0 to 1, such as 1e-5, got {text!r}"
        )
    return value
