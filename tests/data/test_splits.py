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


@given(count=st.integers(0, 60), test=st.sampled_from([0.0, 0.2, 0.4]))
def test_hashed_splits_are_disjoint_whole_and_not_empty(count, test):
    splits = hashed_roles(range(count), str, test, 0.25)
    assert sorted(item for part in splits.values() for item in part) == list(range(count))
    shares = {"train": 0.75 - test, "validation": 0.25, "test": test}
    assert all(part for role, part in splits.items() if count * shares[role] >= 1)
