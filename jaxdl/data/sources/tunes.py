"""Tunes in ABC notation: a source and its twin.

Sections are those of Walshaw, The abc music standard 2.1 (2011), abcnotation.com/wiki/abc:standard.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxdl.data import user_files
from jaxdl.data.splits import partition, random_state
from jaxdl.data.table import Table
from jaxdl.data.text import abc
from jaxdl.errors import UserError, printable, some

_log = logging.getLogger("jaxdl")

_FIELDS = "MLK"  # meter, unit note length and key: without them notes have no pitch or length
_BLOCK = re.compile(r"%%\s*begin(\w+)")  # of text, or of another language (11.4.1)
_INLINE_FIELD = re.compile(r"\[([A-Za-z]):([^\[\]\n]*)\]")  # without nested brackets: see `abc`
_QUOTED = re.compile(r'"([^"\n]*)"')

_LETTERS = "CDEFGAB"
# Each key's tonic, in steps of the scale above middle C, and its chords I, IV and V.
_KEYS = {"G": (4, "GCD"), "D": (1, "DGA"), "A": (5, "ADE"), "C": (0, "CFG")}
# Each meter's beats, and the rhythms that fill a beat, in eighths.
_BEATS = {
    "4/4": (2, ((4,), (2, 2), (2, 1, 1), (1, 1, 2), (3, 1), (1, 1, 1, 1))),
    "3/4": (3, ((2,), (1, 1))),
    "6/8": (2, ((3,), (2, 1), (1, 1, 1))),
}


def tunes(
    path: str,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.0,
    seed: int = 0,
    encoding: str = "utf-8",
    skip: int = 0,
) -> dict[str, Table]:
    """Tunes in ABC notation, one for each row, reduced to their music, split at random.

    A row has the meter, the unit note length (the standard's default if the tune has none) and the
    key, in this order; then the music with its chord symbols, and changes of those three on lines
    of their own. Titles, parts, lyrics, comments, blocks of text (%%begintext) and annotations are
    removed. As in the standard (2.2), `X:` starts a tune and an empty line ends it, and the meter
    and unit of the file header, which stands before the first tune, hold for tunes without them. Of
    equal rows the first is kept.

    Args:
      path: path of a file, of a folder with `.abc` files in it or below, or a pattern such as
        'reels/*.abc'.
      validation_fraction: share of the tunes for the validation split, rounded; 0 for none.
      test_fraction: share of the tunes for the test split, rounded; 0 for none.
      seed: seed of the random split.
      encoding: encoding of the files, as Python names it, such as 'cp1252'.
      skip: how many tunes that cannot be read may be left out; a warning names them.

    Returns:
      `text` (N,) of str; each ends with a newline.

    Raises:
      UserError: no file matches, or a tune cannot be read (with `skip`, more than `skip` of them);
        the message names the line.
    """
    if skip < 0:
        raise UserError(f"tunes: skip={skip}; it must be at least 0, the number of tunes")
    files = user_files.find(path, ".abc", "tunes")
    rows: dict[str, None] = {}
    faults: list[str] = []
    for file in files:
        with user_files.reading("tunes", file):
            rows |= dict.fromkeys(_read(file, encoding, faults))
    if len(faults) > skip:
        more = f" ({len(faults)} such tunes; skip={len(faults)} leaves them out)"
        raise UserError(faults[0] + more)
    if faults:
        _log.warning("tunes: left out %d (%s)", len(faults), some(faults))
    return _split([*rows], path, validation_fraction, test_fraction, seed)


def twin_tunes(
    validation_fraction: float = 0.05, test_fraction: float = 0.0, seed: int = 0
) -> dict[str, Table]:
    """The twin of `tunes`: 200 tunes composed by rule, in the form of its rows.

    Two parts of eight bars, each repeated. The notes are a random walk on the scale of the key that
    ends on its tonic, in rhythms that fill each bar; the chord of a bar contains its first note.
    """
    random = random_state("twin of tunes", seed, 1)
    rows = [_composed(random) for _ in range(200)]
    return _split(rows, "twin of tunes", validation_fraction, test_fraction, seed)


def _read(file: Path, encoding: str, faults: list[str]) -> list[str]:
    """The rows of a file; tunes that cannot be read are appended to the faults."""
    rows, lines = [], _without_blocks(user_files.read(file, "tunes", encoding).splitlines(), file)
    starts = [i for i, line in enumerate(lines) if line.startswith("X:")]
    if not starts:
        raise UserError(
            f"tunes: {file} has no tune in ABC notation; start each with a line such as 'X:1'"
        )
    shared = _file_header(lines[: starts[0]])
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        tune = lines[start:end]
        blank = next((i for i, line in enumerate(tune) if not line.strip()), len(tune))
        number = printable(abc.COMMENT.sub("", tune[0])[2:].strip(), 20)
        where = f"tunes: {file} line {start + 1}, tune X:{number}"
        try:
            rows.append(_cleaned(tune[:blank], shared, where))
        except UserError as error:
            faults.append(str(error))
    return rows


def _without_blocks(lines: list[str], file: Path) -> list[str]:
    """The lines, those of blocks as comments, so that messages count right (11.4.1)."""
    kept, end, begin = [], None, 0
    for i, line in enumerate(lines, 1):
        if end is None and (match := _BLOCK.match(line)):
            end, begin = match[1], i
        kept.append(line if end is None else "%")
        if end is not None and re.match(rf"%%\s*end{end}\b", line):
            end = None
    if end is not None:
        raise UserError(
            f"tunes: {file} line {begin}: no %%end{printable(end, 40)} closes it; add it"
        )
    return kept


def _file_header(lines: list[str]) -> dict[str, str]:
    """Meter and unit of the lines before the first tune, up to an empty one (2.2.2)."""
    blank = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
    matches = [abc.FIELD_LINE.match(abc.COMMENT.sub("", line)) for line in lines[:blank]]
    return {match[1]: match[2].strip() for match in matches if match and match[1] in "ML"}


def _cleaned(lines: list[str], shared: dict[str, str], where: str) -> str:
    """A row of `tunes`."""
    fields, body = abc.header_and_body("\n".join(lines))
    if "K" not in fields:
        raise UserError(f"{where}: the header does not end with a key, the field K:; add it")
    fields = {**shared, **fields}
    fields.setdefault("M", "none")  # 3.1.6
    try:
        fields.setdefault("L", str(abc.default_unit(abc.read_meter(fields["M"]))))
        abc.read_unit(fields["L"])
    except ValueError as error:
        raise UserError(f"{where}: {error}; correct it") from None
    music = "\n".join(_cleaned_body(body))
    if len(set(re.findall(r"(?:^|\[)V:\s*(\w+)", "\n".join(lines), re.MULTILINE))) > 1:
        raise UserError(
            f"{where}: has several voices (V:), and a row has one; leave the others out"
        )
    if not abc.has_notes(music):
        raise UserError(f"{where}: no notes after the header; add the music or remove the tune")
    return "".join(f"{name}:{fields[name]}\n" for name in _FIELDS) + music + "\n"


def _cleaned_body(body: str) -> Iterator[str]:
    """The lines of music and of fields; lines of music that the file continues are joined."""
    music = ""
    inline_on_lines = _INLINE_FIELD.sub(
        lambda m: f"\n{m[1]}:{m[2]}\n" if m[1] in _FIELDS else "", abc.COMMENT.sub("", body)
    )
    for line in [*inline_on_lines.splitlines(), "K:"]:
        match = abc.FIELD_LINE.match(line)
        if match is None:
            line = _QUOTED.sub(_without_annotation, line).strip()
            music += " " + line.removesuffix("\\")
            if line.endswith("\\"):
                continue
        if music.strip():
            yield " ".join(music.split())
        music = ""
        if match and match[1] in _FIELDS and match[2].strip():
            yield f"{match[1]}:{match[2].strip()}"


def _without_annotation(quoted: re.Match[str]) -> str:
    """The chord symbol, or nothing for an annotation, which starts with its place (4.19)."""
    return "" if quoted[1].startswith(("^", "_", "<", ">", "@")) else quoted[0]


def _split(
    rows: list[str], where: str, validation: float, test: float, seed: int
) -> dict[str, Table]:
    text = np.array(rows, dtype=object)
    parts = partition(len(text), test, validation, seed, f"tunes: {where}")
    return {role: Table({"text": text[part]}, f"{where} {role}") for role, part in parts.items()}


def _composed(random: np.random.RandomState) -> str:
    meter = str(random.choice(list(_BEATS)))
    key = str(random.choice(list(_KEYS)))
    parts = [_part(random, meter, key) for _ in "AB"]
    return f"M:{meter}\nL:1/8\nK:{key}\n" + "".join(parts)


def _part(random: np.random.RandomState, meter: str, key: str) -> str:
    beats, rhythms = _BEATS[meter]
    tonic, chords = _KEYS[key]
    step, written = tonic, []
    for bar in range(8):
        durations = [d for _ in range(beats) for d in rhythms[random.randint(len(rhythms))]]
        if bar == 7:
            step, durations = tonic, [sum(durations)]
        chord = next(c for c in chords if (step - _LETTERS.index(c)) % 7 in (0, 2, 4))
        notes = ""
        for duration in durations:
            notes += _pitch(step) + ("" if duration == 1 else str(duration))
            step = min(max(step + int(random.choice((-2, -1, 1, 2))), 0), 12)
        written.append(f'"{chord}"{notes}')
    return "|:" + "|".join(written[:4]) + "|\n" + "|".join(written[4:]) + ":|\n"


def _pitch(step: int) -> str:
    letter = _LETTERS[step % 7]
    return letter if step < 7 else letter.lower()
