"""`jaxdl sweep`: a grid of runs, with several seeds each."""

from __future__ import annotations

import argparse
import functools
from typing import TYPE_CHECKING

from jaxdl.caches import keep_programs
from jaxdl.cli.options import CONFIG_HELP, Subcommands, add_trust
from jaxdl.errors import UserError
from jaxdl.terminal import stream

if TYPE_CHECKING:
    from jaxdl.data import Folds


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "sweep",
        help="train a grid of runs, each with several seeds",
        description="Train every combination of the given values, each with several seeds, and "
        "print mean ± standard deviation over the seeds. --config.optimizer.learning_rate.peak=0.1,"
        "0.3 has two values: commas separate, except inside brackets and quotes, so "
        "--config.model.hidden=(64,),(64,32) has two as well, and a single tuple stands in "
        "brackets. Run it again, or with --workdir alone, to resume; run it on several machines at "
        "once, with one folder for all, and each takes runs that no other has.",
    )
    command.add_argument("--config", metavar="FILE", help=f"{CONFIG_HELP}; v1,v2 tries both values")
    command.add_argument("--workdir", required=True, metavar="DIR", help="the sweep's directory")
    command.add_argument(
        "--seeds", type=int, metavar="N", help="seeds of each, from the config's upwards (1)"
    )
    command.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cross-validate: a run for each of K folds of the train split, its test split",
    )
    command.add_argument(
        "--folds-by",
        metavar="COLUMN",
        help="keep equal values of this column in one fold, or 'time': folds of successive "
        "examples (by default at random, stratified by label)",
    )
    add_trust(command)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--together",
        action="store_true",
        default=None,
        help="train in one program whatever can be, not only what is faster so",
    )
    how.add_argument(
        "--in-turn",
        action="store_false",
        dest="together",
        help="train one run after the other",
    )
    how.add_argument(
        "--commands",
        action="store_true",
        help="train nothing, but print a `jaxdl train` command for each run without a result, as "
        "for Slurm or GNU parallel; `jaxdl sweep --workdir DIR` collects the results",
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Train a grid of runs with several seeds each, or what is missing of it."""
    keep_programs()
    from jaxdl.sweeps.grid import Sweep
    from jaxdl.sweeps.sweep import Sweeper
    from jaxdl.training.build import read_config

    asked = None
    if options.config is not None:
        read = functools.partial(read_config, options.config)
        if options.folds is None and options.folds_by is not None:
            raise UserError("--folds-by: needs --folds K")
        folds = None if options.folds is None else _folds(options.folds, options.folds_by)
        asked = Sweep.of(read, overrides, 1 if options.seeds is None else options.seeds, folds)
    for option in ("seeds", "folds", "folds_by"):
        if asked is None and getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise UserError(f"--{name}: needs --config; without it a sweep is resumed as it was")
    sweeper = Sweeper(options.workdir, asked, options.together, options.trust)
    if not options.commands:
        return sweeper.run()
    if asked is None:
        raise UserError("--commands: needs --config, which the commands name")
    lines = {m.place: asked.command(m, options.config, options.workdir) for m in asked.members}
    for member in sweeper.claim():
        stream(f"{lines[member.place]}\n")


def _folds(count: int, by: str | None) -> Folds:
    from jaxdl.data import Folds

    try:
        return Folds(count, by=by)
    except UserError as error:
        raise UserError(f"--folds {count}: {error}") from None
