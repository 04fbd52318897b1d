"""ABC notation: a reader of tunes that adds up the durations of their bars.

Sections are those of Walshaw, The abc music standard 2.1 (2011), abcnotation.com/wiki/abc:standard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

# A line that is a field, such as 'M:3/4', but not the note and the repeat of 'e:|'.
FIELD_LINE = re.compile(r"([A-Za-z+]):(?![|:])(.*)")
COMMENT = re.compile(r"(?<!\\)%.*")

_COUNT = "[1-9][0-9]{0,2}"
_LENGTH = f"(?:{_COUNT})?(?:/{_COUNT}|/{{0,4}})"  # 4.3: 3, /2, 3/2, /, //
_NOTE = f"(?:\\^\\^?|__?|=)?[A-Ga-g][,']*{_LENGTH}"  # 4.1, 4.2
_MARK = r'"[^"\n]*"|![^!\s|]+!|[.~H-Wh-w]'  # chord symbols and decorations (4.14, 4.18)
_ENDING = r"\[[ ]?[0-9][0-9,\-]*"  # 4.9
# Brackets and braces do not nest, as in music. If they could, a line of unclosed ones would take
# quadratic time, since each would search the rest of the line.
_TOKEN = re.compile(
    rf"""(?P<field>^[A-Za-z+]:(?![|:]).*$|\[[A-Za-z]:[^\[\]\n]*\])
    |(?P<line>\.?:*\[?\|(?:[|:\]]|\[(?=\|))*(?:[0-9][0-9,\-]*|\s*{_ENDING})?  # 4.8, 4.9
        |::+|{_ENDING})
    |(?P<chord>\[(?:{_MARK}|[( ])*{_NOTE}(?:{_NOTE}|{_MARK}|[-() ])*\]{_LENGTH})  # 4.17
    |(?P<note>{_NOTE}|[zx]{_LENGTH})
    |(?P<rest>[ZX](?:{_COUNT})?)  # whole bars (4.5)
    |(?P<tuplet>\([2-9](?::[0-9]?(?::[0-9]{{0,2}})?)?)  # 4.13
    |(?P<broken>>{{1,3}}|<{{1,3}})  # 4.4
    |(?P<nothing>\s+|%.*$|{_MARK}|\{{[^{{}}\n|]*\}}|[-()`\\]|y[0-9]*|\$|\*)
    |(?P<unreadable>.)""",
    re.MULTILINE | re.VERBOSE,
)
# p notes in the time of q (4.13); for 5, 7 and 9 notes q depends on the meter.
_TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


@dataclass(frozen=True)
class Bar:
    """The music between two bar lines.

    Attributes:
      duration: of its notes and rests, in whole notes; None if some of it is not ABC.
      meter: the duration of a full bar; None in free meter, where any bar is full.
      opens: it is the first of a tune or a section (which starts at a double bar line, a repeat or
        an ending), and may be short, a pick-up.
      closes: it is the last of a tune or a section, and may be short, to complete a pick-up.
    """

    duration: Fraction | None
    meter: Fraction | None
    opens: bool
    closes: bool


def bars(tune: str) -> list[Bar]:
    """The bars of one tune, in the order written, repeats once. Never raises.

    Text that is not ABC makes a bar of unknown duration. So does all music of a tune without a key,
    since the key starts the body (3.1.14), and music in overlaid voices (`&`), which are not
    separated.
    """
    fields, body = header_and_body(tune)
    reader = _Reader(unreadable=set() if "K" in fields else {"K"})
    reader.set_field("M", fields.get("M", "none"))
    reader.set_field("L", fields.get("L", str(default_unit(reader.meter))))
    for token in _TOKEN.finditer(body):
        reader.take(token)
    reader.end_bar(at_edge=True)
    return reader.bars


def share_of_full_bars(text: str) -> tuple[int, int]:
    """The number of right bars in all tunes of a text, and the number of all bars. Never raises.

    A bar is right if its durations add up to the meter, or if it is short and opens or closes a
    section. Two short bars on both sides of a repeat that together make a full one count as one.
    Bars in free meter are not counted; bars that are not ABC are wrong.
    """
    right = total = 0
    for tune in _tunes_in(text):
        measured = [b for b in bars(tune) if b.meter is not None or b.duration is None]
        i = 0
        while i < len(measured):
            bar, *after = measured[i : i + 2]
            halves = bool(after) and _make_one(bar, after[0])
            right += halves or _is_right(bar)
            total += 1
            i += 2 if halves else 1
    return right, total


def heading(number: int) -> str:
    """The fields that begin a tune in a file (3.1.1, 3.1.2), and that rows do not have."""
    return f"X:{number}\nT:Tune {number}\n"


def header_and_body(tune: str) -> tuple[dict[str, str], str]:
    """The fields up to the key, which ends the header (3.1.14), and the body after it.

    Without a key there are no fields, and the whole tune is the body.
    """
    key = re.search(r"^K:.*\n?", tune, re.MULTILINE)
    if key is None:
        return {}, tune
    lines = COMMENT.sub("", tune[: key.end()]).splitlines()
    matches = (FIELD_LINE.match(line) for line in lines)
    return {match[1]: match[2].strip() for match in matches if match}, tune[key.end() :]


def has_notes(music: str) -> bool:
    """Whether the music has a note or a rest."""
    return any(token.lastgroup in ("note", "chord", "rest") for token in _TOKEN.finditer(music))


def read_meter(value: str) -> Fraction | None:
    """The duration of a bar (3.1.6), in whole notes; None in free meter.

    Raises:
      ValueError: it is not a meter.
    """
    value = value.replace(" ", "")
    if value in ("", "none"):
        return None
    if value in ("C", "C|"):
        return Fraction(1)
    # One or more fractions, (2+3)/8 or 2+3/8 or 2/4+3/4: numerators wait for their denominator.
    if not re.fullmatch(rf"(?:\(?{_COUNT}(?:\+{_COUNT})*\)?/{_COUNT}(?:\+(?!$)|$))+", value):
        raise ValueError(f"M:{value[:40]!r} is not a meter")
    total = Fraction(0)
    for numerators, denominator in re.findall(rf"\+?\(?([0-9+]+?)\)?/({_COUNT})", value):
        total += Fraction(sum(map(int, numerators.split("+"))), int(denominator))
    return total


def read_unit(value: str) -> Fraction:
    """The unit note length (3.1.7), in whole notes.

    Raises:
      ValueError: it is not a note length.
    """
    match = re.fullmatch(rf"\s*({_COUNT})(?:/({_COUNT}))?\s*", value)
    if match is None:
        raise ValueError(f"L:{value[:40]!r} is not a note length")
    return Fraction(int(match[1]), int(match[2] or 1))


def default_unit(meter: Fraction | None) -> Fraction:
    """3.1.7: a sixteenth in meters below 0.75 of a whole note, otherwise an eighth."""
    return Fraction(1, 16) if meter is not None and meter < Fraction(3, 4) else Fraction(1, 8)


def _tunes_in(text: str) -> Iterator[str]:
    """The tunes of a file (2.2), or of rows written one after the other."""
    for part in re.split(r"\n\s*\n|^(?=X:)", text, flags=re.MULTILINE):
        row = r"^(?=M:.*\nL:.*\nK:)"
        tunes = [part] if part.startswith("X:") else re.split(row, part, flags=re.MULTILINE)
        yield from (tune for tune in tunes if tune.strip())


@dataclass
class _Reader:
    """The state of reading a tune.

    Attributes:
      unreadable: fields that are missing or malformed, so that durations are unknown.
      meter: duration of a bar, None in free meter.
      compound: whether beats have three parts.
      unit: duration of a note without a length, in whole notes.
      bars: the complete bars.
      notes: durations in the current bar, in whole notes.
      garbled: whether the current bar has something that is not ABC.
      opens: whether the current bar opens a section.
      tuplet: factor of the durations, and for how many more notes it holds.
      pending: factor of the next note, the second of a broken rhythm.
    """

    unreadable: set[str]
    meter: Fraction | None = None
    compound: bool = False
    unit: Fraction = Fraction(1, 8)
    bars: list[Bar] = field(default_factory=list)
    notes: list[Fraction] = field(default_factory=list)
    garbled: bool = False
    opens: bool = True
    tuplet: tuple[Fraction, int] = (Fraction(1), 0)
    pending: Fraction | None = None

    def set_field(self, name: str, value: str) -> None:
        """A field of the header or in the body; a new meter leaves the unit alone (3.1.7)."""
        try:
            if name == "M":
                self.meter = read_meter(value)
                self.compound = re.match(r"\s*(6|9|12)/", value) is not None
                self.unreadable.discard(name)
            elif name == "L":
                self.unit = read_unit(value)
                self.unreadable.discard(name)
        except ValueError:
            self.unreadable.add(name)

    def take(self, token: re.Match[str]) -> None:
        """Read on by one token of the body."""
        text = token[0]
        match token.lastgroup:
            case "field":
                name, value = text.strip("[]").split(":", 1)
                self.set_field(name, COMMENT.sub("", value))
            case "line":
                self.end_bar(at_edge=text not in ("|", ".|"))
            case "note":
                self._add(_length(text) * self.unit)
            case "chord":  # as long as its first note
                first = re.findall(_NOTE, re.sub(_MARK, "", text))[0]
                self._add(_length(first) * _length(text.rpartition("]")[2]) * self.unit)
            case "rest":
                for i in range(int(text[1:] or 1)):
                    if i:
                        self.end_bar(at_edge=False)
                    self._add(self.meter or Fraction(1))
            case "tuplet":
                self.tuplet = self._tuplet(text)
            case "broken":
                self._break(text)
            case "unreadable":
                self.garbled = True

    def end_bar(self, at_edge: bool) -> None:
        """End the current bar, if it has a note; `at_edge` if a section ends here too."""
        if self.notes or self.garbled:
            sound = not (self.garbled or self.unreadable or self.pending)
            duration = sum(self.notes, Fraction(0)) if sound else None
            self.bars.append(Bar(duration, self.meter, self.opens, at_edge))
            self.opens = False
        elif self.bars and at_edge:  # two bar lines without a note between them, as '|' and '|:'
            self.bars[-1] = replace(self.bars[-1], closes=True)
        self.opens = self.opens or at_edge
        self.notes, self.garbled, self.pending = [], False, None
        self.tuplet = (Fraction(1), 0)

    def _add(self, duration: Fraction) -> None:
        factor, left = self.tuplet
        if left:
            duration *= factor
            self.tuplet = (factor, left - 1)
        if self.pending is not None:
            duration *= self.pending
            self.pending = None
        self.notes.append(duration)

    def _tuplet(self, text: str) -> tuple[Fraction, int]:
        p, q, r = (int(part) if part else 0 for part in [*text[1:].split(":"), "", ""][:3])
        q = q or _TUPLETS.get(p, 3 if self.compound else 2)
        return Fraction(q, p), r or p

    def _break(self, signs: str) -> None:
        """`>` lengthens the note before it and shortens the one after it; `<` the reverse."""
        if not self.notes or self.pending is not None:
            self.garbled = True
            return
        short = Fraction(1, 2 ** len(signs))
        before, after = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        self.notes[-1] *= before
        self.pending = after


def _is_right(bar: Bar) -> bool:
    if bar.duration is None or bar.meter is None:
        return False
    return bar.duration == bar.meter or (bar.duration < bar.meter and (bar.opens or bar.closes))


def _make_one(bar: Bar, after: Bar) -> bool:
    """Whether the two are halves of a bar that a repeat or an ending divides."""
    if bar.duration is None or after.duration is None or not (bar.closes and after.opens):
        return False
    return bar.duration + after.duration == bar.meter == after.meter


def _length(note: str) -> Fraction:
    """The digits and slashes that end a note, as a factor of the unit."""
    whole, slash, part = note.lstrip("^_=ABCDEFGabcdefgzx,'").partition("/")
    divisor = int(part) if part.isdigit() else 2 ** len(slash + part)
    return Fraction(int(whole or 1), divisor)
