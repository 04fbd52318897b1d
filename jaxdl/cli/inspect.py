"""`jaxdl inspect`: what is in a run, and whether it is sound."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.cli.options import Subcommands


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("inspect", help="tell what is in a run, and whether it is sound")
    command.add_argument(
        "place", metavar="DIR", help="a run, one of its checkpoints, or a weight file"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Tell what is in a run, a checkpoint or a weight file."""
    from jaxdl.checkpointing.inspection import inspect as tell
    from jaxdl.remote import weights_path

    tell(Path(weights_path(options.place)))
