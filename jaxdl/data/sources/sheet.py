"""The cells of a user's table, and what a column of them holds."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from jaxdl.data import user_files
from jaxdl.data.sources import json_lines, parquet
from jaxdl.data.validation import tell_alike
from jaxdl.errors import UserError, brief, near, printable, some

_log = logging.getLogger("jaxdl")

_PARQUET = ".parquet"
_LINES = (".jsonl", ".ndjson")
TYPED = (_PARQUET, ".json", *_LINES)  # suffixes of tables whose cells have types
TABLES = (".csv", ".tsv", _PARQUET, *_LINES)  # a .json may be anything

_INTEGER = re.compile("-?[0-9]{1,18}")
_WHOLE = re.compile("-?(?:0|[1-9][0-9]{0,8})")  # a number as one writes it; 007 and 1_2 are names
# What a column is called that has no name, or pandas' index.
NAMELESS = re.compile(r"|Unnamed: ?[\d.]+(?:_level_\d+)?|__index_level_\d+__")
# What stands for a value that is not there, in lower case.
MISSING = frozenset({
    *("", "na", "n/a", "n.a.", "<na>", "nan", "nat", "null", "none", "\\n", "?", "-", "--", "."),
    *("#n/a", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"),  # Excel's
})  # fmt: skip
_ONLY_BETWEEN_THOUSANDS = "'\u2019\u00a0\u202f"  # these stand in no number elsewhere
_FEW = 20  # values of a column of names
_SENTENCE = 4  # words: more than the name of a column has
_LOOKED_AT = 1_000  # rows, for whether the header is one
_DELIMITERS = "\t;|,"
_BEGINNING = 10_000  # characters, for the delimiter
_TRUTHS = {"true": "1", "false": "0", "yes": "1", "no": "0"}
_NUMBERS = frozenset({"id", "index", "idx", "row", "rownames", "level_0", "nr", "no"})
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_LARGEST = float(np.finfo(np.float32).max)
# Of the largest number, the range of a column below which float32 has less than 8 of its 24 bits
# to tell values apart.
_FINEST = 2.0**-16


@dataclass(frozen=True)
class Sheet:
    """The cells of a table.

    Attributes:
      path: the file.
      header: the columns' names.
      rows: the cells of each row, one for each column.
      lines: the line of the file in which each row ends.
      delimiter: between two cells; empty where the cells have types.
      decimal: before the decimals of a number.
      unit: what is counted: 'line', or 'row' or 'object' where there are no lines.
      later: further files, each as the number of its first row and its path.
    """

    path: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str
    decimal: str
    unit: str = "line"
    later: tuple[tuple[int, str], ...] = ()

    @classmethod
    def read(
        cls,
        path: str,
        delimiter: str = ",",
        encoding: str = "utf-8",
        decimal: str = ".",
        header: Sequence[str] | None = None,
    ) -> Sheet:
        """Read a file; refuse what is not a table, naming the line.

        Args:
          path: of the file.
          delimiter: between two cells; 'tab' for a tab.
          encoding: of the file, as Python names it.
          decimal: the decimal sign.
          header: names of the columns of a file that begins with a row.
        """
        if path.lower().endswith(TYPED):
            if (delimiter, encoding, decimal) != (",", "utf-8", "."):
                raise UserError(
                    f"csv: {path}: delimiter, encoding and decimal are only for CSV files; "
                    "leave them out"
                )
            return cls._read_typed(path)
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
        if len(delimiter) != 1 or delimiter in "\r\n":
            raise UserError(f"csv: delimiter={delimiter!r}; it must be one character")
        rows, lines = [], []
        try:
            above, text = below_notes(user_files.read(Path(path), "csv", encoding), delimiter)
            for line, row in user_files.cells(text, delimiter):
                rows.append([cell.strip() for cell in row])
                lines.append(line + above)
        except UserError as error:
            message = str(error)
            raise UserError(
                message if message.startswith("csv") else f"csv: {path} {message}"
            ) from None
        if header is None and rows:
            header, rows, lines = [*map(user_files.same_name, rows[0])], rows[1:], lines[1:]
        header, rows, lines = _without_blanks([*(header or ())], rows, lines)
        sheet = cls(path, header, rows, lines, delimiter, decimal)
        sheet._check()
        return sheet

    @classmethod
    def _read_typed(cls, path: str) -> Sheet:
        """Read a file whose cells have types, as if they were text."""
        if path.lower().endswith(_PARQUET):
            unit, (header, rows) = "row", parquet.cells(path)
            lines = [*range(1, len(rows) + 1)]
        else:
            header, rows, lines, unit = json_lines.cells(path)
        header = [*map(user_files.same_name, header)]
        sheet = cls(path, header, rows, lines, delimiter="", decimal=".", unit=unit)
        sheet._check()
        return sheet

    def _check(self) -> None:
        if not self.rows:
            raise UserError(f"csv: {self.path} has no rows; it needs a header line and a row")
        # As pandas names the columns of an array.
        counted = len(self.header) > 2 and self.header == [*map(str, range(len(self.header)))]
        if not counted and all(is_number(name) for name in self.header):
            raise UserError(
                f"csv: {self.path} starts with numbers; its first line must be a header"
            )
        if not counted and self._begins_with_a_row():
            raise UserError(
                f"csv: {self.path} starts with a row ({brief(self.header)}), not with the names of "
                "the columns; write a first line with names"
            )
        if self.header.count("") > 1:
            raise UserError(
                f"csv: {self.path}: several columns have no name; if the names are in a later "
                "line, remove those above it"
            )
        twice = sorted(name for name, count in Counter(self.header).items() if count > 1)
        if twice:
            raise UserError(f"csv: {self.path}: columns {brief(twice)} occur twice; rename them")
        for row, line in zip(self.rows, self.lines, strict=True):
            if row == self.header and len(row) > 1:
                raise UserError(
                    f"csv: {self.path} line {line} repeats the names of the columns; remove it"
                )
            if len(row) != len(self.header):
                raise UserError(
                    f"csv: {self.path} line {line} has {len(row)} cells, the header "
                    f"{len(self.header)}; correct the line"
                )

    def _begins_with_a_row(self) -> bool:
        """Whether the header is like the rows: numbers above numbers, and names that recur.

        A sentence is no name of a column either, if another cell of the header is like its column.
        """
        columns = [*zip(*self.rows[:_LOOKED_AT], strict=False)][: len(self.header)]
        numbered = any(map(is_number, self.header))

        def is_like(name: str, cells: tuple[str, ...]) -> bool:
            if is_number(name) or all(map(is_number, cells)):
                return is_number(name) and all(map(is_number, cells))
            return name in cells and (numbered or (cells.count(name) > 1 and len({*cells}) <= _FEW))

        like = [*map(is_like, self.header, columns)]
        sentences = [name.count(" ") + 1 >= _SENTENCE for name in self.header]
        return any(like) and all(a or b for a, b in zip(like, sentences, strict=False))

    @cached_property
    def _place(self) -> dict[str, int]:
        """The position of each column in a row."""
        return {name: i for i, name in enumerate(self.header)}

    def joined(self, others: Sequence[Sheet], names: Sequence[str]) -> Sheet:
        """The rows of this file and then of others, with the columns of these names alone.

        Args:
          others: in their order.
          names: of columns that all have.
        """
        sheets = [self, *others]
        ends = accumulate(len(sheet.rows) for sheet in sheets)
        return replace(
            self,
            header=[*names],
            rows=[[*row] for sheet in sheets for row in zip(*map(sheet.cells, names), strict=True)],
            lines=[line for sheet in sheets for line in sheet.lines],
            later=tuple(zip(ends, (sheet.path for sheet in others), strict=False)),
        )

    def where(self, row: int) -> str:
        """What to call a row in a message."""
        path = [self.path, *(path for first, path in self.later if first <= row)][-1]
        return f"csv: {path} {self.unit} {self.lines[row]}"

    def cells(self, name: str) -> list[str]:
        """A column as it stands in the file."""
        at = self._place[name]
        return [row[at] for row in self.rows]

    def require(
        self,
        predicted: list[str],
        inputs: list[str],
        texts: list[str],
        group: str | None = None,
    ) -> None:
        """Refuse names that the header lacks, and a column that is used twice."""
        groups = [] if group is None else [group]
        used = predicted + inputs + texts + groups
        for name in used:
            if name not in self._place:
                there = some([*map(printable, self.header)], 20, ", ")
                raise UserError(
                    f"csv: {self.path} has no column {name!r}; {near(name, self.header)}it has "
                    f"{there} (delimiter and spelling right?)"
                )
        if not inputs + texts or len(set(used)) < len(used):
            by = f", in groups by {group!r}" if groups else ""
            raise UserError(
                f"csv: {self.path}: features {brief(inputs + texts)} to predict {predicted}{by}; "
                "give at least one feature, and no column twice"
            )
        for name in {"features", "target", "label"}.intersection(texts + groups):
            raise UserError(
                f"csv: {self.path}: column {name!r} has the name of a column that csv makes "
                "itself; rename it"
            )

    def without_index(self, names: list[str]) -> list[str]:
        """The columns without those that have no name, which tools write to number the rows.

        The number of a row would tell its place in the file. A column with a name that does so is
        kept, with a warning.
        """
        nameless = [name for name in names if NAMELESS.fullmatch(name)]
        if nameless:
            _log.warning(
                "csv: %s: left out columns without a name, %s; features=… takes them",
                self.path,
                brief(nameless),
            )
        kept = [name for name in names if name not in nameless]
        self.tell_counting(kept)
        return kept

    def tell_counting(self, names: list[str]) -> None:
        """Warn of columns that number the rows, by their name or their values."""
        for name in names:
            if self.is_id(name) or self._counts(name):
                _log.warning(
                    "csv: %s: column %r numbers the rows, which says nothing about others; leave "
                    "it out with features=…",
                    self.path,
                    name,
                )

    def is_id(self, name: str) -> bool:
        """Whether a column has each whole number once, and is called an id, such as PassengerId."""
        words = {name.lower(), *(word.lower() for word in _WORD.findall(name)[-1:])}
        if not words & _NUMBERS or len(self.rows) < 3:
            return False
        cells = self.cells(name)
        return len({*cells}) == len(cells) and all(map(_WHOLE.fullmatch, cells))

    def _counts(self, name: str) -> bool:
        """Whether a column counts the rows, starting at any number."""
        cells = self.cells(name)
        if len(cells) < 3 or not all(map(_WHOLE.fullmatch, cells)):
            return False
        first = int(cells[0])
        return all(int(cell) == first + i for i, cell in enumerate(cells))

    def require_single_rows(self, name: str) -> None:
        """Refuse a cell that has swallowed rows because a quote before them is not closed.

        A line within a cell is a row if it has as many cells as the header, and in this column a
        value that other rows have, too, or a number if theirs are numbers. The first and the last
        are taken with the cells of the row before and after them, where this column is not one of
        those. If the first is too short for a row, the quote is no forgotten one, and the cell a
        text of several lines.
        """
        if not self.delimiter:
            return
        at = self._place[name]
        whole = [not any("\n" in cell for cell in row) for row in self.rows]
        known = {row[at] for row, is_whole in zip(self.rows, whole, strict=True) if is_whole}
        numeric = bool(known) and all(map(is_number, known))
        for row, is_whole, end in zip(self.rows, whole, self.lines, strict=True):
            for line in [] if is_whole else self._lines_within(row, at):
                cells = [cell.strip() for cell in line.split(self.delimiter)]
                is_row = len(cells) == len(self.header)
                if is_row and (cells[at] in known or (numeric and is_number(cells[at]))):
                    raise UserError(
                        f"csv: {self.path}: a cell that ends in line {end} spans several "
                        f"lines and contains rows, such as {brief(line)}; close its quote"
                    )

    def _lines_within(self, row: list[str], at: int) -> list[str]:
        """The lines of cells that go over several, as far as they tell of column `at`."""
        lines = []
        for i, cell in enumerate(row):
            first, *others = cell.split("\n")
            before = self.delimiter.join([*row[:i], first])
            if others and before.count(self.delimiter) + 1 >= len(row):
                lines += others
                lines += [before] * (at > i)
                lines += [self.delimiter.join([others[-1], *row[i + 1 :]])] * (at < i)
        return lines

    def plain(self, name: str) -> list[str]:
        """A column with a point before decimals, nothing between thousands, and 1 for true.

        With a decimal comma, a point that may be another is a blank, and so no number.
        """
        cells = self.cells(name)
        values = {cell.lower() for cell in cells} - MISSING
        if values and values <= _TRUTHS.keys():
            return [_TRUTHS.get(cell.lower(), cell) for cell in cells]
        present = {*"".join(cells)}
        for sign in {".": ",", ",": "."}[self.decimal] + _ONLY_BETWEEN_THOUSANDS:
            if sign in present and _divides_thousands(cells, sign, self.decimal):
                cells = [cell.replace(sign, "") for cell in cells]
        if self.decimal == ".":
            return cells
        return [cell.replace(".", " ").replace(",", ".") for cell in cells]

    def singles(self, name: str) -> Float32[np.ndarray, " rows"]:
        """A column of finite numbers in float32; refuses what float32 can hardly separate."""
        numbers = self.numbers(name)
        self.require_distinct(name, numbers)
        return numbers.astype(np.float32)

    def require_distinct(self, name: str, numbers: Float64[np.ndarray, " rows"]) -> None:
        """Refuse numbers of a column that float32 can hardly distinguish."""
        low, high = float(numbers.min()), float(numbers.max())
        if 0 < high - low < _FINEST * max(abs(low), abs(high)):
            raise UserError(
                f"csv: {self.path}, column {name!r}: float32 can hardly distinguish numbers from "
                f"{low:.15g} to {high:.15g}; subtract {low:.15g} from all of them, or set "
                "standardize=True if it is a feature"
            )

    def numbers(self, name: str, gap: float | None = None) -> Float64[np.ndarray, " rows"]:
        """A column of finite numbers.

        Args:
          name: of the column.
          gap: the number for a missing value, such as an empty cell or NA; by default these are
            refused.
        """
        written, cells = self.cells(name), self.plain(name)
        wrong = [i for i, cell in enumerate(cells) if not is_number(cell)]
        if gap is not None:
            gaps = {i for i in wrong if cells[i].lower() in MISSING}
            wrong = [i for i in wrong if i not in gaps]
            cells = [str(gap) if i in gaps else cell for i, cell in enumerate(cells)]
        if wrong:
            first = written[wrong[0]]
            cell = brief(first) if first else "an empty cell"
            remedy = "correct them or leave the column out"
            if all(cells[i].lower() in MISSING for i in wrong):
                remedy = "impute='median' fills gaps of features, else remove the rows"
            elif self.decimal == "," and "." in first:
                remedy = "with decimal=',' write them without points, or leave decimal out"
            elif "," in first and is_number(first.replace(",", "")):
                remedy = "set decimal=',' if that is what the comma is, or remove the commas"
            raise UserError(
                f"{self.where(wrong[0])}, column {name!r}: {cell} is not a "
                f"finite number ({len(wrong)} cells are not); {remedy}"
            )
        return np.array(cells, np.float64)

    def whole_numbers(self, name: str) -> Int64[np.ndarray, " rows"]:
        """A column of whole numbers, of up to 18 digits."""
        cells = self.cells(name)
        wrong = [i for i, cell in enumerate(cells) if not _INTEGER.fullmatch(cell)]
        if wrong:
            cell = brief(cells[wrong[0]]) if cells[wrong[0]] else "an empty cell"
            raise UserError(
                f"{self.where(wrong[0])}, column {name!r}: {cell} is not a "
                f"whole number ({len(wrong)} cells are not); correct them"
            )
        return np.array([int(cell) for cell in cells], np.int64)

    def texts(self, name: str) -> np.ndarray:
        """A column of texts; refuses empty ones."""
        return np.array(self._filled(name, "text"), object)

    def labels(
        self, name: str, what: str = "label"
    ) -> tuple[Int32[np.ndarray, " rows"], tuple[str, ...]]:
        """A column of labels, and the names of the classes unless they are whole numbers."""
        cells = [*map(user_files.same_name, self._filled(name, what))]
        if all(_WHOLE.fullmatch(cell) for cell in cells) and not any("-" in c for c in cells):
            return np.array([int(cell) for cell in cells], np.int32), ()
        classes = sorted(set(cells))
        self._check_names(name, Counter(cells))
        number = {name: i for i, name in enumerate(classes)}
        return np.array([number[cell] for cell in cells], np.int32), tuple(classes)

    def flagged(self, names: Sequence[str]) -> list[str]:
        """Of columns of 0 and 1, the name of the one that is 1 in each row.

        Raises:
          UserError: a cell is something else, or not exactly one in a row is 1.
        """
        found, columns = list[str](), some([*map(printable, names)], 20, ", ")
        for i, row in enumerate(zip(*map(self.plain, names), strict=True)):
            if wrong := [cell for cell in row if not is_number(cell) or float(cell) not in (0, 1)]:
                raise UserError(
                    f"{self.where(i)}: {brief(wrong[0])} in one of the columns {columns}; write 1 "
                    "for the class of a row, and 0 for the others"
                )
            ones = [name for name, cell in zip(names, row, strict=True) if float(cell)]
            if len(ones) != 1:
                raise UserError(
                    f"{self.where(i)}: {len(ones)} of the columns {columns} are 1; a row is learnt "
                    "with one class: correct or remove it"
                )
            found += ones
        return found

    def _check_names(self, name: str, counts: Mapping[str, int]) -> None:
        """Refuse names that are certainly not classes, and warn of those that may not be.

        A missing value among numbers, and one number written in two ways, are refused.
        """
        where = f"csv: {self.path}, column {name!r}"
        missing = [cell for cell in counts if cell.lower() in MISSING]
        others = [cell for cell in counts if cell not in missing]
        numeric = all(map(is_number, others))
        if missing and others:
            told = f"{where}: {sum(counts[cell] for cell in missing)} cells are {brief(missing)}"
            if numeric:
                raise UserError(f"{told}, the others are numbers; remove these rows")
            _log.warning("%s, which is taken for a class; remove these rows if it is not", told)
        if not numeric:
            tell_alike(others, where)
            return
        alike: dict[float, list[str]] = {}
        for cell in others:
            alike.setdefault(float(cell), []).append(cell)
        for same in alike.values():
            if len(same) > 1:
                raise UserError(f"{where}: {brief(same)} are the same number; write it in one way")

    def _filled(self, name: str, what: str) -> list[str]:
        cells = self.cells(name)
        if isinstance(cells[0], parquet.Unread):
            raise UserError(
                f"csv: {self.path}, column {name!r}: is {cells[0]} in each row, no {what}; store "
                "it as text, or leave the column out"
            )
        if "" in cells:
            where = self.where(cells.index(""))
            raise UserError(f"{where}, column {name!r}: no {what}; correct the row")
        return cells


def likely_delimiter(path: str, encoding: str = "utf-8") -> str:
    """What divides the first lines into equally many cells, and the header into most.

    Excel's own first line says it outright, and of a header with tabulators the suffix .tsv. Blanks
    divide where nothing else does.
    """
    if path.lower().endswith(TYPED):
        return ","
    text = user_files.read(Path(path), "csv", encoding)
    if re.match(r"sep=.\n", text):
        return text[4]
    text = re.sub(r"\A(?:(?:#.*)?\n)+(?=.)", "", text)  # comments, of which one may be the header
    lines = re.sub(r'"[^"]*"', "", text[:_BEGINNING]).split("\n")[:-1] or [text]

    if path.lower().endswith(".tsv") and "\t" in lines[0]:
        return "\t"
    words = {len(line.split()) for line in lines if line.strip()}
    if not {*_DELIMITERS} & {*lines[0]} and len(lines) > 1 and len(words) == 1 < max(words):
        return " "

    def cells(sign: str) -> tuple[bool, int]:
        counts = {line.count(sign) for line in lines if line.strip()}
        return len(counts) == 1, lines[0].count(sign)

    return max(_DELIMITERS, key=lambda sign: (lines[0].count(sign) > 0, *cells(sign)))


def below_notes(text: str, delimiter: str) -> tuple[int, str]:
    """How many lines are above the header of a table, and the text from there on.

    Such are Excel's own `sep=;`, and comments: lines that begin with #. The last comment is the
    header if it has as many cells as the next line, and either has no blank after # or stands above
    numbers; numpy.savetxt's `# ` is removed.

    Args:
      text: of the file.
      delimiter: between two cells.
    """
    lines = text.split("\n")
    if re.fullmatch("sep=.", lines[0]):
        return 1, text[len(lines[0]) + 1 :]
    rows = (i for i, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    above = next(rows, 0)
    if above and lines[above - 1].startswith("#"):
        cells = lines[above].split(delimiter)
        is_row = any(is_number(cell.replace(",", ".")) for cell in cells)
        last = lines[above - 1].removeprefix("# ")
        if last.count(delimiter) + 1 == len(cells) > 1 and (is_row or last.startswith("#")):
            above -= 1
            lines[above] = last
    return above, "\n".join(lines[above:])


def _without_blanks(
    header: list[str], rows: list[list[str]], lines: list[int]
) -> tuple[list[str], list[list[str]], list[int]]:
    """Without rows and columns that hold nothing, not even a name, as spreadsheets write them.

    Where all rows have a cell more than the header, it is an empty one at their ends, or, as R
    writes it, the name of the row.
    """
    kept = [
        (row, line)
        for row, line in zip(rows, lines, strict=True)
        if any(row) or len(row) > len(header)
    ]
    rows, lines = [row for row, _ in kept], [line for _, line in kept]
    if {len(row) for row in rows} == {len(header) + 1}:
        if not any(row[-1] for row in rows):
            rows = [row[:-1] for row in rows]
        elif len({row[0] for row in rows}) == len(rows):
            header = ["", *header]
    nameless = [i for i, name in enumerate(header) if not name]
    blank = {i for i in nameless if not any("".join(row[i : i + 1]) for row in rows)}
    if blank:
        header = [name for i, name in enumerate(header) if i not in blank]
        rows = [[cell for i, cell in enumerate(row) if i not in blank] for row in rows]
    return header, rows, lines


def _divides_thousands(cells: list[str], sign: str, decimal: str) -> bool:
    """Whether a sign is between thousands wherever it stands, and surely so in one cell.

    1,234 may be another number elsewhere, 1,234.5 and 1,234,567 cannot.
    """
    having = [cell for cell in cells if sign in cell]
    group, point = re.escape(sign), re.escape(decimal)
    grouped = re.compile(rf"[-+]?\d{{1,3}}(?:{group}\d{{3}})+(?:{point}\d+)?")
    if not all(map(grouped.fullmatch, having)):
        return False
    alone = sign in _ONLY_BETWEEN_THOUSANDS
    return alone or any(decimal in cell or cell.count(sign) > 1 for cell in having)


def is_number(cell: str) -> bool:
    """Whether a cell is a number that float32 can hold; Python's 1_000 is refused."""
    try:
        return "_" not in cell and abs(float(cell)) <= _LARGEST
    except ValueError:
        return False
