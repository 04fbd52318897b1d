"""`jaxdl evaluate`: the metrics again, from a checkpoint."""

from __future__ import annotations

import argparse

from jaxdl.cli.options import Subcommands, add_finished_run, build, existing_run
from jaxdl.errors import printable
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("evaluate", help="measure the newest checkpoint again")
    add_finished_run(command)
    command.set_defaults(command=run, overrides_run=True)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Measure the newest checkpoint again."""
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.training.build import read_run_config
    from jaxdl.training.continuation import lasting
    from jaxdl.training.measure import measure

    folder = existing_run(options.workdir)
    run = Run(folder, best=options.best, trust=options.trust)
    config = read_run_config(run, overrides)
    run.check_claim(config, lasting)  # its data may lie elsewhere
    step, metrics, examples = measure(build(config, resumed=True), run)
    say(f"step {step:,}")
    for name, value in metrics.items():
        counted = f"over {examples[name.partition('/')[0]]:,} examples"
        say(f"{printable(name):24} {value:.6g}   {counted}")
