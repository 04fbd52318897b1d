"""`jaxdl sweep`: a grid of runs, with several seeds each, or a search for a good setting."""

from __future__ import annotations

import argparse
import functools
from typing import TYPE_CHECKING

from jaxdl.caches import keep_programs
from jaxdl.cli.options import CONFIG_HELP, Parser, Subcommands, add_trust
from jaxdl.errors import UserError
from jaxdl.files import local_run
from jaxdl.terminal import stream

if TYPE_CHECKING:
    from jaxdl.data import Folds
    from jaxdl.sweeps.search import Search

_GRID = ("seeds", "folds", "folds_by")
# The options of a search -> the kind of search that they belong to; None: they choose the kind.
_SEARCH = {"halving": None, "trials": None, "eta": "halving", "budget": "halving",
           "storage": "trials", "sampler": "trials"}  # fmt: skip


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "sweep",
        help="train a grid of runs, each with several seeds, or search for a good setting",
        description="Train every combination of the given values, each with several seeds, and "
        "print mean ± standard deviation over the seeds. Commas separate values, except inside "
        "brackets and quotes: --config.optimizer.learning_rate.peak=0.1,0.3 has two, and so has "
        "--config.model.hidden=(64,),(64,32); put brackets around a single tuple. To resume, run "
        "it again, or with --workdir alone. Several machines with a shared folder can run the same "
        "sweep: each takes runs that no other has taken. With --draw, search instead: with "
        "--halving in one program, or with --trials of Optuna.",
    )
    command.add_argument("--config", metavar="FILE", help=f"{CONFIG_HELP}; v1,v2 tries both values")
    command.add_argument("--workdir", required=True, metavar="DIR", help="the sweep's directory")
    command.add_argument(
        "--seeds", type=int, metavar="N", help="number of seeds, counting up from the config's (1)"
    )
    command.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cross-validate: K runs, each tested on another fold of the train split",
    )
    command.add_argument(
        "--folds-by",
        metavar="COLUMN",
        help="keep equal values of this column in one fold; 'time': folds of successive examples; "
        "'time:COLUMN': the same within each recording (default: random, stratified by label)",
    )
    _add_search(command)
    add_trust(command)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--together",
        action="store_true",
        default=None,
        help="train all runs that can share a program in one, even where that is slower",
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
        help="train nothing, but print a `jaxdl train` command for each run without a result, "
        "for Slurm or GNU parallel; `jaxdl sweep --workdir DIR` collects the results",
    )
    command.set_defaults(command=run)


def _add_search(command: Parser) -> None:
    group = command.add_argument_group("search", "draw settings and find the best")
    group.add_argument(
        "--draw",
        action="append",
        metavar="KEY=RANGE",
        help="draw a key of the config from low:high, log:low:high, or v1,v2; can be repeated",
    )
    how = group.add_mutually_exclusive_group()
    how.add_argument(
        "--halving",
        type=int,
        metavar="N",
        help="successive halving: N settings at a time in one program; at each rung one in --eta "
        "continues, and new settings replace the others",
    )
    how.add_argument(
        "--trials", type=int, metavar="N", help="N runs with settings chosen by Optuna (an extra)"
    )
    group.add_argument("--eta", type=int, metavar="N", help="one in N continues at each rung (3)")
    group.add_argument(
        "--budget", type=float, metavar="B", help="train as much as B whole runs in all (3 N)"
    )
    group.add_argument(
        "--storage",
        metavar="URL",
        help="where Optuna keeps the study, as an SQLAlchemy URL such as sqlite:///study.db "
        "(default: a file in --workdir)",
    )
    group.add_argument("--sampler", choices=("tpe", "random"), help="Optuna's sampler (tpe)")


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Train a grid of runs with several seeds each, or search; or resume either."""
    keep_programs()
    if any(getattr(options, name) is not None for name in ("draw", *_SEARCH)):
        return _search(options, overrides)
    if options.config is None and (local_run(options.workdir) / "search.json").exists():
        return _search(options, overrides)
    _grid(options, overrides)


def _grid(options: argparse.Namespace, overrides: list[str]) -> None:
    from jaxdl.sweeps.sweep import Sweep
    from jaxdl.sweeps.sweeper import Sweeper
    from jaxdl.training.build import read_config

    asked = None
    if options.config is not None:
        read = functools.partial(read_config, options.config)
        if options.folds is None and options.folds_by is not None:
            raise UserError("--folds-by: needs --folds K")
        folds = None if options.folds is None else _folds(options.folds, options.folds_by)
        asked = Sweep.of(read, overrides, 1 if options.seeds is None else options.seeds, folds)
    for option in _GRID:
        if asked is None and getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise UserError(f"--{name}: needs --config; without it the sweep is resumed unchanged")
    sweeper = Sweeper(options.workdir, asked, options.together, options.trust)
    if not options.commands:
        return sweeper.run()
    if asked is None:
        raise UserError("--commands: needs --config, since the commands repeat it")
    lines = {m.place: asked.command(m, options.config, options.workdir) for m in asked.members}
    for member in sweeper.claim():
        stream(f"{lines[member.place]}\n")


def _search(options: argparse.Namespace, overrides: list[str]) -> None:
    given = [name.replace("_", "-") for name in _GRID if getattr(options, name) is not None]
    given += ["commands"] if options.commands else []
    if options.together is not None:
        given.append("together" if options.together else "in-turn")
    if given:
        raise UserError(f"--{given[0]}: is only for grids, and this is a search; leave it out")
    from jaxdl.sweeps.search import claimed

    folder, search = claimed(options.workdir, _asked(options, overrides), options.trust)
    if search.how == "halving":
        from jaxdl.sweeps.halving import run_halving

        return run_halving(folder, search)
    from jaxdl.sweeps.trials import run_trials

    run_trials(folder, search)


def _asked(options: argparse.Namespace, overrides: list[str]) -> Search | None:
    """The search that the options describe; None for the one in the folder."""
    from jaxdl.sweeps.search import Search
    from jaxdl.training.build import read_config

    given = [name for name in ("draw", *_SEARCH) if getattr(options, name) is not None]
    if options.config is None:
        if given:
            raise UserError(f"--{given[0]}: needs --config; without it the search is resumed")
        return None
    for name, how in _SEARCH.items():
        if how and name in given and getattr(options, how) is None:
            raise UserError(f"--{name}: needs --{how} N")
    size = options.halving if options.trials is None else options.trials
    if size is None:
        raise UserError("--draw: needs --halving N or --trials N, the way to search")
    if size < 1:
        raise UserError(f"--{given[1] if given[0] == 'draw' else given[0]}: expected at least 1")
    budget = options.budget if options.budget is not None else 3.0 * size
    return Search(
        how="halving" if options.trials is None else "trials",
        config=read_config(options.config, overrides),
        draws=tuple(options.draw or ()),
        size=size,
        file=options.config,
        overrides=tuple(overrides),
        eta=3 if options.eta is None else options.eta,
        budget=budget if options.trials is None else 0.0,
        storage=options.storage,
        sampler=options.sampler or "tpe",
    )


def _folds(count: int, by: str | None) -> Folds:
    from jaxdl.data import Folds

    try:
        return Folds(count, by=by)
    except UserError as error:
        raise UserError(f"--folds {count}: {error}") from None
