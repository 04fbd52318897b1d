"""Language modelling against NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.table import Table
from jaxdl.data.text.vocabulary import Characters, Words
from jaxdl.errors import UserError
from jaxdl.metrics import means, merge, total
from jaxdl.tasks import Classification, LanguageModeling, Task

VOCABULARY = 6


def drawn(seed=0, size=4, longest=7, pad=0):
    """Logits, and tokens of 2 to `longest` with `pad` more columns of padding than needed."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, longest + 1, size)
    tokens = rng.integers(1, VOCABULARY, (size, longest))
    tokens = np.where(np.arange(longest) < counts[:, None], tokens, 0)
    logits = rng.normal(size=(size, longest - 1, VOCABULARY)).astype(np.float32) * 3
    tokens = np.pad(tokens, ((0, 0), (0, pad))).astype(np.uint8)
    return np.pad(logits, ((0, 0), (0, pad), (0, 0)), constant_values=9.0), tokens


def reference(logits, tokens, smoothing=0.0):
    """Sums of each example: cross-entropy, how many tokens, how many right. In float64."""
    rows = []
    for example, row in zip(logits.astype(np.float64), tokens.astype(int), strict=True):
        loss = count = right = 0
        for each, target in zip(example, row[1:], strict=True):
            if target == 0:
                continue
            log_p = each - np.log(np.exp(each).sum())
            p = np.full(VOCABULARY, smoothing / VOCABULARY)
            p[target] += 1 - smoothing
            loss -= (p * log_p).sum()
            count += 1
            right += each.argmax() == target
        rows.append((loss, count, right))
    return np.array(rows).T


def report(task, logits, tokens, vocabularies=None):
    batch = {"tokens": jnp.asarray(tokens)}
    mask = jnp.ones(len(tokens), bool)
    found = {k: total(m, mask) for k, m in task.metrics(jnp.asarray(logits), batch).items()}
    table = Table({"tokens": tokens}, vocabularies=vocabularies or {})
    return task.report(means(merge([found])), table)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), smoothing=st.sampled_from([0.0, 0.1]), pad=st.sampled_from([0, 3]))
def test_loss_weight_and_metrics_are_numpys_whatever_the_padding(seed, smoothing, pad):
    task, (logits, tokens) = LanguageModeling(label_smoothing=smoothing), drawn(seed, pad=pad)
    batch = {"tokens": jnp.asarray(tokens)}
    loss, count, right = reference(logits, tokens)
    smoothed = reference(logits, tokens, smoothing)[0]
    np.testing.assert_allclose(task.loss(jnp.asarray(logits), batch), smoothed, rtol=1e-5)
    np.testing.assert_array_equal(task.weight(batch), count)
    got = report(task, logits, tokens)
    assert got["loss"] == pytest.approx(loss.sum() / count.sum(), rel=1e-5)
    assert got["perplexity"] == pytest.approx(math.exp(got["loss"]))
    assert got["accuracy"] == pytest.approx(right.sum() / count.sum(), rel=1e-6)
    assert "bits_per_character" not in got


def test_label_smoothing_is_classifications():
    logits, tokens = drawn(pad=0)
    each = Classification(VOCABULARY, label_smoothing=0.3).loss(
        jnp.asarray(logits.reshape(-1, VOCABULARY)), {"label": jnp.asarray(tokens[:, 1:].ravel())}
    )
    each = np.where(tokens[:, 1:] != 0, each.reshape(tokens[:, 1:].shape), 0)
    got = LanguageModeling(label_smoothing=0.3).loss(jnp.asarray(logits), {"tokens": tokens})
    np.testing.assert_allclose(got, each.sum(1), rtol=1e-5)


def test_bits_of_characters_are_the_loss_in_bits():
    vocabulary = Characters(symbols="abcde")
    tokens = np.pad(vocabulary.encode("abbaded")[None], ((0, 0), (0, 2)))
    logits = np.zeros((1, 8, VOCABULARY), np.float32)
    got = report(LanguageModeling(), logits, tokens, {"tokens": vocabulary})
    assert got["loss"] == pytest.approx(math.log(VOCABULARY), rel=1e-6)
    assert got["bits_per_character"] == pytest.approx(math.log2(VOCABULARY), rel=1e-6)


def test_bits_of_words_count_the_characters_of_the_text():
    vocabulary = Words(symbols=("cat", "the"), framed=True)
    assert len(vocabulary) == VOCABULARY
    tokens = np.array([[1, *vocabulary.encode("the cat"), 2, 0]])
    logits = np.zeros((1, 4, VOCABULARY), np.float32)
    got = report(LanguageModeling(), logits, tokens, {"tokens": vocabulary})
    # Three tokens are predicted, the end among them, for seven characters.
    assert got["bits_per_character"] == pytest.approx(3 * math.log2(VOCABULARY) / 7, rel=1e-6)


def test_an_enormous_loss_is_no_overflow():
    logits, tokens = np.zeros((1, 1, VOCABULARY), np.float32), np.array([[1, 2]])
    logits[..., 1] = 1e4
    assert report(LanguageModeling(), logits, tokens)["perplexity"] == math.exp(700)


def test_inputs_are_the_conditions_and_all_tokens_but_the_last():
    task = LanguageModeling(conditions=("image", "source"))
    batch = {"tokens": jnp.arange(6).reshape(2, 3), "source": jnp.ones(2), "image": jnp.zeros(2)}
    image, source, tokens = task.inputs(batch)
    assert image is batch["image"] and source is batch["source"]
    assert tokens.tolist() == [[0, 1], [3, 4]]
    assert task.condition_inputs(batch) == (image, source)
    assert task.predict(jnp.eye(3)[None], {}).tolist() == [[0, 1, 2]]
    assert isinstance(task, Task) and task.reduction == "mean" and task.penalty({}) == 0


def test_scores_by_name():
    task = LanguageModeling(conditions=("source",), scores=("exact_match", "bleu"))
    sources, texts = np.array([[3, 4], [3, 5], [3, 4]]), ("a b c d", "e f g h", "a b c x")
    table = Table({"source": sources, "tokens": sources}, texts={"tokens": texts})
    assert task.references(table) == [texts[::2], texts[1:2], texts[::2]]
    got = task.score(["a b c x", "e f g h", "a b c x"], table)
    assert got == {"exact_match": 1.0, "bleu": pytest.approx(100)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be in"),
        ({"beam": 0}, "beam must be at least 1, got 0"),
        ({"scores": ("blue",), "conditions": ("x",)}, "unknown 'blue'; choose from bleu, exact"),
        ({"scores": ("bleu",)}, "set conditions"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        LanguageModeling(**settings)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": np.zeros((2, 3), int)}, "no column 'source'; it has text. Name columns in"),
        ({"source": np.zeros(2)}, "no column 'tokens'"),
        ({"source": np.zeros(2), "tokens": np.ones(2, int)}, r"token ids, .* got shape \(2,\)"),
        ({"source": np.zeros(2), "tokens": np.ones((2, 3))}, "got shape .* of float64"),
        (
            {"source": np.zeros(3), "tokens": np.array([[3, 4], [3, 0], [0, 0]])},
            r"example 1 has fewer than two tokens, so nothing to predict \(2 such\)",
        ),
    ],
)
def test_splits_that_cannot_be_learnt(columns, message):
    with pytest.raises(UserError, match=f"^my text: .*{message}"):
        LanguageModeling(conditions=("source",)).check(Table(columns, "my text"))


def test_sound_splits_pass():
    LanguageModeling().check(Table({"tokens": np.array([[3, 4, 0], [3, 4, 5]], np.uint8)}))
