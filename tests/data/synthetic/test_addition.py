import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.synthetic.addition import addition


def pairs(table):
    return [tuple(map(int, question.split("+"))) for question in table.columns["question"]]


@settings(deadline=None, max_examples=15)
@given(
    digits=st.integers(1, 6),
    smaller=st.none() | st.integers(1, 6),
    sizes=st.tuples(st.integers(1, 25), st.integers(1, 20), st.integers(0, 10)),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_right_and_disjoint(digits, smaller, sizes, seed):
    smaller = smaller and min(smaller, digits)
    splits = addition(digits, *sizes, smaller, seed)
    expected = dict(zip(("train", "test", "validation"), sizes, strict=True))
    assert {role: len(t) for role, t in splits.items()} == {k: n for k, n in expected.items() if n}
    every = [pair for table in splits.values() for pair in pairs(table)]
    assert len(set(every)) == len(every) == sum(sizes)
    assert all(0 <= number < 10**digits for pair in every for number in pair)
    assert smaller is None or all(a <= b and a < 10**smaller for a, b in every)
    for table in splits.values():
        assert table.columns["answer"].tolist() == [str(a + b) for a, b in pairs(table)]


def test_all_pairs_can_be_had():
    splits = addition(digits=1, train_examples=90, test_examples=10)
    assert {p for t in splits.values() for p in pairs(t)} == {
        (a, b) for a in range(10) for b in range(10)
    }
    splits = addition(digits=2, train_examples=950, test_examples=5, smaller_digits=1)
    assert len({p for t in splits.values() for p in pairs(t)}) == 955  # 10·100 - 45


def test_the_published_sizes():
    splits = addition()
    assert list(splits) == ["train", "test"]
    assert (len(splits["train"]), len(splits["test"])) == (230_400, 10_000)
    assert not set(pairs(splits["train"])) & set(pairs(splits["test"]))
    assert splits["test"].columns["question"][0] == "710+622"  # always
    numbers = np.array(pairs(splits["train"]))
    assert np.abs(numbers.mean(axis=0) - 499.5).max() < 3  # deviation 0.6


def test_other_sizes_leave_the_test_split_alone():
    for digits in (2, 5):
        first, second = (
            addition(digits, n, 50, validation_examples=v) for n, v in ((9, 0), (5, 3))
        )
        assert pairs(first["test"]) == pairs(second["test"])
        assert pairs(first["test"]) != pairs(addition(digits, 9, 50, seed=1)["test"])


@pytest.mark.parametrize(
    ("wrong", "fragments"),
    [
        (dict(digits=0), ["digits=0"]),
        (dict(digits=7), ["digits=7", "1 to 6"]),
        (dict(digits=2), ["240400 examples, but only 10000 pairs"]),
        (dict(smaller_digits=2), ["240400 examples, but only 95050 pairs"]),
        (dict(smaller_digits=4), ["smaller_digits=4", "digits=3"]),
        (dict(smaller_digits=0), ["smaller_digits=0"]),
        (dict(train_examples=0), ["train_examples=0"]),
        (dict(test_examples=-5), ["test_examples=-5"]),
        (dict(validation_examples=-1), ["validation_examples=-1"]),
        (dict(seed=-1), ["seed=-1"]),
    ],
)
def test_refuses(refuses, wrong, fragments):
    with refuses("addition:", *fragments):
        addition(**wrong)
