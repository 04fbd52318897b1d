"""`jaxdl evaluate`: evaluate a checkpoint, on the run's own data or on other data."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from jaxdl.cli.options import Subcommands, add_finished_run, build, require_split
from jaxdl.errors import UserError, printable
from jaxdl.files import existing_run
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "evaluate",
        help="evaluate the newest checkpoint again, or on other data",
        epilog="--config.data.path=PLACE evaluates on another data set of the same kind, as does "
        "any other key of config.data that says what is read.",
    )
    add_finished_run(command)
    command.add_argument("--split", metavar="NAME", help="the split to evaluate, such as test")
    command.set_defaults(command=run, overrides_run=True)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Evaluate the newest checkpoint again, or on other data."""
    folder = existing_run(options.workdir)
    step, results = (_other if overrides else _own)(options, folder, overrides)
    say(f"step {step:,}")
    for name, value, count in results:
        say(f"{printable(name):24} {value:.6g}   over {count:,} examples")


Results = Iterable[tuple[str, float, int]]  # metric, value, examples


def _own(options: argparse.Namespace, folder: Path, overrides: list[str]) -> tuple[int, Results]:
    """Evaluate on the run's own data and devices, as in training."""
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.training.measure import measure

    run = Run(folder, best=options.best, trust=options.trust)
    try:
        experiment = build(run.config(), resumed=True)
    except UserError as error:
        if str(error).startswith("config.data:"):
            remedy = "if it has moved, say where to: --config.data.path=…"
            raise UserError(f"{error}; {remedy}") from None
        raise
    if options.split is not None:
        _chosen(options.split, experiment.splits)
        training = replace(experiment.training, evaluate=(options.split,))
        experiment = replace(experiment, training=training)
    step, metrics, examples = measure(experiment, run)
    return step, [(k, v, examples[k.partition("/")[0]]) for k, v in metrics.items()]


def _other(options: argparse.Namespace, folder: Path, overrides: list[str]) -> tuple[int, Results]:
    """Evaluate on other data, read as the run's own was."""
    from jaxdl.caches import keep_programs
    from jaxdl.inference.evaluator import other_splits
    from jaxdl.inference.loaded import load

    keep_programs()
    loaded, results = load(folder, best=options.best, trust=options.trust), []
    splits = other_splits(loaded.parts, overrides)
    for split in _chosen(options.split, splits):
        metrics = loaded.evaluate(splits[split]).items()
        numbers = [(name, value) for name, value in metrics if isinstance(value, float)]
        results += [(f"{split}/{name}", value, len(splits[split])) for name, value in numbers]
    return int(loaded.parts.state.step), results


def _chosen(split: str | None, splits: Collection[str]) -> Collection[str]:
    """The requested split; by default all but 'train', or the only one."""
    if split is None:
        return [name for name in splits if name != "train"] or splits
    return [require_split(split, splits)]
