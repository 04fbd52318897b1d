"""Models that write: piece by piece as in one go, and padding is as if it were not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import UserError
from jaxdl.models import Model, functional
from jaxdl.models.language import Captioner, EncoderDecoder, LanguageModel
from jaxdl.parallel.mesh import jit
from jaxdl.tasks import LanguageModeling

VOCABULARY = 9
TASK = LanguageModeling(conditions=("source",))
SIZES = {"vocabulary": VOCABULARY, "hidden": 5}
READERS = {
    "attention": EncoderDecoder(source_vocabulary=8, embedding=4, cell="gru", **SIZES),
    "summary alone": EncoderDecoder(
        source_vocabulary=8, attention=False, bidirectional=False, **SIZES
    ),
}


def ragged(rng, size, longest, vocabulary, least=2):
    counts = rng.integers(least, longest + 1, size)
    tokens = rng.integers(1, vocabulary, (size, longest))
    return np.where(np.arange(longest) < counts[:, None], tokens, 0).astype(np.uint8)


def padded(x, pad):
    return jnp.asarray(np.pad(x, ((0, 0), (0, pad))))


def assert_close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol), a, b)


def started(module, *inputs):
    """The model, compiled fast, and its parameters and model_state."""
    model = functional(module)
    model = Model(
        jit(model.init, once=True),
        jit(model.apply, once=True, static_argnums=4),
        model.initialize_carry and jit(model.initialize_carry, once=True, static_argnums=2),
        model.decode and jit(model.decode, once=True, static_argnums=5),
    )
    return model, *model.init(jax.random.key(0), inputs)


@pytest.mark.parametrize(
    "module",
    [
        LanguageModel(**SIZES, layers=2, cell="gru"),
        LanguageModel(**SIZES, embedding=3, tied=True),
    ],
)
def test_a_text_in_pieces_is_the_text(module):
    tokens = jnp.asarray(np.random.default_rng(0).integers(1, VOCABULARY, (2, 8)))
    model, params, model_state = started(module, tokens)
    whole, _ = model.apply(params, model_state, (tokens,), None, False)
    assert whole.shape == (2, 8, VOCABULARY)
    carry, pieces = model.initialize_carry(params, model_state, 2), []
    for piece in (tokens[:, :4], tokens[:, 4:]):
        logits, carry = model.decode(params, model_state, carry, piece, None, False)
        pieces.append(logits)
    assert_close(jnp.concatenate(pieces, axis=1), whole)
    assert all(len(leaf) == 2 for leaf in jax.tree.leaves(carry))


def test_a_text_that_ended_is_forgotten():
    tokens = jnp.asarray([[3, 4, 5], [3, 4, 0]])
    model, params, model_state = started(LanguageModel(**SIZES), tokens)
    begun = model.initialize_carry(params, model_state, 2)
    _, carry = model.decode(params, model_state, begun, tokens, None, False)
    for state in jax.tree.leaves(carry):
        assert state[0].any() and not state[1].any()


def test_dropout_draws_in_training_only():
    tokens = jnp.asarray([[3, 4, 5, 6]])
    module = LanguageModel(**SIZES, embedding=4, dropout=0.5)
    model, params, model_state = started(module, tokens)
    carry = model.initialize_carry(params, model_state, 1)

    def logits(key, train):
        return model.decode(params, model_state, carry, tokens, key, train)[0]

    keys = jax.random.split(jax.random.key(0))
    np.testing.assert_array_equal(logits(None, False), logits(keys[0], False))
    assert (logits(keys[0], True) != logits(keys[1], True)).any()
    np.testing.assert_array_equal(logits(keys[0], True), logits(keys[0], True))


@pytest.fixture(scope="module", params=READERS)
def measured(request):
    """A reader's parameters; and its loss, weight, gradient and metrics, compiled."""
    example = jnp.ones((1, 3), jnp.uint8)
    _, params, model_state = started(READERS[request.param], example, example)
    model = functional(READERS[request.param])

    @functools.partial(jit, once=True)
    def measure(params, batch):
        def loss(params):
            outputs, _ = model.apply(params, model_state, TASK.inputs(batch), None, False)
            return TASK.loss(outputs, batch).sum(), (outputs, TASK.metrics(outputs, batch))

        (total, (_, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return {"loss": total, "weight": TASK.weight(batch), "metrics": metrics, "grads": grads}

    return params, measure


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 999),
    pads=st.sampled_from([(0, 3), (5, 1)]),
)
def test_the_pad_length_changes_nothing(measured, seed, pads):
    params, measure = measured
    rng = np.random.default_rng(seed)
    source, tokens = ragged(rng, 3, 6, 8), ragged(rng, 3, 5, VOCABULARY)
    plain = measure(params, {"source": padded(source, 0), "tokens": padded(tokens, 0)})
    more = measure(params, {"source": padded(source, pads[0]), "tokens": padded(tokens, pads[1])})
    assert_close(more, plain)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(plain["grads"]))


@pytest.mark.parametrize("name", READERS)
def test_an_answer_token_by_token_is_the_answer(name):
    rng = np.random.default_rng(1)
    source, tokens = padded(ragged(rng, 3, 6, 8), 0), padded(ragged(rng, 3, 5, VOCABULARY, 5), 0)
    model, params, model_state = started(READERS[name], source, tokens)
    whole, _ = model.apply(params, model_state, (source, tokens), None, False)
    carry, pieces = model.initialize_carry(params, model_state, 3, (source,)), []
    for i in range(5):
        logits, carry = model.decode(params, model_state, carry, tokens[:, i : i + 1], None, False)
        pieces.append(logits)
    assert_close(jnp.concatenate(pieces, axis=1), whole)
    other, _ = model.apply(params, model_state, (source[::-1], tokens), None, False)
    assert np.abs(other - whole).max() > 1e-4  # it does read the source


def test_a_captioner_looks_at_its_image():
    image = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    tokens = jnp.asarray([[1, 4, 5], [1, 4, 5]])
    model, params, model_state = started(Captioner(**SIZES, widths=(4, 6)), image, tokens)
    whole, _ = model.apply(params, model_state, (image, tokens), None, False)
    assert whole.shape == (2, 3, VOCABULARY) and (whole[0] != whole[1]).any()
    carry = model.initialize_carry(params, model_state, 2, (image,))
    logits, _ = model.decode(params, model_state, carry, tokens[:, :2], None, False)
    assert_close(logits, whole[:, :2])
    assert all(len(leaf) == 2 for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tied": True}, "config.model.tied: shares the embedding"),
        ({"embedding": 0}, "config.model.embedding: must be at least 1, got 0"),
        ({"hidden": 0}, "config.model.hidden: must be at least 1"),
        ({"dropout": 1.0}, r"config.model.dropout: must be in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        started(LanguageModel(**{**SIZES, **settings}), jnp.ones((1, 3), jnp.int32))
