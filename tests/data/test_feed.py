"""Resident and streamed splits give the same batches."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import feed as module
from jaxdl.data.feed import Feed, fetch
from jaxdl.data.order import Order
from jaxdl.data.table import Table

TABLE = Table({"x": np.arange(60, dtype=np.float32).reshape(20, 3), "label": np.arange(20)})
ORDER = Order(20, 6, seed=3)


def batches(feed, step, n):
    given = feed.take(step, n)
    columns = {name: jnp.asarray(column) for name, column in feed.columns.items()}
    for i in range(n):
        part = given[i] if feed.columns else {name: x[i] for name, x in given.items()}
        yield fetch(columns, part)


@pytest.fixture(params=[True, False], ids=["resident", "streamed"])
def feed(request):
    feed = Feed(TABLE, ORDER, resident=request.param)
    yield feed
    feed.close()


@pytest.mark.parametrize("ahead", [None, (4, 3), (4, 2), (9, 3)])
def test_batches_are_those_of_the_order(feed, ahead):
    if ahead:  # what was prepared is taken only if it is what is asked for
        feed.prepare(*ahead)
    for i, batch in enumerate(batches(feed, 4, 3)):
        for name, column in TABLE.columns.items():
            np.testing.assert_array_equal(batch[name], column[ORDER.rows(4 + i)])
    assert feed.waited > 0


def test_every_input_has_one_shape(feed):
    inputs = [feed.make(0, n) for n in (0, 5)]
    shapes = [np.shape(x if feed.columns else x["x"]) for x in inputs]
    assert shapes[0] == shapes[1] and shapes[0][:2] == (feed.steps, 6)


def test_size_decides_what_is_resident_and_how_much_is_streamed(monkeypatch):
    assert Feed(TABLE, ORDER).columns
    monkeypatch.setattr(module, "RESIDENT_BYTES", 10)
    monkeypatch.setattr(module, "_STREAM_BYTES", 6 * (3 * 4 + 8) * 5)
    streamed = Feed(TABLE, ORDER)
    assert not streamed.columns and streamed.steps == 5
    monkeypatch.setattr(module, "_STREAM_BYTES", 1)
    assert Feed(TABLE, ORDER).steps == 1


def test_what_goes_wrong_in_the_worker_surfaces(feed, monkeypatch):
    monkeypatch.setattr(Order, "rows", lambda self, step: 1 / 0)
    feed.prepare(0, 1)
    with pytest.raises(ZeroDivisionError):
        feed.take(0, 1)
