"""`jaxdl export`: a run to use without jaxdl."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.cli.options import Subcommands, add_finished_run, add_force, check_writable, existing_run
from jaxdl.errors import UserError
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("export", help="write the trained network, to use it elsewhere")
    add_finished_run(command)
    command.add_argument("--output", required=True, metavar="FOLDER", help="the folder to write to")
    add_force(command)
    command.add_argument("--batch", type=int, metavar="N", help="examples of a call (any number)")
    command.add_argument(
        "--torch", action="store_true", help="write the weights under PyTorch's names, too"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Write what a run has learnt, to be used without jaxdl."""
    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch: expected at least 1, got {options.batch}")
    folder, output = existing_run(options.workdir), Path(options.output)
    check_writable(output, "--output")
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.inference.export import export as write

    run = Run(folder, best=options.best, trust=options.trust)
    written = write(run, output, options.batch, options.force, options.torch)
    for way in ("inputs", "outputs"):
        for name, array in written[way].items():
            say(f"{way[:-1]:8} {name}: {array['dtype']}[{', '.join(map(str, array['shape']))}]")
    say(f"step {written['step']:,}, {written['parameters']:,} parameters, is in {output}")
