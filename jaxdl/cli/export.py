"""`jaxdl export`: write a trained network for use without jaxdl."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.cli.options import Subcommands, add_finished_run, add_force, check_writable, home_path
from jaxdl.errors import UserError
from jaxdl.files import existing_run
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("export", help="write the trained network for use without jaxdl")
    add_finished_run(command)
    command.add_argument(
        "--output", type=home_path, required=True, metavar="FOLDER", help="the folder to write to"
    )
    add_force(command)
    command.add_argument("--batch", type=int, metavar="N", help="examples per call (any number)")
    command.add_argument(
        "--torch", action="store_true", help="also write the weights under PyTorch's names"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Write the weights and the program of a run."""
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
    say(f"wrote step {written['step']:,}, {written['parameters']:,} parameters, to {output}")
