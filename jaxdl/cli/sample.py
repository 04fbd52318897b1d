"""`jaxdl sample`: generate text or music."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.caches import keep_programs
from jaxdl.cli.options import Subcommands, add_finished_run, add_force, check_creatable, home_path
from jaxdl.errors import UserError
from jaxdl.files import existing_run
from jaxdl.terminal import say, stream


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("sample", help="generate text or music with a trained run")
    add_finished_run(command)
    command.add_argument("--prompt", default="", metavar="TEXT", help="the text to continue")
    command.add_argument(
        "--input",
        metavar="TEXT",
        help="the text to translate, or an image to describe",
    )
    command.add_argument("--length", type=int, default=500, help="maximum number of tokens (500)")
    command.add_argument("--temperature", type=float, help="0 is greedy (1, or 0 with --input)")
    command.add_argument("--top-k", type=int, metavar="K", help="draw from the K most likely")
    command.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="draw from the most likely, with total probability P",
    )
    command.add_argument("--beam", type=int, metavar="W", help="beam search of this width instead")
    command.add_argument("--seed", type=int, default=0, help="random seed of the sampling (0)")
    command.add_argument("--count", type=int, default=1, help="how many texts to generate (1)")
    command.add_argument(
        "--output",
        type=home_path,
        metavar="FILE",
        help="also write the result to a file; for music, a .mid file",
    )
    add_force(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Generate text or music, and print it as it is generated."""
    for name in ("length", "count", "beam"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}: expected at least 1, got {value}")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed: expected at least 0 and below 2³², got {options.seed}")
    drawn = (options.temperature, options.top_k, options.top_p)
    if options.beam is not None and drawn != (None, None, None):
        raise UserError(
            "--beam: excludes --temperature, --top-k and --top-p; beam search draws nothing"
        )
    folder = existing_run(options.workdir)
    if options.output is not None:
        check_creatable(options.output, "--output", force=options.force)
    keep_programs()
    from jaxdl.files import make_parent, replace_bytes
    from jaxdl.inference.loaded import load

    writer = load(folder, best=options.best, trust=options.trust).writer
    conditions = writer.condition(options.input)
    how = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "beam")}
    texts = []
    for i in range(options.count):
        seed = options.seed + i
        pieces = writer.write(options.prompt, options.length, conditions, **how, seed=seed)
        texts.append(writer.task.heading(i) + options.prompt)
        stream(texts[-1])
        for piece in pieces:
            stream(piece)
            texts[-1] += piece
        say()
    stream(writer.task.remark(texts))
    if options.output is not None:
        output = Path(options.output)
        replace_bytes(make_parent(output), writer.task.contents(texts, output.suffix))
