"""`jaxdl list`: the shipped configs, in the order of the lecture."""

from __future__ import annotations

import argparse

from jaxdl import config as cfg
from jaxdl.cli.options import Subcommands
from jaxdl.configs import LECTURE, shipped, summary
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("list", help="the shipped configs and their targets")
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Print the shipped configs, what each reproduces, and its target."""
    paths = shipped()
    for number, (chapter, names) in enumerate(LECTURE.items(), 1):
        say(f"{number}  {chapter}")
        for name in names:
            say(f"   {name:22} {summary(name)}")
            if target := cfg.read(str(paths[name])).get("target"):
                sign = "at most" if target.get("smaller") else "at least"
                say(
                    f"   {'':22} {target['metric']} {sign} {target['value']:g} ({target['source']})"
                )
