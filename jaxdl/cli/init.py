"""`jaxdl init`."""

from __future__ import annotations

from jaxdl.cli.options import Subcommands


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
