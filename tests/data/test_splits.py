import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.splits import hashed_roles, partition


@given(
    count=st.integers(5, 300),
    test=st.floats(0.2, 0.4),
    validation=st.sampled_from([0.0, 0.2, 0.3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_partition_is_disjoint_and_whole(count, test, validation, seed):
    parts = partition(count, test, validation, seed, "rows")
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
    assert len(parts["test"]) == round(count * test)
    assert ("validation" in parts) == (validation > 0)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=12, max_size=40),
    test=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_groups_stay_whole_and_shares_are_met_as_nearly_as_they_allow(sizes, test, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = partition(len(groups), test, 0.3, seed, "rows", groups)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(groups)))
    of_group = [{*groups[rows]} for rows in parts.values()]
    assert sum(map(len, of_group)) == len(sizes)
    # A cut is at most half a group away from where it would be, and a split has two.
    assert abs(len(parts["validation"]) - 0.3 * len(groups)) <= max(sizes) + 1


@given(count=st.integers(0, 60), test=st.sampled_from([0.0, 0.2, 0.4]))
def test_hashed_splits_are_disjoint_whole_and_not_empty(count, test):
    splits = hashed_roles(range(count), str, test, 0.25)
    assert sorted(item for part in splits.values() for item in part) == list(range(count))
    shares = {"train": 0.75 - test, "validation": 0.25, "test": test}
    assert all(part for role, part in splits.items() if count * shares[role] >= 1)


def test_names_that_are_not_utf_8_have_a_split():
    names = [os.fsdecode(b"caf\xe9%d.png" % i) for i in range(100)]
    parts = hashed_roles(names, str, 0.2, 0.0)
    assert sum(map(len, parts.values())) == 100 and 5 < len(parts["test"]) < 40
