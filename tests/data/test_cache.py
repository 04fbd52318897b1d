import os

import numpy as np
import pytest

from jaxdl.data.cache import cached, folder


def columns():
    return {"image": np.arange(300, dtype=np.uint8), "label": np.arange(3)}


def remake():
    raise AssertionError("made twice")


def test_made_once():
    made = cached("key", columns)
    again = cached("key", remake)
    assert list(again) == list(made)
    for name, column in made.items():
        np.testing.assert_array_equal(again[name], column)
        assert again[name].dtype == column.dtype
    assert [path.suffix for path in folder().iterdir()] == [".npz"]


def test_another_key_is_made_anew():
    cached("key", columns)
    with pytest.raises(AssertionError, match="made twice"):
        cached("other", remake)


def test_every_damaged_file_is_made_again():
    cached("key", columns)
    (file,) = folder().iterdir()
    sound = file.read_bytes()
    for place in range(0, len(sound), 37):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        for name, column in cached("key", columns).items():
            np.testing.assert_array_equal(column, columns()[name])


def test_objects_are_never_pickled():
    with pytest.raises(ValueError, match="Object arrays"):
        cached("key", lambda: {"x": np.array([{}, None])})
    assert list(folder().iterdir()) == []


@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_without_a_place_to_write(tmp_path, monkeypatch, obstacle):
    place = tmp_path / "place"
    if obstacle == "file":
        place.touch()
    else:
        place.mkdir(mode=0o500)
        if os.access(place, os.W_OK):
            pytest.skip("this user may write everywhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    np.testing.assert_array_equal(cached("key", columns)["label"], [0, 1, 2])


def test_an_interrupted_write_leaves_nothing(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached("key", columns)
    assert list(folder().iterdir()) == []


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_made_again(mode, caplog):
    cached("key", columns)
    (file,) = folder().iterdir()
    assert file.stat().st_mode & 0o077 == 0 and folder().stat().st_mode & 0o077 == 0
    file.chmod(mode)
    with pytest.raises(AssertionError, match="made twice"):
        cached("key", remake)
    cached("key", columns)
    cached("key", remake)
    (record,) = caplog.records
    assert str(file) in record.getMessage()
