"""`jaxdl init`: a first config for one's own data."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from jaxdl.cli.options import Subcommands, add_force, check_creatable, home_path
from jaxdl.terminal import say


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "init",
        help="look at your data, and write a first config for it",
        description="Look at a folder of images (in folders by class or with a table of them, "
        "with captions, or with boxes of COCO, YOLO, Pascal VOC or in tables), a table (.csv, "
        ".tsv, .parquet, .jsonl, .json) or those of the splits, arrays (.npz), texts (in folders "
        "by class, or to be continued) or tunes (.abc); say what they are, and write a config "
        "that trains on them.",
    )
    command.add_argument("data", metavar="DATA", help="a folder, or a file")
    command.add_argument(
        "--output",
        type=home_path,
        default="my_config.py",
        metavar="FILE",
        help="the config (my_config.py)",
    )
    command.add_argument("--target", metavar="COLUMN", help="of a table, the column to predict")
    command.add_argument(
        "--kind", choices=("class", "number"), help="what that column holds; by default as it looks"
    )
    add_force(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Say what the data is and what was chosen, and write the config."""
    check_creatable(options.output, "--output", (".py",), options.force)
    from jaxdl.data.recognition import recognize
    from jaxdl.files import make_parent, replace_text
    from jaxdl.training.first_config import first_config

    data = recognize(options.data, options.target, options.kind)
    made, output = first_config(data), Path(options.output)
    command = f"jaxdl train --config {shlex.quote(options.output)} --workdir "
    command += shlex.quote(f"runs/{output.stem}")
    replace_text(make_parent(output), made.text(command))
    for line in data.notes:
        say(line)
    for key, why in made.why.items():
        node, _, name = key.partition(".")
        value = made.config.get(node, {}).get(name)
        if why and value is not None:
            say(f"  {key} = {value}: {why}")
    say(f"wrote {options.output}; look at it, and try:")
    say(f"    {command.replace('train', 'check', 1).partition(' --workdir')[0]}")
    say(f"    {command}")
    for path in data.to_predict:
        workdir = command.partition(" --workdir ")[2]
        say(f"    jaxdl predict --workdir {workdir} {shlex.quote(path)}")
