import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxdl.data import Table


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
        ({"x": np.zeros(3), "label": np.zeros(2)}, ["one length", "'x': 3", "'label': 2"]),
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
        "UserError: the arrays given: column 'x' is of type list; convert it with numpy.asarray\n"
    )
