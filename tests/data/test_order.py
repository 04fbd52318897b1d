"""The data position is the step."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.order import ContiguousStreams, ShuffledEpochs, eval_batches, eval_streams
from jaxdl.errors import UserError


@st.composite
def orders(draw):
    examples = draw(st.integers(1, 60))
    return ShuffledEpochs(examples, draw(st.integers(1, examples)), draw(st.integers(0, 2**32 - 1)))


@given(orders(), st.integers(1, 4))
def test_each_epoch_visits_each_example_once(order, epochs):
    steps = -(-epochs * order.examples // order.batch_size)
    rows = np.concatenate([order.rows(t) for t in range(steps)])
    for epoch in range(epochs):
        seen = rows[epoch * order.examples : (epoch + 1) * order.examples]
        np.testing.assert_array_equal(np.sort(seen), np.arange(order.examples))


@given(orders(), st.lists(st.integers(0, 10**6), min_size=2, max_size=5))
def test_a_batch_depends_on_seed_and_step_alone(order, steps):
    again = ShuffledEpochs(order.examples, order.batch_size, order.seed)
    forwards = {t: order.rows(t) for t in steps}
    for t in reversed(steps):
        np.testing.assert_array_equal(again.rows(t), forwards[t])
        assert forwards[t].dtype == np.int32 and len(forwards[t]) == order.batch_size


@given(orders(), st.integers(0, 10**4))
def test_every_place_knows_its_epoch(order, step):
    first = step * order.batch_size
    expected = [place // order.examples for place in range(first, first + order.batch_size)]
    assert order.epochs(step).tolist() == expected


@pytest.mark.parametrize("order", [ShuffledEpochs(10, 4), ContiguousStreams(10, 4)])
def test_a_compiled_step_knows_the_same_epochs(order):
    compiled = jax.jit(order.epochs)
    for step in range(7):
        np.testing.assert_array_equal(compiled(step), order.epochs(step))


@pytest.mark.parametrize(("examples", "size"), [(7, 3), (1_281_167, 4096), (2**29 - 1, 8191)])
def test_a_compiled_step_knows_its_epochs_beyond_what_an_int32_counts(examples, size):
    order = ShuffledEpochs(examples, size)
    steps = np.random.default_rng(0).integers(0, 2**31 - 1, 200, np.int32)
    steps[:2] = 2**31 - 2, 2**31 // size
    expected = [order.epochs(int(step)) for step in steps]
    np.testing.assert_array_equal(jax.jit(jax.vmap(order.epochs))(steps), expected)


def test_epochs_and_seeds_differ():
    epochs = [tuple(ShuffledEpochs(100, 100, seed).rows(t)) for seed in (0, 1) for t in range(5)]
    assert len(set(epochs)) == 10


def test_every_place_is_as_likely():
    places = np.array(
        [np.argmax(ShuffledEpochs(10, 10, seed).rows(0) == 0) for seed in range(2000)]
    )
    counts = np.bincount(places, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 33.7  # χ² of 9 degrees of freedom, p = 1e-4


def test_golden_values():
    """Pinned: what NumPy, or we, change here would break the resume of every run there is."""
    assert ShuffledEpochs(8, 8, seed=0).rows(0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert ShuffledEpochs(8, 8, seed=0).rows(1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
    assert ShuffledEpochs(60_000, 5, seed=2**31).rows(12_345).tolist() == [
        16352,
        57275,
        46962,
        22001,
        31823,
    ]


def test_without_shuffling_it_is_the_order_of_the_split():
    order = ShuffledEpochs(5, 3, shuffle=False)
    assert [order.rows(t).tolist() for t in range(3)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_batches_that_do_not_fit(batch_size):
    with pytest.raises(UserError, match=rf"{batch_size} does not fit .* choose 1 to 10"):
        ShuffledEpochs(10, batch_size)


@given(st.integers(1, 50), st.integers(1, 60))
def test_once_is_each_example_once_in_order(examples, batch_size):
    batches = list(eval_batches(examples, batch_size))
    assert all(len(rows) == len(mask) == batch_size for rows, mask in batches)
    assert all((rows >= 0).all() and (rows < examples).all() for rows, _ in batches)
    seen = np.concatenate([rows[mask] for rows, mask in batches])
    np.testing.assert_array_equal(seen, np.arange(examples))


def test_steps_per_epoch_need_not_be_whole():
    assert ShuffledEpochs(10, 4).steps_per_epoch == 2.5


@st.composite
def ragged_orders(draw):
    plain = draw(orders())
    lengths = np.random.default_rng(plain.seed).integers(1, 20, plain.examples)
    return ShuffledEpochs(plain.examples, plain.batch_size, plain.seed, lengths=lengths)


@given(ragged_orders(), st.integers(1, 4))
def test_by_length_each_epoch_visits_each_example_once(order, epochs):
    steps = -(-epochs * order.examples // order.batch_size)
    rows = np.concatenate([order.rows(t) for t in range(steps)])
    for epoch in range(epochs):
        seen = rows[epoch * order.examples : (epoch + 1) * order.examples]
        np.testing.assert_array_equal(np.sort(seen), np.arange(order.examples))


@given(ragged_orders(), st.lists(st.integers(0, 10**6), min_size=2, max_size=4))
def test_by_length_a_batch_depends_on_seed_and_step_alone(order, steps):
    again = ShuffledEpochs(order.examples, order.batch_size, order.seed, lengths=order.lengths)
    forwards = {t: order.rows(t) for t in steps}
    for t in reversed(steps):
        np.testing.assert_array_equal(again.rows(t), forwards[t])
        assert forwards[t].dtype == np.int32 and len(forwards[t]) == order.batch_size


@given(ragged_orders(), st.integers(0, 3))
def test_a_batch_within_an_epoch_is_of_like_length(order, epoch):
    """Batches of an epoch are disjoint ranges of length: no other cut has less padding."""
    first, last = epoch * order.examples, (epoch + 1) * order.examples
    steps = range(-(-first // order.batch_size), last // order.batch_size)
    batches = [order.lengths[order.rows(t)] for t in steps]
    ranges = sorted((batch.min(), batch.max()) for batch in batches)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges)), ranges


def test_batches_of_like_length_come_in_another_order_each_epoch():
    lengths = np.arange(40)
    order = ShuffledEpochs(40, 4, lengths=lengths)
    turns = [tuple(order.rows(10 * e + i).min() for i in range(10)) for e in range(4)]
    assert len(set(turns)) == 4
    assert all(turn != tuple(sorted(turn)) for turn in turns)


@given(st.integers(1, 60), st.data(), st.integers(0, 200))
def test_streams_continue_row_by_row(examples, data, step):
    streams = ContiguousStreams(examples, data.draw(st.integers(1, examples)))
    rows, length = streams.rows(step), streams.steps_per_epoch
    assert rows.dtype == np.int32 and len(rows) == streams.batch_size
    if (step + 1) % length:
        np.testing.assert_array_equal(streams.rows(step + 1), rows + 1)
    epoch = np.concatenate([streams.rows(t) for t in range(length)])
    np.testing.assert_array_equal(np.sort(epoch), np.arange(length * streams.batch_size))
    np.testing.assert_array_equal(streams.rows(step + length), rows)
    assert examples - len(epoch) < streams.batch_size
    assert streams.epochs(step).tolist() == [step // length] * streams.batch_size


@given(st.integers(1, 50), st.integers(1, 60))
def test_onwards_is_each_example_once_and_each_batch_continues_the_last(examples, batch_size):
    batches = list(eval_streams(examples, batch_size))
    assert all(len(rows) == len(mask) == batch_size for rows, mask in batches)
    assert all((rows >= 0).all() and (rows < examples).all() for rows, _ in batches)
    seen = np.concatenate([rows[mask] for rows, mask in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(examples))
    for (rows, mask), (later, after) in itertools.pairwise(batches):
        assert not (after & ~mask).any()  # a stream that has ended does not go on
        np.testing.assert_array_equal(later[after], rows[after] + 1)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_streams_that_do_not_fit(batch_size):
    with pytest.raises(UserError, match=rf"{batch_size} does not fit .* choose 1 to 10"):
        ContiguousStreams(10, batch_size)
