import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxdl.data import Lazy, Table


class Sums(Lazy):
    """Each value is its row; in training, of what it is drawn for, in digits."""

    def __init__(self, examples, views=1):
        self.shape, self.dtype, self.views = (examples,), np.dtype(np.int64), views

    def __getitem__(self, rows):
        return np.arange(len(self))[rows]

    def train_view(self, rows, epochs, seed):
        return rows + 100 * epochs + 10_000 * seed

    def fingerprint(self):
        return np.full(32, len(self), np.uint8)

    def digests(self):
        return np.arange(len(self), dtype=np.uint8)[:, None]


@given(st.integers(1, 20).flatmap(
    lambda n: st.tuples(st.just(n), hnp.arrays(np.int64, hnp.array_shapes(max_dims=3),
                                               elements=st.integers(0, n - 1)))))  # fmt: skip
def test_indexing_pairs_the_columns(case):
    count, rows = case
    table = Table({"x": np.arange(count) * 10, "image": np.arange(count * 6).reshape(count, 2, 3)})
    batch = table[rows]
    assert len(table) == count
    np.testing.assert_array_equal(batch["x"], rows * 10)
    assert batch["image"].shape == (*rows.shape, 2, 3)
    np.testing.assert_array_equal(batch["image"][..., 0, 0], rows * 6)


@pytest.mark.parametrize(
    ("columns", "fragments"),
    [
        ({}, ["no columns"]),
        ({"x": np.zeros(3), "label": np.zeros(2)}, ["the same length", "'x': 3", "'label': 2"]),
        ({"x": np.array(1)}, ["'x'", "single value"]),
    ],
)
def test_refuses(refuses, columns, fragments):
    with refuses("the file", *fragments):
        Table(columns, "the file")


def test_refuses_what_is_no_array():
    """Without the checks of annotations, which the tests turn on and a user does not."""
    code = "from jaxdl.data import Table; Table({'x': [1, 2]})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith(
        "UserError: the given arrays: column 'x' is of type list; convert it with numpy.asarray\n"
    )


def test_lazy_columns_are_drawn_and_others_indexed():
    table = Table({"x": np.arange(5) * 10, "lazy": Sums(5)})
    rows, epochs = np.array([[3, 0], [4, 3]]), np.array([[0, 1], [1, 2]])
    np.testing.assert_array_equal(table[rows]["lazy"], rows)
    drawn = table.train_view(rows, epochs, seed=7)
    np.testing.assert_array_equal(drawn["x"], rows * 10)
    np.testing.assert_array_equal(drawn["lazy"], [[70_003, 70_100], [70_104, 70_203]])
    assert list(table.lazy) == ["lazy"] and table.columns["lazy"].nbytes == 40
    identity = table.identity()
    np.testing.assert_array_equal(identity["lazy"], np.full(32, 5))
    np.testing.assert_array_equal(identity["x"], table.columns["x"])


def test_views():
    assert Table({"x": np.zeros(5)}).views == 1
    assert Table({"x": np.zeros(5), "a": Sums(5), "b": Sums(5, views=10)}).views == 10


def test_refuses_a_lazy_column_of_another_length(refuses):
    with refuses("the same length", "'lazy': 4"):
        Table({"x": np.zeros(5), "lazy": Sums(4)})


def test_row_numbers_are_a_column_unless_one_is_called_so(refuses):
    table = Table({"x": np.zeros((3, 2))}).with_rows()
    np.testing.assert_array_equal(table.columns["row"], [0, 1, 2])
    with refuses("a column is named 'row'", "rename it"):
        table.with_rows()
    with refuses("a column is named 'epoch'", "rename it"):
        Table({"x": np.zeros((3, 2)), "epoch": np.zeros(3)}).with_rows()
