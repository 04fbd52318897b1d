"""`jaxdl predict`: predict for images, texts or the rows of a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.caches import keep_programs
from jaxdl.cli.options import (
    PICTURES,
    Subcommands,
    add_finished_run,
    add_force,
    check_creatable,
    check_writable,
    home_path,
)
from jaxdl.errors import UserError, printable
from jaxdl.files import existing_run
from jaxdl.terminal import say, stream

if TYPE_CHECKING:
    from jaxdl.tasks.answer import Answer

_MOST_DRAWN = 100  # images in a figure
_TEXT = 200  # characters of an input text that are printed


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("predict", help="predict for images, texts or rows of a table")
    command.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="what the run was trained on: images or folders of them, texts, or a table",
    )
    command.add_argument("--lines", metavar="FILE", help="a file of texts, one per line")
    add_finished_run(command)
    command.add_argument("--top", type=int, metavar="K", help="show K classes (5) or boxes (all)")
    command.add_argument(
        "--score",
        type=float,
        metavar="S",
        help="the lowest score to show (0, or 0.3 for boxes)",
    )
    command.add_argument(
        "--overlap",
        type=float,
        metavar="IOU",
        help="hide a box whose intersection over union with a better one is larger (0.4)",
    )
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="print JSON, one object per input")
    kind.add_argument("--csv", action="store_true", help="print CSV, one line per answer")
    command.add_argument(
        "--output",
        type=home_path,
        metavar="PLACE",
        help="write the answers to a .json or .csv file, or one picture per image to a folder",
    )
    command.add_argument(
        "--figure",
        type=home_path,
        metavar="FILE",
        help="draw all images in one figure, with their class or boxes",
    )
    add_force(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Print or write what a run predicts."""
    _check(options)
    folder = existing_run(options.workdir)
    keep_programs()
    from jaxdl.files import make_parent, replace_text
    from jaxdl.inference.loaded import load
    from jaxdl.inference.questions import as_csv, as_json, questions

    predictor = (loaded := load(folder, best=options.best, trust=options.trust)).predictor
    _ = predictor.answering
    asked = questions(loaded.parts, predictor.needed, options.inputs, options.lines)
    drawn = _drawn(options, asked.kind, asked.names)
    chosen: dict[str, Any] = {k: getattr(options, k) for k in ("top", "score", "overlap")}
    answered = list(predictor.answers(asked.data, **chosen))
    _draw(options, loaded, asked.names, answered, drawn)  # first: the reader of a pipe may close it
    form = _form(options)
    if form is not None:
        text = (as_json if form == "json" else as_csv)(asked.cells, answered)
    if form is not None and options.output is not None:
        replace_text(make_parent(Path(options.output)), text)
    if form is not None and options.output is None:
        stream(text)
    else:
        _say(asked.names, answered)


def _check(options: argparse.Namespace) -> None:
    """Check the options before anything is loaded."""
    if options.top is not None and options.top < 1:
        raise UserError(f"--top: expected at least 1, got {options.top}")
    for name in ("score", "overlap"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"--{name}: expected 0 to 1, got {value}")
    if options.figure is not None:
        check_creatable(options.figure, "--figure", PICTURES, options.force)
    if options.output is not None and _form(options):
        check_creatable(options.output, "--output", force=options.force)


def _form(options: argparse.Namespace) -> str | None:
    """The requested format, 'json' or 'csv', if any."""
    if options.json or options.csv:
        return "json" if options.json else "csv"
    suffix = Path(options.output or "").suffix.lower()
    return suffix[1:] if suffix in (".json", ".csv") else None


def _drawn(options: argparse.Namespace, kind: str, names: Sequence[str]) -> list[Path]:
    """The picture files to write for `--output`, one per image, if it names a folder."""
    if kind != "images" and options.figure is not None:
        raise UserError("--figure: draws images, and this run reads none; leave it out")
    if options.figure is not None and len(names) > _MOST_DRAWN:
        raise UserError(f"--figure: shows up to {_MOST_DRAWN} images, not {len(names)}; give fewer")
    if options.output is None or _form(options):
        return []
    folder = Path(options.output)
    if kind != "images":
        raise UserError(f"--output {folder}: this run draws no pictures; name a .json or .csv file")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file; name a folder, or a .json or .csv file")
    check_writable(folder, "--output")
    given = {Path(name).resolve() for name in names}
    stems, files = [Path(name).stem for name in names], list[Path]()
    for i, stem in enumerate(stems):
        again = stems[:i].count(stem)
        files.append(folder / (f"{stem}-{again + 1}.png" if again else f"{stem}.png"))
        if files[-1].resolve() in given:
            raise UserError(f"--output {folder}: would overwrite {files[-1]}; name another folder")
        check_creatable(str(files[-1]), "--output", force=options.force)
    return files


def _say(names: Sequence[str], answered: Sequence[Sequence[Answer]]) -> None:
    texts = [printable(answer.name) for answers in answered for answer in answers]
    width = max(map(len, texts), default=0)
    for name, answers in zip(names, answered, strict=True):
        say(printable(name, _TEXT))
        for answer, value, box in answers:
            place = "" if box is None else "  at " + ", ".join(f"{corner:.1f}" for corner in box)
            say(f"    {printable(answer):{width}}  {value:.4f}{place}")
        if not answers:
            say("    nothing; a lower --score shows more")


def _draw(
    options: argparse.Namespace,
    loaded: Any,
    names: Sequence[str],
    answered: Sequence[Sequence[Answer]],
    drawn: Sequence[Path],
) -> None:
    """Write the requested pictures."""
    if options.figure is None and not drawn:
        return
    from jaxdl.data.images import pixels
    from jaxdl.figures import answers_gallery, save

    def image(name: str) -> Any:
        return pixels.read(Path(name), loaded.columns[loaded.parts.task.input]["shape"][-1])

    for file, name, answers in zip(drawn, names, answered, strict=bool(drawn)):
        save(answers_gallery([image(name)], [answers]), file)
    if options.figure is not None:
        save(answers_gallery(list(map(image, names)), answered), Path(options.figure))
