"""Resident and streamed splits give the same batches."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import loader as module
from jaxdl.data.loader import DeviceLoader, fetch
from jaxdl.data.order import ShuffledEpochs, eval_batches
from jaxdl.data.table import Lazy, Table
from jaxdl.errors import UserError

TABLE = Table({"x": np.arange(60, dtype=np.float32).reshape(20, 3), "label": np.arange(20)})
ORDER = ShuffledEpochs(20, 6, seed=3)


def batches(feed, step, n):
    given = feed.take(step, n)
    columns = {name: jnp.asarray(column) for name, column in feed.columns.items()}
    for i in range(n):
        part = given[i] if feed.columns else {name: x[i] for name, x in given.items()}
        yield fetch(columns, part)


@pytest.fixture(params=[True, False], ids=["on_device", "streamed"])
def feed(request):
    feed = DeviceLoader(TABLE, ORDER, on_device=request.param)
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
    assert DeviceLoader(TABLE, ORDER).columns
    monkeypatch.setattr(module, "RESIDENT_BYTES", 10)
    monkeypatch.setattr(module, "_STREAM_BYTES", 6 * (3 * 4 + 8) * 5)
    streamed = DeviceLoader(TABLE, ORDER)
    assert not streamed.columns and streamed.steps == 5
    monkeypatch.setattr(module, "_STREAM_BYTES", 1)
    assert DeviceLoader(TABLE, ORDER).steps == 1


def test_what_goes_wrong_in_the_worker_surfaces(feed, monkeypatch):
    monkeypatch.setattr(ShuffledEpochs, "rows", lambda self, step: 1 / 0)
    feed.prepare(0, 1)
    with pytest.raises(ZeroDivisionError):
        feed.take(0, 1)


# ---- Columns that are made on demand


class Drawn(Lazy):
    """Values that tell what they were drawn for; row 13 cannot be read where `bad`."""

    def __init__(self, bad=False):
        self.shape, self.dtype, self.bad, self.asked = (20, 2), np.dtype(np.int64), bad, []

    def __getitem__(self, rows):
        return np.stack([rows, rows], -1)

    def train_view(self, rows, epochs, seed):
        self.asked.append(rows.shape)
        if self.bad and (rows == 13).any():
            raise UserError("13.jpg: a damaged image")
        return np.stack([rows, 100 * epochs + seed], -1)

    def fingerprint(self):
        return np.zeros(32, np.uint8)

    def digests(self):
        return np.zeros((20, 1), np.uint8)


@pytest.fixture
def lazy():
    feed = DeviceLoader(
        Table({"x": Drawn(), "label": np.arange(20)}), ORDER, on_device=True, seed=7
    )
    yield feed
    feed.close()


@pytest.mark.parametrize("first", [0, 5, 1000])
def test_batches_on_demand_are_drawn_for_the_epoch_of_each_row(lazy, first):
    assert lazy.steps == 1 and not lazy.columns  # never on_device
    for step in range(first, first + 8):
        batch = lazy.take(step, 1)
        np.testing.assert_array_equal(batch["x"][0, :, 0], ORDER.rows(step))
        np.testing.assert_array_equal(batch["x"][0, :, 1], 100 * ORDER.epochs(step) + 7)
        np.testing.assert_array_equal(batch["label"][0], ORDER.rows(step))
        lazy.prepare(step + 1, 1)
    assert lazy.make(0, 0)["x"].shape == (1, 6, 2)  # for its shape


def test_several_batches_are_on_their_way_and_none_is_made_twice(lazy):
    for step in range(5):
        lazy.take(step, 1)
        lazy.prepare(step + 1, 1)
    for future in lazy._ahead.values():
        future.result()
    assert lazy._table.columns["x"].asked == [(1, 6)] * (5 + module._MOST_AHEAD)


def test_batches_ahead_take_no_more_than_they_may(monkeypatch):
    monkeypatch.setattr(module, "_AHEAD_BYTES", 2 * 6 * (2 * 8 + 8))
    table = Table({"x": Drawn(), "label": np.arange(20)})
    assert DeviceLoader(table, ORDER)._most_ahead == 2
    monkeypatch.setattr(module, "_AHEAD_BYTES", 1)
    assert DeviceLoader(table, ORDER)._most_ahead == 1


def test_a_bad_example_stops_at_its_own_batch():
    feed = DeviceLoader(Table({"x": Drawn(bad=True)}), ORDER)
    bad = next(t for t in range(4) if 13 in ORDER.rows(t))
    for step in range(bad):
        feed.take(step, 1)
        feed.prepare(step + 1, 1)
    with pytest.raises(UserError, match=r"13\.jpg: a damaged image"):
        feed.take(bad, 1)
    feed.close()


@pytest.mark.parametrize("size", [1, 3, 7, 20, 21])
def test_batches_of_evaluation_come_in_order(size):
    table = Table({"x": Drawn(), "label": np.arange(20)})
    expected = list(eval_batches(20, size))
    found = list(module.batches(table, eval_batches(20, size)))
    assert len(found) == len(expected)
    for batch, (rows, mask) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(batch["x"], np.stack([rows, rows], -1))
        np.testing.assert_array_equal(batch["label"], rows)
        np.testing.assert_array_equal(batch["mask"], mask)


def test_what_goes_wrong_in_evaluation_surfaces():
    plan = [(np.array([0]), np.array([True])), (np.array([99]), np.array([True]))]
    batches = module.batches(TABLE, plan)
    assert next(batches)["label"] == 0
    with pytest.raises(IndexError):
        next(batches)
