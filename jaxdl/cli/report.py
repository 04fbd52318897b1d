"""`jaxdl report`: an HTML page about runs or a sweep."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.cli.options import Subcommands, add_force, check_creatable, home_path
from jaxdl.errors import some
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("report", help="write an HTML page about runs or a sweep")
    command.add_argument("runs", nargs="+", metavar="RUN", help="a run, or a sweep")
    command.add_argument(
        "--output", type=home_path, required=True, metavar="FILE", help="the page (.html)"
    )
    command.add_argument("--title", metavar="TEXT", help="the page's heading (the runs' names)")
    command.add_argument(
        "--metric", metavar="NAME", help="the metric to draw, such as test/accuracy"
    )
    add_force(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Write the page."""
    check_creatable(options.output, "--output", (".html",), options.force)
    from jaxdl.files import make_parent, replace_text
    from jaxdl.reports.page import page
    from jaxdl.reports.saved_runs import runs_of

    runs = runs_of(options.runs)
    names = some([each.name for each in runs], between=", ")
    sweeps = [Path(name) for name in options.runs if (Path(name) / "sweep.json").exists()]
    text = page(runs, options.title or names, options.metric, sweeps)
    replace_text(make_parent(Path(options.output)), text)
    number = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    say(f"{number}, {len(text) / 2**20:.1f} MiB: {options.output}")
