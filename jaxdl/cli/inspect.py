"""`jaxdl inspect`: show what a run holds, and whether it is intact."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.cli.options import Subcommands


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("inspect", help="show what a run holds, and whether it is intact")
    command.add_argument(
        "place", metavar="DIR", help="a run, one of its checkpoints, or a weight file"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Show what a run, a checkpoint or a weight file holds."""
    from jaxdl.checkpointing.inspection import inspect as tell
    from jaxdl.remote import weights_path

    tell(Path(weights_path(options.place)))
