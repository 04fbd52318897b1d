"""`jaxdl compare`: compare runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.cli.options import PICTURES, Subcommands, add_force, check_creatable, home_path
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("compare", help="compare the configs, results and curves of runs")
    command.add_argument("runs", nargs="+", metavar="RUN", help="a run, or a sweep")
    command.add_argument(
        "--figure", type=home_path, metavar="FILE", help="draw their curves (.png, .svg, .pdf)"
    )
    command.add_argument(
        "--metric", metavar="NAME", help="the metric to draw, such as test/accuracy"
    )
    add_force(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Print the differences between runs, and draw their curves."""
    if options.figure:
        check_creatable(options.figure, "--figure", PICTURES, options.force)
    from jaxdl.figures import save
    from jaxdl.reports.compare import curves, lines
    from jaxdl.reports.saved_runs import chosen_metric, runs_of

    runs = runs_of(options.runs)
    metric = chosen_metric(runs, options.metric) if options.figure or options.metric else ""
    for line in lines(runs):
        say(line)
    if options.figure:
        save(curves(runs, metric), Path(options.figure))
