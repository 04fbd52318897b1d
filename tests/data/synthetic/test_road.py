"""The drawn road looks like the drives it stands for, and can be learnt."""

import numpy as np
import pytest

from jaxdl.data import duplicates, twin_of
from jaxdl.data.sources import tfds
from jaxdl.data.synthetic.road import road


@pytest.fixture(scope="module")
def splits():
    return road()


def schema(table):
    return {name: (c.dtype, c.shape[1:]) for name, c in table.columns.items()}


def test_splits_are_blocks_of_time_of_each_drive(splits):
    assert {k: len(t) for k, t in splits.items()} == {"train": 600, "validation": 100, "test": 100}
    seen = dict[int, int]()
    for table in splits.values():
        drive, frame = table.columns["drive"], table.columns["frame"]
        assert set(drive) == {0, 1}
        for number in (0, 1):
            here = frame[drive == number]
            assert (np.diff(here) == 1).all() and here[0] >= seen.get(number, 0)
            seen[number] = here[-1] + 2  # at least one frame is left out at each seam
            assert (np.diff(table.columns["timestamp_ms"][drive == number]) > 0).all()
    assert set(duplicates(splits).values()) == {0}


def test_angles_are_a_humans(splits):
    for table in splits.values():
        angle = table.columns["steering"]
        assert np.abs(angle).max() <= 1 and angle.min() < -0.3 and angle.max() > 0.3
        assert 0.05 < (angle == 0).mean() < 0.8
        for number in (0, 1):
            one = angle[table.columns["drive"] == number]
            assert np.abs(np.diff(one)).max() < 0.25  # smooth


def test_drawing_is_the_same_each_time(splits):
    again = road()
    for role, table in splits.items():
        for name, column in table.columns.items():
            np.testing.assert_array_equal(column, again[role].columns[name])


def test_it_looks_like_the_original(splits, tfds_dir):
    original = tfds("driving", validation="validation", cache=False)
    for role, table in original.items():
        assert schema(splits[role]) == schema(table)
    columns = ("image", "steering")
    assert list(twin_of(tfds, {"dataset": "driving", "columns": columns})["train"].columns) == [
        *columns
    ]


def test_it_can_be_learnt(splits):
    """By ridge regression of 10 × 25 pixels; a mirrored road has the other sign."""

    def few(images):
        return images[:, 4:64:6, 4::8].mean(-1).reshape(len(images), -1)

    train, test = (splits[role].columns for role in ("train", "test"))
    x = np.concatenate([few(train["image"]), few(train["image"][:, :, ::-1])])
    y = np.concatenate([train["steering"], -train["steering"]])
    mean, scale = x.mean(0), x.std(0) + 1
    x = (x - mean) / scale
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), x.T @ y)
    error = (few(test["image"]) - mean) / scale @ weights - test["steering"]
    assert 1 - (error**2).mean() / test["steering"].var() > 0.6
