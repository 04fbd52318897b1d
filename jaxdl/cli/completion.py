"""`jaxdl completion`: a script for shell completion."""

from __future__ import annotations

import argparse
import dataclasses

from jaxdl.cli.options import Subcommands
from jaxdl.terminal import stream

# Metavars that stand for paths.
_PATHS = frozenset({"DATA", "DIR", "FILE", "FOLDER", "IMAGE", "INPUT", "PLACE", "RUN"})
SHELLS = {  # where each looks for the script
    "bash": "jaxdl completion bash > ~/.local/share/bash-completion/completions/jaxdl",
    "zsh": "jaxdl completion zsh > _jaxdl in a folder of $fpath",
    "fish": "jaxdl completion fish > ~/.config/fish/completions/jaxdl.fish",
}


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "completion",
        help="print a shell completion script",
        description=f"Print a script for a shell: {'; '.join(SHELLS.values())}.",
    )
    command.add_argument("shell", choices=[*SHELLS])
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Print the script."""
    import shtab

    from jaxdl.training.describe import names

    for command in _commands(options.parser).values():
        for action in command._actions:
            if action.metavar in _PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            if action.dest == "names":
                action.choices = names()
            if action.dest == "config":
                action.complete = _configs()  # type: ignore[attr-defined]
                _add_keys(command)
    stream(shtab.complete(options.parser, options.shell))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    subcommands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(subcommands.choices)


def _configs() -> dict[str, object]:
    """What completes `--config`: the names of the shipped configs, and Python files."""
    from jaxdl.configs import shipped

    names = " ".join(shipped())
    bash = f'compgen -W "{names}" -- "$1"; compgen -f -X "!*.py" -- "$1"; compgen -d -- "$1"'
    zsh = f"""_alternative "names:shipped config:({names})" "files:file:_files -g '*.py'\""""
    fish = f"""string split ' ' '{names}'; __fish_complete_path (commandline -ct)"""
    return {
        "bash": "_jaxdl_configs",
        "zsh": "_jaxdl_configs",
        "fish": "(_jaxdl_configs)",
        "preamble": {
            "bash": f"_jaxdl_configs() {{ {bash}; }}",
            "zsh": f"_jaxdl_configs() {{ {zsh} }}",
            "fish": f"function _jaxdl_configs; {fish}; end",
        },
    }


def _add_keys(command: argparse.ArgumentParser) -> None:
    """Add `--config.key` for the keys that every config can have."""
    from jaxdl.config import parameters
    from jaxdl.signatures import documentation
    from jaxdl.training.describe import groups

    for path, group in groups().items():
        for key in parameters(group) if dataclasses.is_dataclass(group) else ():
            if f"{path}.{key}" not in groups():
                about = documentation(group).arguments.get(key, "")
                command.add_argument(f"--{path}.{key}", help=about.replace("%", "%%"))
