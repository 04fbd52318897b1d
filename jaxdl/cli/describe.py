"""`jaxdl describe`: explain what a config can hold."""

from __future__ import annotations

import argparse

from jaxdl.cli.options import Subcommands
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("describe", help="explain the keys of a config and their values")
    command.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="such as resnet, config.training or my_models:Net; without one, list them all",
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """List all that a config can name, or describe some of it."""
    from jaxdl.training.describe import describe, overview

    for i, name in enumerate(options.names):
        if i:
            say()
        for line in describe(name):
            say(line)
    for line in () if options.names else overview():
        say(line)
