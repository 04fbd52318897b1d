"""`jaxdl predict`: what a run makes of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxdl.caches import keep_programs
from jaxdl.cli.options import (
    Subcommands,
    add_finished_run,
    add_force,
    check_creatable,
    existing_run,
)
from jaxdl.errors import UserError, printable
from jaxdl.terminal import say

_DRAWN = (".png", ".pdf", ".svg")
_MOST_DRAWN = 100  # images in a figure


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("predict", help="say what a run makes of images")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="a file, or a folder of them")
    add_finished_run(command)
    command.add_argument("--top", type=int, metavar="K", help="classes (5) or boxes (all) to name")
    command.add_argument(
        "--score", type=float, metavar="S", help="the least score of those (0, of boxes 0.3)"
    )
    command.add_argument(
        "--figure", metavar="FILE", help="also draw the images, with the first class, or with boxes"
    )
    add_force(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Say what a run makes of images."""
    if options.top is not None and options.top < 1:
        raise UserError(f"--top: expected at least 1, got {options.top}")
    if options.score is not None and not 0 <= options.score <= 1:
        raise UserError(f"--score: expected 0 to 1, got {options.score}")
    folder = existing_run(options.workdir)
    if options.figure is not None:
        check_creatable(options.figure, "--figure", _DRAWN, options.force)
    keep_programs()
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.inference.predictor import Predictor, image_files

    paths = image_files(options.images)
    if options.figure is not None and len(paths) > _MOST_DRAWN:
        raise UserError(f"--figure: shows up to {_MOST_DRAWN} images, not {len(paths)}; give fewer")
    predictor = Predictor(Run(folder, best=options.best, trust=options.trust))
    seen, answered = [], []
    for prediction in predictor(paths, options.top, options.score):
        answered.append(prediction.answers)
        if options.figure is not None:
            seen.append(prediction.pixels)
    names = [printable(answer.name) for answers in answered for answer in answers]
    width = max(map(len, names), default=0)
    for path, answers in zip(paths, answered, strict=True):
        say(path)
        for name, value, box in answers:
            place = "" if box is None else "  at " + ", ".join(f"{corner:.1f}" for corner in box)
            say(f"    {printable(name):{width}}  {value:.4f}{place}")
        if not answers:
            say("    nothing; a lower --score shows more")
    if options.figure is not None:
        from jaxdl.figures import answers_gallery, save

        save(answers_gallery(seen, answered), Path(options.figure))
