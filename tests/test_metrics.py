"""Masked metrics that merge exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.metrics import Count, Mean, PerExample, means, merge, total


def batch_total(values, weights, bins, mask):
    return {
        "mean": total(Mean(jnp.asarray(values)), mask),
        "weighted": total(Mean(jnp.asarray(values), jnp.asarray(weights)), mask),
        "count": total(Count(jnp.asarray(bins), 4), mask),
    }


def drawn(sizes, seed):
    rng = np.random.default_rng(seed)
    for size in sizes:  # padded to one length, with NaN
        mask = np.arange(7) < size
        yield (
            np.where(mask[:, None], rng.normal(size=(7, 2)), np.nan).astype(np.float32),
            np.where(mask, rng.random(7) + 0.1, np.nan).astype(np.float32),
            rng.integers(0, 4, 7),
            mask,
        )


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_means_of_uneven_batches_are_numpys_of_all_examples(sizes, seed):
    batches = list(drawn(sizes, seed))
    got = means(merge([batch_total(v, w, b, jnp.asarray(m)) for v, w, b, m in batches]))
    values, weights, bins = (np.concatenate([x[i][x[3]] for x in batches]) for i in range(3))
    np.testing.assert_allclose(got["mean"], values.mean(0), rtol=1e-5, atol=1e-6)
    expected = np.average(values, axis=0, weights=weights)
    np.testing.assert_allclose(got["weighted"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got["count"], np.bincount(bins, minlength=4))


def test_merging_is_associative():
    a, b, c = (batch_total(v, w, i, jnp.asarray(m)) for v, w, i, m in drawn((7, 1, 4), 0))
    left, right = merge([merge([a, b]), c]), merge([a, merge([b, c])])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-14), left, right)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_values_are_summed_in_float32(dtype):
    ones = jnp.full(4099, 30.0, dtype)
    got = means(merge([{"x": total(Mean(ones), jnp.ones(4099, bool))}]))
    assert got["x"] == 30.0


@pytest.mark.parametrize("values", [jnp.array([1, 2, 6]), jnp.array([[1.0, 4], [2, 5], [6, 9]])])
def test_an_array_is_the_mean_of_its_examples(values):
    mask = jnp.array([True, True, False])
    np.testing.assert_array_equal(
        means(merge([{"x": total(values, mask)}]))["x"], np.mean(values[:2], axis=0)
    )


def test_a_mean_of_nothing_is_not_a_number():
    assert np.isnan(means(merge([{"x": total(Mean(jnp.ones(3)), jnp.zeros(3, bool))}]))["x"])


def test_values_per_example_come_in_order_without_padding():
    parts = [
        {"x": total(PerExample({"a": a, "b": -a}), mask)}
        for a, mask in [(jnp.arange(3.0), jnp.ones(3)), (jnp.arange(3.0, 6), jnp.arange(3) < 2)]
    ]
    got = means(merge([merge(parts[:1]), merge(parts[1:])]))["x"]
    np.testing.assert_array_equal(got["a"], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(got["b"], [0, -1, -2, -3, -4])
