"""Every example of a split exactly once."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl
from jaxdl.data.text.vocabulary import Characters, Words
from jaxdl.data.tokens import Tokens, tokenize
from jaxdl.decoding import TokenRules
from jaxdl.errors import UserError
from jaxdl.models import MLP, EncoderDecoder, LanguageModel
from jaxdl.parallel.mesh import jit
from jaxdl.training.evaluation import (
    average_views,
    generate_texts,
    make_evaluation,
    make_generation,
)
from jaxdl.training.step import initialize_carry

TASK = jaxdl.Classification(classes=3, input="features")
MODEL = jaxdl.functional(MLP(outputs=3))
RNG = np.random.default_rng(0)
TABLE = {
    "features": RNG.normal(size=(33, 4)).astype(np.float32),
    "label": RNG.integers(0, 3, 33).astype(np.int32),
}
BATCH = 8


def split(examples):
    return jaxdl.Table({name: column[:examples] for name, column in TABLE.items()})


@pytest.fixture(scope="module")
def state():
    batch = {k: jnp.asarray(v) for k, v in TABLE.items()}
    return jaxdl.init(MODEL, TASK, optax.sgd(1.0), batch, ema=True)


@pytest.fixture(scope="module")
def evaluation():
    return jax.jit(jaxdl.make_evaluation(MODEL, TASK))


@pytest.mark.parametrize("examples", [1, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33])
def test_metrics_are_numpys_on_the_whole_split(state, evaluation, examples):
    table = split(examples)
    x, label = table.columns["features"], table.columns["label"]
    layer = jax.device_get(state.params["Dense_0"])
    logits = x @ layer["kernel"] + layer["bias"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    got = jaxdl.evaluate(evaluation, TASK, state, table, BATCH)
    assert got["loss"] == pytest.approx(-log_p[np.arange(examples), label].mean(), rel=1e-5)
    assert got["accuracy"] == pytest.approx((log_p.argmax(-1) == label).mean(), abs=1e-12)
    assert np.sum(got["confusion"]) == examples
    assert np.sum(got["confusion"], axis=1).tolist() == np.bincount(label, minlength=3).tolist()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_refused(state, evaluation, refuses, label):
    wrong = jaxdl.Table({**TABLE, "label": np.full(33, label, np.int32)})
    with refuses("label"):
        jaxdl.evaluate(evaluation, TASK, state, wrong, BATCH)


def test_one_compilation_serves_every_size(state, evaluation):
    for examples in (1, 8, 33):
        jaxdl.evaluate(evaluation, TASK, state, split(examples), BATCH)
    assert evaluation._cache_size() == 1


def test_the_average_is_what_is_evaluated_and_predicts(state, evaluation):
    shifted = jax.tree.map(lambda w: w * 0, state.params)
    shifted["Dense_0"]["bias"] = jnp.asarray([0.0, 0.0, 5.0])
    other = jaxdl.State(**{**vars(state), "ema": shifted})
    batch = {k: jnp.asarray(v) for k, v in TABLE.items()}
    assert (jaxdl.make_prediction(MODEL, TASK)(other, batch) == 2).all()
    got = jaxdl.evaluate(evaluation, TASK, other, split(33), BATCH)
    assert got["accuracy"] == pytest.approx((TABLE["label"] == 2).mean())


def test_probabilities_are_averaged_over_the_views():
    """And several views that are all the same are as one."""
    task = jaxdl.Classification(classes=3)
    model = jaxdl.functional(MLP(outputs=3))
    views = jnp.asarray(RNG.normal(size=(4, 10, 2, 2, 3)), jnp.float32)
    label = jnp.asarray([0, 1, 2, 0])
    state = jaxdl.init(model, task, optax.sgd(1.0), {"image": views[:, 0], "label": label})
    layer = jax.device_get(state.params["Dense_0"])
    logits = np.asarray(views).reshape(4, 10, 12) @ layer["kernel"] + layer["bias"]
    p = np.exp(logits - logits.max(-1, keepdims=True))
    mean = (p / p.sum(-1, keepdims=True)).mean(axis=1)
    evaluation = make_evaluation(average_views(model), task)
    mask = jnp.asarray([True, True, True, False])
    found, _ = evaluation(state, {"image": views, "label": label, "mask": mask})
    assert float(found["loss"].weight) == 3
    expected = -np.log(mean[np.arange(4), label])[:3].sum()
    assert float(found["loss"].sum) == pytest.approx(expected, rel=1e-5)
    same = {"image": jnp.repeat(views[:, :1], 10, axis=1), "label": label, "mask": mask}
    one = {"image": views[:, 0], "label": label, "mask": mask}
    for name, total in evaluation(state, one)[0].items():
        many = evaluation(state, same)[0][name]
        np.testing.assert_allclose(many.sum, total.sum, rtol=1e-5, err_msg=name)


def test_one_logit_has_no_views_to_average():
    task = jaxdl.Classification(classes=2)
    model = jaxdl.functional(MLP(outputs=1))
    views = jnp.zeros((4, 10, 2, 2, 3))
    batch = {"image": views[:, 0], "label": jnp.zeros(4, int), "mask": jnp.ones(4, bool)}
    state = jaxdl.init(model, task, optax.sgd(1.0), batch)
    with pytest.raises(UserError, match=r"views: .* a logit for each class; leave them out"):
        make_evaluation(average_views(model), task)(state, {**batch, "image": views})


# ---- Sequences

TEXT = jaxdl.LanguageModeling()
WRITER = jaxdl.functional(LanguageModel(vocabulary=6, hidden=4))


def windows(length, window=4):
    """A text of so many characters in windows, and its tokens."""
    text = "".join(np.random.default_rng(length).choice(list("abcde"), length))
    text = "abcde" + text[5:]
    column = np.array([text], object)
    tokens = Tokens("text", window=window)
    table = tokenize({"train": jaxdl.Table({"text": column})}, {"tokens": tokens})
    return table["train"], Characters(symbols="abcde").encode(text)


@pytest.fixture(scope="module")
def reading():
    """A state, and the compiled evaluation of batches that continue one another."""
    batch = {"tokens": jnp.ones((1, 5), jnp.uint8)}
    state = jit(lambda: jaxdl.init(WRITER, TEXT, optax.sgd(1.0), batch), once=True)()
    return state, jit(jaxdl.make_evaluation(WRITER, TEXT), once=True)


@pytest.mark.parametrize("length", [5, 22, 25])
@pytest.mark.parametrize("streams", [1, 3])
def test_with_a_carry_each_token_counts_once(reading, length, streams):
    (state, evaluation), (table, ids) = reading, windows(length)
    state = jaxdl.State(
        **{**vars(state), "carry": initialize_carry(WRITER, state.params, {}, streams)}
    )
    counted = []

    def counting(state, batch):
        found, carry = evaluation(state, batch)
        counted.append(float(found["loss"].weight))
        return found, carry

    got = jaxdl.evaluate(counting, TEXT, state, table, streams)
    assert sum(counted) == length - 1
    # One long pass for each stream, which begins afresh.
    each = -(-len(table) // streams) * 4
    total = 0.0
    for start in range(0, length - 1, each):
        tokens = jnp.asarray(ids[None, start : start + each + 1])
        outputs, _ = WRITER.apply(state.params, {}, (tokens[:, :-1],), None, False)
        total += float(TEXT.loss(outputs, {"tokens": tokens}).sum())
    assert got["loss"] == pytest.approx(total / (length - 1), rel=1e-5)


@pytest.mark.parametrize("length", range(2, 11))
def test_no_state_goes_from_one_text_to_the_next(reading, length):
    """Windows of 4, whose last is full, lacks a token or more, or is the only one."""
    state, evaluation = reading
    rng = np.random.default_rng(length)
    texts = ["".join(rng.choice(list("abcde"), n)) for n in (length, 5, length, 9, 2)]
    texts[-1] = "ab"
    texts = ["edcba", *texts]
    column = jaxdl.Table({"text": np.array(texts, object)})
    table = tokenize({"train": column}, {"tokens": Tokens("text", window=4)})["train"]
    total = 0.0
    for text in texts:
        tokens = jnp.asarray(Characters(symbols="abcde").encode(text))[None]
        outputs, _ = WRITER.apply(state.params, {}, (tokens[:, :-1],), None, False)
        total += float(TEXT.loss(outputs, {"tokens": tokens}).sum())
    expected = total / sum(len(text) - 1 for text in texts)
    state = replace(state, carry=initialize_carry(WRITER, state.params, {}, 1))
    got = jaxdl.evaluate(evaluation, TEXT, state, table, 1)
    assert got["loss"] == pytest.approx(expected, rel=1e-5)

    still = jaxdl.make_step(WRITER, TEXT, optax.sgd(0.0))
    step = jit(jaxdl.truncated_bptt(still, len(table)), once=True)
    summed = 0.0
    for t in range(2 * len(table)):  # two epochs, in both of which each token counts once
        batch = table[jaxdl.ContiguousStreams(len(table), 1).rows(t)]
        state, summary = step(state, batch)
        summed += float(summary["loss"]) * np.count_nonzero(batch["tokens"][:, 1:])
    assert summed == pytest.approx(2 * total, rel=1e-5)


@pytest.mark.parametrize("beam", [1, 2])
def test_what_is_written_is_of_each_examples_conditions_alone(beam):
    task = jaxdl.LanguageModeling(conditions=("source",), scores=("bleu",), beam=beam)
    vocabulary = Words(symbols=("a", "b", "c"), framed=True)
    module = EncoderDecoder(
        vocabulary=7, source_vocabulary=7, hidden=8, cell="rnn", bidirectional=False
    )
    model, rng = jaxdl.functional(module), np.random.default_rng(0)
    columns = {k: rng.integers(4, 7, (5, 4)).astype(np.uint8) for k in ("source", "tokens")}
    table = jaxdl.Table(columns, vocabularies={"tokens": vocabulary})
    batch = {k: jnp.asarray(v) for k, v in columns.items()}
    state = jit(lambda: jaxdl.init(model, task, optax.sgd(1.0), batch), once=True)()
    sharp = jax.tree.map(lambda w: 4 * w, state.params)
    state = jaxdl.State(**{**vars(state), "params": sharp})
    writing = jit(make_generation(model, task, TokenRules.of(vocabulary), 3), once=True)
    texts = generate_texts(writing, task, state, table, 3)
    assert len(texts) == 5 and len(set(texts)) > 1
    other = jaxdl.Table(
        {**columns, "tokens": columns["tokens"][::-1]}, vocabularies={"tokens": vocabulary}
    )
    assert generate_texts(writing, task, state, other, 3) == texts
    assert all(set(text) <= set("abc ") for text in texts)
