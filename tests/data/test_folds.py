"""Folds: every example is tested once, and nothing of what is tested is trained on."""

import numpy as np
import pytest

from jaxdl.data import Folds, Lazy, Table
from jaxdl.data.folds import refuse_leakage
from jaxdl.data.table import Feature, standardized
from jaxdl.training.build import load_splits


def table(examples=23, **columns):
    x = np.random.default_rng(0).normal(size=(examples, 2)).astype(np.float32)
    return Table({"x": x, "row": np.arange(examples), **columns})


def rows_tested(data, **how):
    """The rows of the test split of each fold."""
    count = how["count"]
    parts = [Folds(fold=i, **how).apply({"train": data}) for i in range(count)]
    for part in parts:
        both = np.concatenate([part[role].columns["row"] for role in ("train", "test")])
        assert sorted(both) == list(range(len(data)))
    return [part["test"].columns["row"] for part in parts]


@pytest.mark.parametrize("count", [2, 5, 23])
@pytest.mark.parametrize("by", [None, "time", "row"])
def test_every_example_is_tested_once_in_folds_of_nearly_equal_sizes(count, by):
    rows = rows_tested(table(), count=count, by=by)
    assert sorted(np.concatenate(rows)) == list(range(23))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_folds_have_equally_many_of_each_class_and_are_not_blocks():
    label = np.repeat([0, 1, 2], [12, 7, 4])
    rows = rows_tested(table(label=label), count=4)
    counts = np.array([np.bincount(label[each], minlength=3) for each in rows])
    assert (np.ptp(counts, axis=0) <= 1).all() and max(map(len, rows)) - min(map(len, rows)) <= 1
    assert all(np.ptp(each) > len(each) for each in rows)


def test_the_same_seed_gives_the_same_folds_and_another_others():
    one, same, other = (Folds(4, seed=seed).places(table()) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


def test_groups_stay_in_one_fold():
    patient = np.random.default_rng(1).integers(0, 9, 60)
    rows = rows_tested(table(60, patient=patient), count=3, by="patient")
    owners = [set(patient[each]) for each in rows]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert sorted(np.concatenate(rows)) == list(range(60))
    assert max(map(len, rows)) - min(map(len, rows)) < np.bincount(patient).max()


def test_blocks_of_time_are_contiguous_and_in_order():
    rows = rows_tested(table(), count=4, by="time")
    assert np.concatenate(rows).tolist() == list(range(23))


def test_every_fold_has_a_block_of_each_recording():
    drive = np.array([0] * 8 + [1] * 4 + [0] * 4 + [1] * 7)  # as splits that follow one another
    rows = rows_tested(table(drive=drive), count=4, by="time:drive")
    for recording in (0, 1):
        blocks = [each[drive[each] == recording] for each in rows]
        assert np.concatenate(blocks).tolist() == np.flatnonzero(drive == recording).tolist()
        assert {len(block) for block in blocks} <= {2, 3}


def test_the_test_split_of_the_source_is_left_out_and_validation_stays():
    splits = {"train": table(20), "validation": table(3), "test": table(4)}
    parts = Folds(5, 2).apply(splits)
    assert {role: len(part) for role, part in parts.items()} == {
        **{"train": 16, "validation": 3, "test": 4}
    }
    assert "fold 2 of 5" in parts["test"].where
    assert parts["validation"] is splits["validation"]


def test_features_are_standardized_without_what_is_rows_tested():
    raw = np.random.default_rng(3).normal(3, 5, (30, 2)).astype(np.float32)
    of_all = (Feature("a", 3.0, 4.0), Feature("b", 1.0, 2.0))
    data = Table({"features": standardized(raw, of_all)}, features=of_all)
    parts, places = Folds(3).apply({"train": data, "validation": data}), Folds(3).places(data)
    train = raw[places != 0]
    for role, rows in (("train", train), ("test", raw[places == 0]), ("validation", raw)):
        expected = (rows - train.mean(0)) / train.std(0)
        np.testing.assert_allclose(parts[role].columns["features"], expected, atol=1e-5)
    plain = Table({"features": raw}, features=(Feature("a"), Feature("b")))
    kept = Folds(3).apply({"train": plain})["train"].columns["features"]
    np.testing.assert_array_equal(kept, train)


class Squares(Lazy):
    """The squares of the rows."""

    def __init__(self, examples):
        self.shape, self.dtype = (examples,), np.dtype(np.int32)

    def __getitem__(self, rows):
        return np.arange(len(self))[rows] ** 2

    def train_view(self, rows, epochs, seed):
        return self[rows] + 1000 * epochs + seed

    def fingerprint(self):
        return np.zeros(4, np.uint8)

    def digests(self):
        return self[:].astype(np.int64)[:, None].view(np.uint8)


def test_lazy_columns_and_texts_are_divided_alike():
    data = Table(
        {"square": Squares(20), "row": np.arange(20)}, texts={"t": tuple(map(str, range(20)))}
    )
    one, other = (Folds(4, i).apply({"train": data})["test"] for i in (0, 1))
    square, rows = one.columns["square"], one.columns["row"]
    np.testing.assert_array_equal(square[:], rows**2)
    assert one.texts["t"] == tuple(map(str, rows))
    seen = square.train_view(np.array([1, 2]), np.array([0, 1]), 7)
    np.testing.assert_array_equal(seen, rows[[1, 2]] ** 2 + [7, 1007])
    np.testing.assert_array_equal(square.digests(), data.columns["square"].digests()[rows])
    assert (square.fingerprint() != other.columns["square"].fingerprint()).any()


def test_copies_in_different_folds_are_refused_with_their_number(refuses):
    data = table(20)
    x = data.columns["x"].copy()
    x[17:] = x[:3]
    copied = Table({"x": x, "label": np.arange(20) % 2})
    with refuses("copies of one input", "folds 0 and 3 share 3", "--folds-by"):
        refuse_leakage(copied, Folds(4, by="time"))
    group = np.where(np.arange(20) >= 17, np.arange(20) - 17, np.arange(20))
    refuse_leakage(Table({**copied.columns, "group": group}), Folds(4, by="group"))
    refuse_leakage(data, Folds(4))
    told_apart = Table({**copied.columns, "row": np.arange(20)})
    refuse_leakage(told_apart, Folds(4, by="time"))
    with refuses("folds 0 and 3 share 3"):
        refuse_leakage(told_apart, Folds(4, by="time"), "x")


@pytest.mark.parametrize(
    ("how", "messages"),
    [
        ({"count": 1}, ["count=1", "at least 2"]),
        ({"count": 5, "fold": 5}, ["fold=5", "from 0 to 4"]),
        ({"count": 5, "fold": -1}, ["fold=-1", "from 0 to 4"]),
        ({"count": 5, "seed": -1}, ["seed=-1"]),
        ({"count": 24}, ["23 examples are too few for 24 folds"]),
        ({"count": 2, "by": "patient"}, ["no column 'patient'", "it has x, row"]),
        ({"count": 2, "by": "x"}, ["folds.by='x' must name one whole number"]),
        ({"count": 4, "by": "group"}, ["column 'group' has 3 groups, too few for 4"]),
        ({"count": 2, "by": "label"}, ["'label' is the column to predict"]),
        ({"count": 4, "by": "time:seat"}, ["no column 'seat'"]),
        ({"count": 4, "by": "time:x"}, ["'time:x' must name one whole number", "'x' has"]),
        ({"count": 8, "by": "time:group"}, ["group=2 has 7 examples, too few for 8 folds"]),
        ({"count": 2, "by": "time", "time": True}, ["there is also a column 'time'", "rename"]),
    ],
)
def test_what_cannot_be_divided_is_refused(refuses, how, messages):
    columns = {"group": np.arange(23) % 3, "label": np.arange(23)}
    if how.pop("time", False):
        columns["time"] = np.arange(23)
    with refuses(*messages):
        Folds(**how).apply({"train": table(**columns)})


def test_a_class_with_fewer_examples_than_folds_is_told(caplog):
    Folds(3).places(Table({"x": np.zeros(9), "label": np.array([0] * 7 + [1] * 2)}))
    assert "2 of class 1" in caplog.text


def test_a_config_divides_the_data_of_any_source(refuses):
    node = {"source": "digits", "folds": {"count": 4, "fold": 3}}
    whole, parts = load_splits({"source": "digits"}), load_splits(node)
    assert len(parts["train"]) + len(parts["test"]) == len(whole["train"])
    with refuses("config.data.folds", "count"):
        load_splits({"source": "digits", "folds": {"count": "five"}})
    with refuses("config.data", "no column 'patient'"):
        load_splits({"source": "digits", "folds": {"count": 4, "by": "patient"}})
