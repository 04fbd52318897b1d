"""What a table of a user's holds: the column to predict, and the columns to predict it from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxdl.data import user_files
from jaxdl.data.recognition.recognized import Recognized, counted, named, unseen
from jaxdl.data.sources.csv import csv
from jaxdl.data.sources.parquet import Unread
from jaxdl.data.sources.sheet import MISSING, NAMELESS, TYPED, Sheet, is_number, likely_delimiter
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable, some

Kind = Literal["class", "number"]
_ROLES = {"class": "label", "number": "target"}
_CLASSES = 20  # whole numbers in a column of which so many differ are classes
_CLASS_NAMES = ("label", "class")  # of a column whose whole numbers are classes
_SENTENCE, _PROSE = 4, 7  # words on average: more than a name, and than a date or an address
USUAL_TARGETS = ("target", "label", "class", "y")  # the likeliest first
_NUMBERED = ("id", "index", "idx")  # names of columns that only number the rows
_GROUPED = re.compile(  # names of columns whose rows of equal values are not independent
    r"(?:.*[ _-])?(patient|subject|participant|person|user|customer|client|household|family|"
    r"session|recording|speaker|author|animal|group)([ _-]?(?:id|nr|no|number))?",
    re.I,
)
_FEWEST_GROUPS = 5  # of which a split can be made
_WITH_COMMA = re.compile(r"[-+]?\d{1,3}(\.\d{3})*(,\d+)?|[-+]?\d+(,\d+)?")
_WITH_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})*")  # points that divide them
_COMMAS_IN_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")
_DRESSED = re.compile(r"[,.\s$€£¥%']")  # what may stand in a number that is written for people


def recognize_table(
    paths: Mapping[str, str], target: str | None, kind: Kind | None, beside: Sequence[str] = ()
) -> Recognized:
    """A table, or one for each split: the column to predict, and the columns to predict it from.

    A table of another split that lacks the column, as the test.csv of a competition does, is left
    to be predicted.

    Args:
      paths: of the files by role, that of the train split among them.
      target: the column to predict; by default one that other splits lack, one with a usual name,
        or the last.
      kind: what it holds; by default as it looks.
      beside: names of further tables, which are not read.

    Raises:
      UserError: a file cannot be read, or no column can be predicted.
    """
    sheet, settings = _sheet(paths["train"])
    read_by = {name: value for name, value in settings.items() if name != "path"}
    others = {r: Sheet.read(paths[r], **read_by) for r in ("validation", "test") if r in paths}
    texts = [name for name in sheet.header if _words(sheet.cells(name)) >= _SENTENCE]
    why = "as --target says"
    if target is None:
        target, why = _guessed(sheet, texts, [*others.values()])
        if target is not None:
            _refuse_flags(sheet, target)
    elif target not in sheet.header:
        sheet.require([target], [], [])
    if target is None and not texts:
        raise UserError(
            f"{sheet.path}: no column to predict among {named(sheet.header)}; they number the "
            "rows, or hold lists and objects"
        )
    labelled = {r: each for r, each in others.items() if has(each, target or texts[0])}
    settings |= {role: each.path for role, each in labelled.items()}
    if target is None:
        return _texts(texts[0], settings)
    absent = {
        name: f"not in {Path(each.path).name}"
        for each in others.values()
        for name in sheet.header
        if name not in (*each.header, target)
    }
    if others:
        sheet = sheet.joined([*labelled.values()], [n for n in sheet.header if n not in absent])
        texts = [name for name in texts if name not in absent]
    settings[_ROLES[kind] if kind else role_of(sheet, target)] = target
    if (group := _group(sheet, target)) is not None:
        settings["group"] = group
    left_out = _inputs(sheet, settings, texts, [target, group], absent)
    splits = csv(**settings)
    notes = [
        f"csv: {counted(splits)}, columns {named(sheet.header)}",
        f"predicts {printable(target)!r}, {_meaning('target' in settings, splits)} ({why})",
        *_reading(sheet, settings, target),
    ]
    if group is not None:
        notes.append(
            f"keeps the rows of one {printable(group)!r} in one split, as they may be alike (by "
            "its name; without group it is a feature, if of numbers)"
        )
    if left_out:
        notes.append(f"leaves out {named([f'{k} ({why})' for k, why in left_out.items()])}")
    to_predict = tuple(each.path for role, each in others.items() if role not in labelled)
    no_target = f"has no {printable(target)!r}, so it is left to be predicted"
    notes += [f"{path} {no_target}" for path in to_predict]
    if beside:
        notes.append(f"does not read {named(beside)}: no split is called so")
    return Recognized("csv", settings, splits, tuple(notes), to_predict)


def _reading(sheet: Sheet, settings: Mapping[str, Any], target: str) -> list[str]:
    """What is said of the encoding, the decimal sign, and points that may divide thousands."""
    notes = []
    if encoding := settings.get("encoding"):
        notes.append(
            f"reads it as {encoding}, as it is not UTF-8; look whether the names above are right"
        )
    if sheet.decimal == ",":
        notes.append("reads 1,5 as one and a half (decimal=',')")
    for name in dict.fromkeys((target, *settings.get("features", sheet.header))):
        if (cell := _maybe_thousands(sheet, name)) is not None:
            notes.append(
                f"reads {cell} in {printable(name)!r} as {float(cell):g}; if its points divide "
                "thousands, remove them"
            )
    return notes


def _sheet(path: str) -> tuple[Sheet, dict[str, Any]]:
    """The cells of a table, and the settings that they are read by."""
    settings: dict[str, Any] = {"path": path}
    if path.lower().endswith(TYPED):
        return Sheet.read(path), settings
    with user_files.reading("csv", path):
        encoding = user_files.not_utf_8(Path(path)) or "utf-8"
    if encoding != "utf-8":
        settings["encoding"] = encoding
    delimiter = likely_delimiter(path, encoding)
    if delimiter != ",":
        settings["delimiter"] = delimiter
    sheet = Sheet.read(path, delimiter, encoding)
    if _has_decimal_commas(sheet):
        settings["decimal"] = ","
        sheet = Sheet.read(path, delimiter, encoding, decimal=",")
    return sheet, settings


def _has_decimal_commas(sheet: Sheet) -> bool:
    """Whether some column has numbers such as 1,5, and none has any such as 1.5.

    Where commas divide the cells, such numbers stand in quotes, and those of no column may all have
    commas between thousands.
    """
    columns = [[cell for cell in sheet.cells(name) if cell] for name in sheet.header]
    numbers = [cells for cells in columns if all(map(_WITH_COMMA.fullmatch, cells))]
    commas = [divided for cells in numbers if (divided := [c for c in cells if "," in c])]
    if sheet.delimiter == "," and any(
        all(map(_COMMAS_IN_THOUSANDS.fullmatch, divided)) for divided in commas
    ):
        return False
    points = [any("." in c for c in cells) and all(map(is_number, cells)) for cells in columns]
    thousands = [all(map(_WITH_THOUSANDS.fullmatch, cells)) for cells in columns]
    return bool(commas) and not any(p and not t for p, t in zip(points, thousands, strict=True))


def _maybe_thousands(sheet: Sheet, name: str) -> str | None:
    """A number of a column whose points may all divide thousands, where commas divide no cells."""
    cells = sheet.cells(name)
    if sheet.delimiter in ("", ",") or not all(map(_WITH_THOUSANDS.fullmatch, cells)):
        return None
    return next((cell for cell in cells if "." in cell and is_number(cell)), None)


def _texts(column: str, settings: dict[str, Any]) -> Recognized:
    """A table of texts alone."""
    settings["text"] = (column,)
    if not settings.keys() & {"validation", "test"}:
        settings["test_fraction"] = 0.1
    splits = csv(**settings)
    notes = [f"csv: {counted(splits)} of text, column {printable(column)!r}"]
    if "test_fraction" in settings and (strange := unseen(splits, column)):
        settings["test_fraction"] = 0.0
        splits = csv(**settings)
        notes.append(f"nothing is held out: only a few rows have {strange}")
    return Recognized("csv", settings, splits, tuple(notes))


def _words(cells: list[str]) -> float:
    """How many words a cell has, on average; 0 where it cannot be read."""
    if isinstance(cells[0], Unread):
        return 0.0
    return 1 + sum(cell.count(" ") for cell in cells) / len(cells)


def _guessed(sheet: Sheet, texts: list[str], others: Sequence[Sheet]) -> tuple[str | None, str]:
    """The column to predict, and why: one that another split lacks, or the likeliest of all."""
    for other in others:
        lacking = [name for name in sheet.header if not has(other, name)]
        if (target := likeliest(sheet, lacking, texts)) is not None:
            return target, f"as {Path(other.path).name} lacks it; see --target and --kind"
    return (
        likeliest(sheet, sheet.header, texts),
        "by its name or place; see --target and --kind",
    )


def likeliest(sheet: Sheet, names: Sequence[str], texts: list[str]) -> str | None:
    """Of columns the one to predict: one with a usual name, or else the last that is not text."""
    lower = {name.lower(): name for name in reversed(names)}
    usual = [lower[name] for name in USUAL_TARGETS if name in lower]
    others = [n for n in names if n not in texts and not _only_numbers(n)]
    others = [n for n in others if not sheet.is_id(n) and not isinstance(sheet.cells(n)[0], Unread)]
    return next(iter([*usual, *others[::-1]]), None)


def flags_among(sheet: Sheet, names: Sequence[str]) -> list[str]:
    """The columns that hold zeros and ones."""
    cells = {name: {*sheet.plain(name)} for name in names}
    return [n for n in names if all(map(is_number, cells[n])) and {*map(float, cells[n])} == {0, 1}]


def are_one_class(sheet: Sheet, flags: Sequence[str]) -> bool:
    """Whether exactly one of some columns of zeros and ones is 1 in each row."""
    return all(sum(map(float, row)) == 1 for row in zip(*map(sheet.plain, flags), strict=True))


def _refuse_flags(sheet: Sheet, target: str) -> None:
    """Refuse the last of several columns that tell one class, as the others tell it."""
    flags = flags_among(sheet, sheet.header)
    if target not in flags:
        return
    before = flags[: flags.index(target) + 1]
    for start in reversed(range(len(before) - 1)):
        if are_one_class(sheet, several := before[start:]):
            raise UserError(
                f"{sheet.path}: columns {named(several)} tell one class, as exactly one of them is "
                "1 in each row; write the names of the classes into one column, by pandas: "
                "table[columns].idxmax(axis=1), or name another column with --target"
            )


def has(sheet: Sheet, name: str) -> bool:
    """Whether a table has a column with anything in it."""
    return name in sheet.header and any(sheet.cells(name))


def _only_numbers(name: str) -> bool:
    """Whether a column of this name only numbers the rows."""
    return name.lower() in _NUMBERED or bool(NAMELESS.fullmatch(name))


def role_of(sheet: Sheet, name: str) -> str:
    """Whether a column is a `label`, names or a few whole numbers, or a `target`, a number."""
    cells = [cell for cell in sheet.plain(name) if cell.lower() not in MISSING]
    if not (cells and all(map(is_number, cells))):  # of names one may be -- or none
        cells = [cell for cell in sheet.plain(name) if cell]
    different = len({*cells})
    where = f"{sheet.path}: column {name!r}"
    if different < 2:
        raise UserError(f"{where} has only one value; --target names another")
    if all(map(is_number, cells)):
        if {*map(float, cells)} == {0.0, 1.0}:
            return "label"
        if name.lower() in _CLASS_NAMES:
            whole, most = all(float(cell).is_integer() for cell in cells), max(2, len(cells) // 2)
        else:
            whole, most = all(re.fullmatch(r"-?\d{1,2}", cell) for cell in cells), _CLASSES
        return "label" if whole and different <= most else "target"
    if all(is_number(_DRESSED.sub("", cell)) for cell in cells):
        written = zip(sheet.cells(name), sheet.plain(name), strict=True)
        dressed = next(cell for cell, c in written if not is_number(c) and c.lower() not in MISSING)
        raise UserError(
            f"{where} looks like numbers ({brief(dressed)}) but would be read as class names; "
            "write plain numbers, such as 1234.5, or add --kind class"
        )
    if different > max(2, len(cells) / 2):
        raise UserError(
            f"{where} has {different:,} different values in {len(cells):,} rows, too many for "
            "classes; --target names another column"
        )
    return "label"


def _group(sheet: Sheet, target: str) -> str | None:
    """The column that says, by its name, whose each row is, where several rows are one's."""
    for name in sheet.header:
        if name != target and (match := _GROUPED.fullmatch(name)):
            cells = sheet.cells(name)
            numbers = not match[2] and all(map(is_number, cells))  # `persons` may count them
            fewest = max(_FEWEST_GROUPS, len(cells) // 20) if numbers else _FEWEST_GROUPS
            if "" not in cells and fewest <= len({*cells}) < len(cells):
                return name
    return None


def _inputs(
    sheet: Sheet,
    settings: dict[str, Any],
    texts: list[str],
    taken: list[str | None],
    absent: Mapping[str, str],
) -> dict[str, str]:
    """Set what is predicted from, a text or numbers; the columns that are left out, and why.

    Args:
      sheet: the table.
      settings: of its source; they are changed.
      texts: columns of text.
      taken: columns that are none of the inputs.
      absent: columns that a file of another split lacks, and so the sheet, and that they do.
    """
    others = [name for name in sheet.header if name not in taken]
    left_out = {name: reason for name in others if (reason := _why_not(sheet, name))}
    numbers = [name for name in others if name not in left_out]
    if "label" in settings and (text := _text(sheet, texts, left_out, numbers)):
        settings |= {"text": (text,), "features": ()}
        return {name: "not the text" for name in others if name != text}
    left_out |= absent
    if not numbers:
        why = some([f"{printable(name)!r}: {reason}" for name, reason in left_out.items()])
        raise UserError(
            f"{sheet.path}: no column of numbers to predict {taken[0]!r} from ({why}); fill the "
            "gaps, turn names into numbers, or name another column with --target"
        )
    if left_out:
        settings["features"] = tuple(numbers)
        sheet.tell_counting(numbers)
    settings["standardize"] = True
    return left_out


def _text(
    sheet: Sheet, texts: list[str], left_out: Mapping[str, str], numbers: list[str]
) -> str | None:
    """The text to predict from: sentences, or without numbers any words that hardly recur.

    Beside numbers a few words are rather a name, a date or an address.
    """
    words = {name: _words(sheet.cells(name)) for name in left_out}
    if numbers:
        texts = [name for name in texts if words.get(name, 0) >= _PROSE]
    elif not texts:
        varied = [n for n in words if 2 * len({*sheet.cells(n)}) > len(sheet.rows) > 0]
        texts = [name for name in varied if words[name] >= 2]
    return texts[0] if texts else None


def _why_not(sheet: Sheet, name: str) -> str:
    """Why a column is not a feature; '' if it is one."""
    cells = sheet.plain(name)
    wrong = [cell for cell in cells if not is_number(cell)]
    if isinstance(cells[0], Unread):
        images = "struct<bytes: binary" in cells[0]  # as Hugging Face writes them
        return "images, which source='huggingface' reads" if images else str(cells[0])
    if _only_numbers(name) or sheet.is_id(name):
        return "numbers the rows"
    if not wrong:
        return ""
    missing = sum(cell.lower() in MISSING for cell in wrong)
    if missing == len(wrong):
        return f"{missing:,} gaps, which impute='median' fills"
    written = next(cell for cell in sheet.cells(name) if cell.lower() not in MISSING)
    first = next((cell for cell in wrong if cell.lower() not in MISSING), written)
    return f"not numbers: {brief(first)}"


def _meaning(number: bool, splits: Mapping[str, Table]) -> str:
    if number:
        return "a number"
    train = splits["train"]
    return f"one of the classes {named(train.classes)}" if train.classes else "a class"
