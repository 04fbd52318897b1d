"""Frames of keys as text, and as MIDI files that another reader reads back."""

import io

import mido
import numpy as np
import pytest

from jaxdl.data.piano_roll import KEYS, LOWEST, KeyNames, to_midi
from jaxdl.errors import UserError

CODEC = KeyNames()


def drawn(seed=0, frames=40):
    return (np.random.default_rng(seed).random((frames, KEYS)) < 0.1).astype(np.uint8)


def test_text_and_frames_are_the_same_music():
    frames = drawn()
    assert CODEC.decode([CODEC.start, *frames]).count("\n") == len(frames) - 1
    np.testing.assert_array_equal(CODEC.encode(CODEC.decode([CODEC.start, *frames])), frames)
    assert CODEC.encode("").shape == (0, KEYS) and CODEC.decode([CODEC.start]) == ""


def test_names_are_those_of_midi():
    frames = CODEC.encode("A0 C4, Bb3 C#4 C8\n-\nB#3")
    keys = [(LOWEST + np.flatnonzero(frame)).tolist() for frame in frames]
    assert keys == [[21, 60], [58, 61, 108], [], [60]]
    assert CODEC.decode([CODEC.start, *frames]) == "A0 C4\nA#3 C#4 C8\n-\nC4"


@pytest.mark.parametrize(
    "word", ["H3", "c3", "C", "C9", "G0", "C#", "C33", "Ab0", "4", "C3E3", "é"]
)
def test_what_is_no_key_is_refused(word):
    with pytest.raises(
        UserError, match="is not a key of the piano, A0 to C8; write frames such as"
    ):
        CODEC.encode(f"C4 {word}")


@pytest.mark.parametrize("seconds", [0.5, 0.125])
def test_a_midi_file_sounds_as_the_frames_say(seconds):
    frames = drawn(1)
    frames[[0, 7]] = 0  # silence at the start, and within
    file = mido.MidiFile(file=io.BytesIO(to_midi(frames, seconds)))
    heard, now, sounding = np.zeros_like(frames), 0.0, set()
    for message in file:  # with times in seconds
        before, now = now, now + message.time
        heard[round(before / seconds) : round(now / seconds), sorted(sounding)] = 1
        if message.type.startswith("note"):
            change = sounding.add if message.type == "note_on" else sounding.remove
            change(message.note - LOWEST)
    assert not sounding
    np.testing.assert_array_equal(heard, frames)


def test_a_key_that_goes_on_is_held():
    file = mido.MidiFile(file=io.BytesIO(to_midi(CODEC.encode("C4,C4 E4,C4"), 1.0)))
    assert [(m.type, m.note) for m in file if not m.is_meta] == [
        ("note_on", 60), ("note_on", 64), ("note_off", 64), ("note_off", 60),
    ]  # fmt: skip
    assert file.length == 3
