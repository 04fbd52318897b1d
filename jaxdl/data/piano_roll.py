"""Frames of a piano's keys: as text, one line for each frame, and as a MIDI file.

    C3 G3 E4 C5
    C3 G3 F4 C5
    -

Keys that sound together, by name and octave, C4 being middle C (MIDI 60); `-` is silence.
"""

from __future__ import annotations

import io
import re
from typing import ClassVar

import numpy as np
from jaxtyping import Integer, UInt8
from numpy.typing import ArrayLike

from jaxdl.errors import UserError, brief

KEYS = 88
LOWEST = 21  # the first key's number in MIDI: A0

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KEY = re.compile(r"([A-G])(#|b)?(-?\d)")
_SILENCE = "-"
_TICKS = 480  # of a frame, in a MIDI file

Frames = UInt8[np.ndarray, "frames 88"]


class KeyNames:
    """Frames as text; it stands where the vocabulary of a text would.

    Attributes:
      start: the frame before the first: silence.
      end: no frame is the last.
      never: no frame is excluded.
    """

    start: ClassVar[list[int]] = [0] * KEYS
    end: ClassVar[None] = None
    never: ClassVar[tuple[int, ...]] = ()

    def encode(self, text: str) -> Frames:
        """The frames of a text, which commas may separate instead of line ends.

        Raises:
          UserError: a word is not the name of a key of the piano.
        """
        lines = [line for line in re.split(r"[,\n]", text) if line.strip()]
        frames = np.zeros((len(lines), KEYS), np.uint8)
        for frame, line in zip(frames, lines, strict=True):
            for word in line.split():
                if word != _SILENCE:
                    frame[_key(word)] = 1
        return frames

    def decode(self, frames: ArrayLike) -> str:
        """The text of frames (1 + n, 88), of which the first is `start`."""
        return "\n".join(
            " ".join(_name(int(key)) for key in np.flatnonzero(frame)) or _SILENCE
            for frame in np.asarray(frames)[1:]
        )


def to_midi(frames: Integer[np.ndarray, "frames 88"], seconds: float) -> bytes:
    """A MIDI file of frames that last so many seconds; a key that goes on sounding is held."""
    from mido import Message, MetaMessage, MidiFile, MidiTrack

    file = MidiFile(ticks_per_beat=_TICKS)
    track = MidiTrack([MetaMessage("set_tempo", tempo=round(seconds * 1e6))])
    change = np.diff(np.pad(np.asarray(frames, np.int8), ((1, 1), (0, 0))), axis=0)
    told = 0  # the frame of the last message
    for frame, row in enumerate(change):
        for key in sorted(np.flatnonzero(row), key=lambda key: row[key]):  # ends before beginnings
            kind, note = ("note_on" if row[key] > 0 else "note_off"), LOWEST + int(key)
            track.append(Message(kind, note=note, time=(frame - told) * _TICKS))
            told = frame
    file.tracks.append(track)
    written = io.BytesIO()
    file.save(file=written)
    return written.getvalue()


def _key(word: str) -> int:
    match = _KEY.fullmatch(word)
    key = -1
    if match:
        sign = {"#": 1, "b": -1, None: 0}[match[2]]
        key = 12 * (int(match[3]) + 1) + _STEPS[match[1]] + sign - LOWEST
    if not 0 <= key < KEYS:
        raise UserError(
            f"{brief(word)} is not a key of the piano, A0 to C8; write frames such as 'C3 G3 E4 C5'"
        )
    return key


def _name(key: int) -> str:
    octave, step = divmod(LOWEST + key, 12)
    return f"{_NAMES[step]}{octave - 1}"
