"""What is asked on a command line: files and texts, as data for a `Predictor`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.data import user_files
from jaxdl.data.sources.sheet import TABLES
from jaxdl.data.sources.text_folders import SUFFIXES
from jaxdl.errors import UserError, brief
from jaxdl.inference.images import image_files
from jaxdl.inference.inputs import kind_of, read_csv
from jaxdl.inference.restored import RestoredRun
from jaxdl.json_files import strict
from jaxdl.tasks.answer import Answer


class Questions(NamedTuple):
    """The examples that are asked about.

    Attributes:
      kind: 'images', 'texts' or 'table'.
      names: what to call each.
      cells: of each, by column: its path, its text, or the cells of its row.
      data: as `Predictor` takes it.
    """

    kind: str
    names: Sequence[str]
    cells: Sequence[dict[str, str]]
    data: Any


def questions(
    run: RestoredRun, needed: Collection[str], words: Sequence[str], lines: str | None = None
) -> Questions:
    """What the words of a command line ask of a run.

    Args:
      run: says what they stand for: images, or folders of them; texts; or a CSV file.
      needed: the columns that an answer needs.
      words: of the command line.
      lines: a file with a text in each line.

    Raises:
      UserError: they are of another kind, or a file cannot be read.
    """
    kind = kind_of(run, needed)
    if kind == "images":
        _refuse_lines(lines, "images; name them, or a folder of them")
        paths = [str(path) for path in image_files(words)]
        if not paths:
            raise UserError("INPUT: this run reads images; name them, or a folder of them")
        return Questions(kind, paths, [{"image": path} for path in paths], paths)
    tables = [
        word
        for word in words
        if os.path.isfile(word) and (kind == "table" or word.lower().endswith(TABLES))
    ]
    if tables or kind == "table":
        _refuse_lines(lines, "tables; name a CSV or Parquet file")
        if len(words) != 1 or not tables:
            asked = "; name one CSV or Parquet file" + (f", not {brief(words[0])}" if words else "")
            raise UserError(f"INPUT: this run reads {_columns(run, needed)}{asked}")
        sheet, columns = read_csv(run, tables[0], needed)
        names = [f"{tables[0]} {sheet.unit} {line}" for line in sheet.lines]
        cells = [dict(zip(sheet.header, row, strict=True)) for row in sheet.rows]
        return Questions("table", names, cells, columns)
    of_files = run.config["data"]["source"] == "text_folders"
    named = [pair for word in words for pair in _texts(word, of_files)]
    named += [(line, line) for line in (_lines(lines) if lines is not None else ())]
    if not named:
        raise UserError("INPUT: this run reads texts; give some, or a file with --lines")
    cells = [{"text": name} for name, _ in named]
    return Questions(kind, [name for name, _ in named], cells, [text for _, text in named])


def as_json(cells: Sequence[dict[str, str]], answered: Sequence[Sequence[Answer]]) -> str:
    """A JSON list with an object in each line: `input`, its cells, and `answers`, best first."""
    lines = []
    for of_one, answers in zip(cells, answered, strict=True):
        named = [strict({k: v for k, v in a._asdict().items() if v is not None}) for a in answers]
        lines.append(json.dumps({"input": of_one, "answers": named}, allow_nan=False))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def as_csv(cells: Sequence[dict[str, str]], answered: Sequence[Sequence[Answer]]) -> str:
    """Comma-separated values, a line an answer: the cells of its input, its name, value and box."""
    boxed = any(answer.box is not None for answers in answered for answer in answers)
    added = ["answer", "value", *(("x1", "y1", "x2", "y2") if boxed else ())]
    known = list(cells[0])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*known, *(f"predicted_{name}" if name in known else name for name in added)])
    for of_one, answers in zip(cells, answered, strict=True):
        for name, value, box in answers:
            writer.writerow([*of_one.values(), name, value, *(box or ("",) * 4 if boxed else ())])
    return file.getvalue()


def _texts(word: str, of_files: bool) -> list[tuple[str, str]]:
    """The text that a word is, or those of a file or folder if a run was trained on files, named.

    Raises:
      UserError: it names a file or folder, and the run was not; or a file that does not exist.
    """
    place = Path(word)
    if not os.path.exists(word):  # which takes texts of any length
        if place.suffix == SUFFIXES[0]:
            raise UserError(f"{word}: no such file")
        return [(word, word)]
    if not of_files and place.is_dir():
        raise UserError(f"{word}: is a folder; give texts, or a file of them with --lines")
    if not of_files:
        raise UserError(f"{word}: is a file; to read each line as a text, use --lines {word}")
    files = user_files.below(place, SUFFIXES) if place.is_dir() else [place]
    if not files:
        raise UserError(f"{word}: a folder without texts ({SUFFIXES[0]})")
    return [(str(file), user_files.read(file, "predict")) for file in files]


def _lines(file: str) -> list[str]:
    lines = user_files.read(Path(file), "--lines").split("\n")  # not at form feeds and the like
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise UserError(f"--lines {file}: has no text; write one per line")
    return texts


def _refuse_lines(lines: str | None, instead: str) -> None:
    if lines is not None:
        raise UserError(f"--lines: is for texts, and this run reads {instead}")


def _columns(run: RestoredRun, needed: Collection[str]) -> str:
    names = [run.tokenize[n].text if n in run.tokenize else n for n in sorted(needed)]
    if "features" in needed and run.features:
        names[names.index("features")] = ", ".join(feature.name for feature in run.features)
    return f"tables with {', '.join(names)}"
