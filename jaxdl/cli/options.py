"""Options that several commands share, and checks of the paths given to them."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jaxdl import __version__
from jaxdl.errors import UserError, brief, suggestion
from jaxdl.files import local, special
from jaxdl.terminal import complain, say

if TYPE_CHECKING:
    from jaxdl.training.experiment import Experiment


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with 2."""
        complain(f"{message}; see {self.prog} --help", self.prog)
        raise SystemExit(2)


class Version(argparse.Action):
    """Prints the versions of jaxdl, Python, and the libraries that a run's numbers depend on."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> NoReturn:
        """Print them, and exit; nothing is imported, so it takes no time."""
        from importlib.metadata import version

        libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "flax", "optax"))
        say(f"jaxdl {__version__} (Python {platform.python_version()}, {libraries})")
        parser.exit()


Subcommands = argparse._SubParsersAction  # of the main parser
PICTURES = (".png", ".pdf", ".svg")  # suffixes of figure files

CONFIG_HELP = (
    "a config file, or the name of a shipped one; --config.key.sub=value sets a key of it, and "
    "can be repeated"
)


def require_split(name: str, splits: Collection[str]) -> str:
    """The requested split.

    Raises:
      UserError: the data has none of this name.
    """
    if name not in splits:
        told = suggestion(name, splits, "the data has")
        raise UserError(f"--split: unknown {brief(name)}; {told}")
    return name


def add_config(command: Parser, *, required: bool = False) -> None:
    """Add `--config`."""
    command.add_argument("--config", required=required, metavar="FILE", help=CONFIG_HELP)


def add_workdir(command: Parser, *, required: bool = True) -> None:
    """Add `--workdir`, of one run."""
    command.add_argument("--workdir", required=required, metavar="DIR", help="the run directory")


def add_trust(command: Parser) -> None:
    """Add `--trust`."""
    command.add_argument(
        "--trust",
        action="append",
        default=[],
        type=_module_name,
        metavar="MODULE",
        help="run code of this module if the config of the run names it; can be repeated",
    )


def add_force(command: Parser) -> None:
    """Add `--force`."""
    command.add_argument("--force", action="store_true", help="overwrite what exists")


def add_finished_run(command: Parser) -> None:
    """Add the options that choose a checkpoint: `--workdir`, `--best` and `--trust`."""
    add_workdir(command)
    command.add_argument(
        "--best",
        action="store_true",
        help="use the best checkpoint, by config.training.best, not the newest",
    )
    add_trust(command)


def build(config: dict[str, Any], *, resumed: bool = False) -> Experiment:
    """Build the experiment of a config; compiled programs are cached for the next command."""
    from jaxdl.caches import keep_programs
    from jaxdl.training.build import build_experiment

    keep_programs()
    return build_experiment(config, resumed=resumed)


def home_path(text: str) -> str:
    """The path of an option, whose ~ a shell leaves as it is after `=`."""
    return os.path.expanduser(text)


def check_writable(folder: Path, option: str = "--workdir") -> None:
    """Refuse a directory that cannot be written or created, without creating it."""
    local(folder)
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{option} {folder}: cannot be written ({existing}); choose another")


def check_creatable(
    file: str, option: str, suffixes: Sequence[str] = (), force: bool = False
) -> None:
    """Refuse a file that cannot be written, or that exists, unless `force`; write nothing."""
    check_writable(Path(file).parent, option)
    if Path(file).is_dir():
        raise UserError(f"{option} {file}: is a directory; name a file")
    if kind := special(Path(file)):
        raise UserError(f"{option} {file}: is {kind}; name a plain file")
    if suffixes and Path(file).suffix not in suffixes:
        raise UserError(f"{option} {file}: name a file that ends in {' or '.join(suffixes)}")
    if os.path.lexists(file) and not force:  # a dangling link would be written through, too
        raise UserError(f"{option} {file}: exists; choose another, or overwrite it with --force")


def _module_name(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a module, such as my_models")
    return text
