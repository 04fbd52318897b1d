"""Episodes that are evaluated are not those of training."""

import numpy as np
import pytest

from jaxdl.data import duplicates, load


def test_no_two_episodes_are_alike():
    splits = load("episodes", train_episodes=50, validation_episodes=7, test_episodes=10)
    assert [*splits] == ["train", "validation", "test"]
    assert [len(table) for table in splits.values()] == [50, 7, 10]
    assert not any(duplicates(splits).values())
    every = np.concatenate([table.columns["seed"] for table in splits.values()])
    assert len(np.unique(every)) == 67 and every.dtype == np.uint32


def test_the_test_split_is_the_same_whatever_is_trained_on():
    few, many = (load("episodes", train_episodes=n)["test"].columns["seed"] for n in (1, 1000))
    assert (few == many).all() and few.tolist() == [*range(100)]
    assert [*load("episodes", test_episodes=0)] == ["train"]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"train_episodes": 0}, "train_episodes=0; give at least 1"),
        ({"test_episodes": -1}, "test_episodes=-1; give at least 0"),
        ({"train_episodes": 1 << 32}, "there are 2³² seeds; give fewer"),
    ],
)
def test_numbers_of_episodes_out_of_range_are_refused(refuses, settings, fault):
    with refuses(fault):
        load("episodes", **settings)
