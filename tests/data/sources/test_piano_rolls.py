import numpy as np
import pytest

from jaxdl.data.sources.piano_rolls import piano_rolls, twin_piano_rolls
from jaxdl.errors import UserError

LENGTHS = {"train": [5, 3, 1], "validation": [4], "test": [2, 7]}


def music():
    rng = np.random.default_rng(0)
    arrays = {}
    for role, lengths in LENGTHS.items():
        arrays[role] = (rng.random((sum(lengths), 88)) < 0.2).astype(np.uint8)
        arrays[f"{role}_lengths"] = np.array(lengths, np.int32)
    return arrays


@pytest.fixture
def write(tmp_path):
    def write(arrays, name="music.npz"):
        np.savez(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return write


def test_a_row_is_a_piece_after_silence(write):
    splits = piano_rolls(write(music()))
    assert [*splits] == [*LENGTHS]
    for role, table in splits.items():
        keys, length = table.columns["keys"], table.columns["length"]
        assert keys.shape == (len(LENGTHS[role]), 1 + 7, 88) and keys.dtype == np.uint8
        assert length.tolist() == LENGTHS[role] and table.columns["begins"].all()
        rows = [row[1 : 1 + n] for row, n in zip(keys, length, strict=True)]
        np.testing.assert_array_equal(np.concatenate(rows), music()[role])
        assert not keys[:, 0].any()
        assert not any(row[1 + n :].any() for row, n in zip(keys, length, strict=True))


def test_windows_go_on_where_the_last_ended(write):
    table = piano_rolls(write(music()), window=2)["train"]
    keys, length = table.columns["keys"], table.columns["length"]
    assert length.tolist() == [2, 2, 1, 2, 1, 1]
    assert table.columns["begins"].tolist() == [True, False, False, True, False, True]
    rows = [row[1 : 1 + n] for row, n in zip(keys, length, strict=True)]
    np.testing.assert_array_equal(np.concatenate(rows), music()["train"])
    for i in (1, 2, 4):
        np.testing.assert_array_equal(keys[i, 0], keys[i - 1, 2])


def test_packed_bits_are_the_same_music(write):
    arrays = music()
    packed = {k: v if v.ndim == 1 else np.packbits(v, axis=1) for k, v in arrays.items()}
    assert packed["train"].shape == (9, 11)
    for window in (None, 3):
        one, other = (piano_rolls(write(a), window)["test"] for a in (arrays, packed))
        np.testing.assert_array_equal(one.columns["keys"], other.columns["keys"])


def without(name):
    return {k: v for k, v in music().items() if k != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (without("train"), "it needs an array 'train'"),
        (without("test_lengths"), r"it needs 'test_lengths', whole numbers \(pieces,\)"),
        (music() | {"train": np.zeros((9, 87), np.uint8)}, r"'train' is uint8 of shape \(9, 87\)"),
        (music() | {"train": np.zeros((9, 88))}, "'train' is float64 of shape .*must be uint8"),
        (music() | {"train": np.zeros((3, 3, 88), np.uint8)}, r"of shape \(3, 3, 88\); it must"),
        (music() | {"train": np.full((9, 88), 90, np.uint8)}, "values up to 90; a key is 0 or 1"),
        (music() | {"train_lengths": np.array([5, 3])}, "add up to the 9 frames of 'train', but"),
        (music() | {"train_lengths": np.array([9, 0])}, "must be at least 1 .* are from 0 and"),
        (music() | {"train_lengths": np.array([], int)}, "must be at least 1 and add up to the 9"),
        (music() | {"train_lengths": np.array([4.5, 4.5])}, "it needs 'train_lengths', whole"),
    ],
)
def test_other_arrays_are_refused(write, arrays, message):
    with pytest.raises(UserError, match=f"^piano_rolls: .*{message}"):
        piano_rolls(write(arrays))


def test_other_files_are_refused(write, tmp_path):
    with pytest.raises(UserError, match=r"^piano_rolls: no file .*none.npz; write one with numpy"):
        piano_rolls(str(tmp_path / "none.npz"))
    (tmp_path / "roll.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"^piano_rolls: .* is not a sound .npz file"):
        piano_rolls(str(tmp_path / "roll.npz"))
    with pytest.raises(UserError, match="window=0; it must be at least 1 frame"):
        piano_rolls(write(music()), window=0)


def test_one_long_piece_does_not_exhaust_memory(write):
    lengths = np.array([30_000] + [1] * 2000)
    long = {"train": np.zeros((lengths.sum(), 11), np.uint8), "train_lengths": lengths}
    with pytest.raises(UserError, match=r"2001 rows of 30000 frames .* set config.data.window"):
        piano_rolls(write(long))
    assert len(piano_rolls(write(long), window=200)["train"]) == 2150


def test_the_twin_is_music_too():
    for window in (None, 10):
        twin = twin_piano_rolls(window)
        for table in twin.values():
            keys, length = table.columns["keys"], table.columns["length"]
            voices = keys[:, 1:].sum(axis=2)
            real = np.arange(voices.shape[1]) < length[:, None]
            assert ((voices >= 3) == real).all() and not voices[~real].any()
    first, again = (twin_piano_rolls()["train"].columns["keys"] for _ in "ab")
    np.testing.assert_array_equal(first, again)
