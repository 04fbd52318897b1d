"""Classifiers of sequences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import UserError
from jaxdl.models import functional
from jaxdl.models.sequence import SequenceClassifier
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import Classification

TASK = Classification(3, input="tokens")
MODULES = {
    "last": SequenceClassifier(outputs=3, hidden=5, layers=2, cell="gru", vocabulary=8),
    "mean": SequenceClassifier(
        outputs=3, hidden=5, cell="rnn", vocabulary=8, pooling="mean", bidirectional=True
    ),
    "max": SequenceClassifier(
        outputs=3, hidden=5, vocabulary=8, embedding=4, bidirectional=True, pooling="max"
    ),
}


@pytest.fixture(scope="module", params=MODULES)
def measured(request):
    """Parameters of a classifier; and its loss, logits and gradient, compiled."""
    model = functional(MODULES[request.param])
    params, _ = jit(model.init, once=True)(jax.random.key(0), (jnp.ones((1, 2), jnp.uint8),))

    @functools.partial(jit, once=True)
    def measure(params, batch):
        def loss(params):
            outputs, _ = model.apply(params, {}, TASK.inputs(batch), None, False)
            return TASK.loss(outputs, batch).sum(), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    return params, measure


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 999), pad=st.just(3))
def test_the_pad_length_changes_nothing(measured, seed, pad):
    params, measure = measured
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 8, (4, 6)) * (np.arange(6) < rng.integers(1, 7, (4, 1)))
    batch = {"tokens": jnp.asarray(tokens, jnp.uint8), "label": jnp.asarray([0, 1, 2, 0])}
    more = {**batch, "tokens": jnp.pad(batch["tokens"], ((0, 0), (0, pad)))}
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        measure(params, more),
        measure(params, batch),
    )


def test_each_place_counts(measured):
    params, measure = measured
    tokens = jnp.asarray([[1, 2, 3, 4], [5, 2, 3, 4], [1, 2, 3, 7], [1, 2, 3, 0]], jnp.uint8)
    (_, logits), _ = measure(params, {"tokens": tokens, "label": jnp.zeros(4, jnp.int32)})
    assert len(np.unique(np.round(logits, 6), axis=0)) == 4


def test_images_are_read_row_by_row():
    model = functional(SequenceClassifier(outputs=3, hidden=5))
    image = jax.random.normal(jax.random.key(0), (2, 6, 4, 1))
    params, _ = jit(model.init, once=True)(jax.random.key(0), (image,))
    assert params["Recurrent_0"]["input_kernel_0"].shape == (4, 20)
    logits, _ = model.apply(params, {}, (image,), None, False)
    rows, _ = model.apply(params, {}, (image[..., 0],), None, False)
    assert logits.shape == (2, 3)
    np.testing.assert_array_equal(logits, rows)


@pytest.mark.parametrize(
    ("vocabulary", "x"),
    [(None, jnp.ones((2, 6, 4, 1), jnp.uint8)), (8, jnp.ones((2, 6, 4), jnp.uint8))],
)
def test_integers_that_are_no_tokens_are_refused(vocabulary, x):
    model = functional(SequenceClassifier(outputs=3, hidden=5, vocabulary=vocabulary))
    with pytest.raises(UserError, match=r"tokens \(batch, time\) .* but got uint8\[2, 6, 4"):
        model.init(jax.random.key(0), (x,))
