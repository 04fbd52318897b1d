"""The entry of the command line: `jaxdl COMMAND …`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from jaxdl.cli import (
    check,
    compare,
    completion,
    describe,
    evaluate,
    explain,
    export,
    init,
    inspect,
    list_configs,
    predict,
    report,
    sample,
    sweep,
    train,
    verify,
)
from jaxdl.cli.options import Parser, Version
from jaxdl.errors import UserError
from jaxdl.files import FULL, refused
from jaxdl.runtime import keep_freed_memory
from jaxdl.terminal import complain, set_up

_COMMANDS = (
    train,
    evaluate,
    sweep,
    sample,
    predict,
    explain,
    inspect,
    compare,
    report,
    verify,
    export,
    check,
    list_configs,
    describe,
    init,
    completion,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A mistake of the user's is one line on stderr, and exit status 2.

    Without `arguments` it takes those of the process, and also sets up how the process allocates
    memory and prints warnings and tracebacks.
    """
    if arguments is None:
        keep_freed_memory()
    set_up(hooks=arguments is None)
    try:
        words, overrides = _split(sys.argv[1:] if arguments is None else arguments)
        options = make_parser().parse_args(words)
        _require_directory()
        overridable = hasattr(options, "overrides_run") or getattr(options, "config", None)
        if overrides and not overridable:
            raise UserError(f"--config.{overrides[0]}: needs --config FILE to override")
        options.command(options, overrides)
        sys.stdout.flush()  # here, where a failure can still be reported
    except UserError as error:
        complain(error)
        raise SystemExit(2) from None
    except BrokenPipeError:  # as `jaxdl list | head -1` does
        _discard_output()
        raise SystemExit(0) from None
    except OSError as error:
        fault = refused(error)
        if fault is None:
            raise
        if error.errno in FULL:
            _discard_output()
        complain(fault)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        complain("stopped")
        raise SystemExit(130) from None
    except SystemExit as stop:
        if arguments is None and isinstance(stop.code, int) and stop.code > 128:
            _leave(stop.code)
        raise


def _require_directory() -> None:
    """Refuse to work in a directory that was removed, where no relative path has a meaning."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the current directory no longer exists ({error.strerror}); change to another"
        ) from None


def make_parser() -> Parser:
    """The parser of the command line, with all commands; parsed options hold it as `parser`."""
    parser = Parser(prog="jaxdl", description="One config, one command, an honest number.")
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action=Version, help="print the versions and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and the overrides without their `--config.`."""
    words: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("--config."):
            words.append(word)
        elif "=" in word:
            overrides.append(word.removeprefix("--config."))
        else:  # --config.key value
            value = next(rest, "")
            if not value or value.startswith("--"):
                raise UserError(f"{word}: has no value; write {word}=VALUE")
            overrides.append(f"{word.removeprefix('--config.')}={value}")
    return words, overrides


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(status: int) -> NoReturn:
    """End at once, as a signal asked: a thread may be waiting for something that never comes."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)
