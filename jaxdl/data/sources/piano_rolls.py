"""Piano rolls, music as frames of a piano's keys: a source and its twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxdl.data.piano_roll import KEYS, KeyNames
from jaxdl.data.sources.arrays import read_npz
from jaxdl.data.splits import random_state
from jaxdl.data.table import BEGINS, Table
from jaxdl.errors import UserError, brief

_PACKED = KEYS // 8
Roll = UInt8[np.ndarray, "_ 88"]  # of a piece

_ROLES = ("train", "validation", "test")
_ROLL = 2**31  # the most bytes that the rows of a split may take

# Four voices for each of the chords I, IV, V and I that the twin goes through.
_CHORDS = ("C3 G3 E4 C5", "F3 A3 F4 C5", "G2 G3 D4 B4", "C3 E3 G4 C5")


def piano_rolls(path: str, window: int | None = None) -> dict[str, Table]:
    """Pieces of music, as frames of a piano's 88 keys that sound or not, in a NumPy archive.

    For each split, 'train' and, if there are any, 'validation' and 'test', the archive has the
    frames of all pieces one after the other, uint8 (frames, 88) of 0 and 1, or packed by
    `numpy.packbits(…, axis=1)` into (frames, 11); and `train_lengths` (pieces,), … , their frames.
    The first key is A0, number 21 in MIDI.

    Args:
      path: path of the archive, as `numpy.savez` writes it.
      window: frames of a row, at least 1; a longer piece continues in the next row, and so does the
        model's state with `config.training.carry`. None for a whole piece in each row.

    Returns:
      `keys` uint8 (N, 1 + frames, 88), a row's frames after the one before them, which is silence
      where a piece begins, and padded by silence; `length` int32 (N,), the frames without padding
      and the one before; `begins` bool (N,), whether a piece begins at this row.

    Raises:
      UserError: the archive is missing or damaged, or an array has another type, shape or values.
    """
    arrays = read_npz(Path(path).expanduser(), "piano_rolls")
    if "train" not in arrays:
        raise UserError(f"piano_rolls: {path} has {brief([*arrays])}; it needs an array 'train'")
    pieces = {role: _pieces(arrays, role, path) for role in _ROLES if role in arrays}
    return _tables(pieces, window, path)


def twin_piano_rolls(window: int | None = None) -> dict[str, Table]:
    """The twin of `piano_rolls`: cadences of four voices, each in a key of its own.

    A chord lasts two frames, and each voice may leave it for a neighbour in the second.

    Returns:
      The same columns: 60 pieces to train on, 20 for validation and 20 to test.
    """
    chords = np.repeat(KeyNames().encode(",".join(_CHORDS)), 2, axis=0)
    splits: dict[str, list[Roll]] = {}
    for stream, (role, pieces) in enumerate(zip(_ROLES, (60, 20, 20), strict=True)):
        random = random_state("twin of piano_rolls", 0, stream)
        splits[role] = []
        for length in 8 * random.randint(3, 7, pieces):
            roll = np.resize(np.roll(chords, random.randint(-5, 7), axis=1), (length, KEYS))
            for frame in roll[1::2]:
                key = random.choice(np.flatnonzero(frame))
                frame[[key, key + random.choice((-2, 2))]] = 0, 1
            splits[role].append(roll)
    return _tables(splits, window, "twin of piano_rolls")


def _pieces(arrays: dict[str, np.ndarray], role: str, path: str) -> list[Roll]:
    """The pieces of a split."""
    where, name = f"piano_rolls: {path}", f"{role}_lengths"
    frames, lengths = arrays[role], arrays.get(name)
    if frames.dtype != np.uint8 or frames.ndim != 2 or frames.shape[1] not in (_PACKED, KEYS):
        raise UserError(
            f"{where}: {role!r} is {frames.dtype} of shape {frames.shape}; it must be uint8 "
            f"(frames, {KEYS}), or (frames, {_PACKED}) from numpy.packbits(…, axis=1)"
        )
    if frames.shape[1] == KEYS and frames.max(initial=0) > 1:
        raise UserError(f"{where}: {role!r} has values up to {frames.max()}; a key is 0 or 1")
    if lengths is None or lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise UserError(
            f"{where}: it needs {name!r}, whole numbers (pieces,): frames of each piece"
        )
    if not len(lengths) or lengths.min() < 1 or int(lengths.sum()) != len(frames):
        raise UserError(
            f"{where}: {name!r} must be at least 1 and add up to the {len(frames)} frames of "
            f"{role!r}, but they are from {lengths.min(initial=0)} and add up to {lengths.sum()}"
        )
    keys = np.unpackbits(frames, axis=1) if frames.shape[1] == _PACKED else frames
    return np.split(keys, np.cumsum(lengths)[:-1])


def _tables(splits: dict[str, list[Roll]], window: int | None, where: str) -> dict[str, Table]:
    if window is not None and window < 1:
        raise UserError(f"piano_rolls: window={window}; it must be at least 1 frame, or None")
    width = window or max(len(piece) for pieces in splits.values() for piece in pieces)
    return {role: _rows(pieces, width, f"{where} {role}") for role, pieces in splits.items()}


def _rows(pieces: list[Roll], width: int, where: str) -> Table:
    """The rows of a split, of so many frames beside the one before."""
    parts = [(piece, start) for piece in pieces for start in range(0, len(piece), width)]
    if len(parts) * (1 + width) * KEYS > _ROLL:
        raise UserError(
            f"{where}: {len(parts)} rows of {width} frames take more than {_ROLL >> 30} GiB; set "
            "config.data.window to fewer, such as 200, and config.training.carry to true"
        )
    keys, length = np.zeros((len(parts), 1 + width, KEYS), np.uint8), np.zeros(len(parts), np.int32)
    for row, (piece, start) in enumerate(parts):
        part = piece[start : start + width]
        keys[row, 1 : 1 + len(part)], length[row] = part, len(part)
        if start:
            keys[row, 0] = piece[start - 1]
    begins = np.array([start == 0 for _, start in parts])
    return Table({"keys": keys, "length": length, BEGINS: begins}, where)
