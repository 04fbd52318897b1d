"""Writing, on a small recurrent model that NumPy runs too."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.text.vocabulary import Characters, Words
from jaxdl.decoding import TokenRules, beam_search, generate, make_sampler
from jaxdl.errors import UserError
from jaxdl.models import Model

VOCABULARY, WIDTH = 7, 5
START, END, UNKNOWN = 1, 2, 3
RULES = TokenRules(START, END, (0, START, UNKNOWN))
ENDLESS = TokenRules(None, None, (0,))
GREEDY = make_sampler(temperature=0)


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"back": (WIDTH, WIDTH), "embed": (VOCABULARY, WIDTH), "out": (WIDTH, VOCABULARY)}
    return {k: rng.normal(size=shape).astype(np.float32) * 1.5 for k, shape in shapes.items()}


def write(params, model_state, carry, tokens, key, train):
    def step(state, token):
        state = jnp.tanh(state @ params["back"] + params["embed"][token])
        return state, state @ params["out"]

    carry, logits = jax.lax.scan(step, carry, tokens.T)
    return logits.swapaxes(0, 1), carry


MODEL = Model(None, None, lambda params, model_state, size: jnp.zeros((size, WIDTH)), write)


EXTEND = jax.jit(
    functools.partial(generate, MODEL), static_argnums=6, static_argnames=("draw", "rules")
)
SEARCH = jax.jit(
    functools.partial(beam_search, MODEL),
    static_argnums=4,
    static_argnames=("width", "rules", "penalty"),
)


def log_p(params, tokens, never, start=None):
    """NumPy's log-probabilities of what follows a sequence."""
    state = np.zeros(WIDTH) if start is None else start
    for token in tokens:
        state = np.tanh(state @ params["back"] + params["embed"][token])
    logits = (state @ params["out"]).astype(np.float64)
    logits[list(never)] = -np.inf
    return logits - np.log(np.exp(logits).sum())


def wrote(prompt, length, *, draw=GREEDY, rules=ENDLESS, seed=0, cuts=(), params=None):
    """What `generate` writes, in pieces that end at `cuts`."""
    params = parameters() if params is None else params
    carry, tokens, pieces = MODEL.initialize_carry(params, {}, len(prompt)), jnp.asarray(prompt), []
    for position, end in itertools.pairwise((0, *cuts, length)):
        tokens, carry = EXTEND(
            params, {}, carry, tokens, jax.random.key(seed), position, end - position,
            draw=draw, rules=rules,
        )  # fmt: skip
        pieces.append(np.asarray(tokens))
        tokens = tokens[:, -1:]
    return np.concatenate(pieces, axis=1)


PROMPT = np.array([[4, 5, 6], [6, 6, 4]])


def test_greedy_is_the_likeliest_token_step_by_step():
    for row, got in zip(PROMPT, wrote(PROMPT, 12), strict=True):
        seen = row.tolist()
        for token in got:
            assert token == log_p(parameters(), seen, (0,)).argmax()
            seen.append(token)


@pytest.mark.parametrize("cuts", [(1,), (4, 8)])
def test_pieces_are_the_whole(cuts):
    draw = make_sampler(temperature=1.5)
    whole = wrote(PROMPT, 12, draw=draw, seed=3)
    np.testing.assert_array_equal(wrote(PROMPT, 12, draw=draw, seed=3, cuts=cuts), whole)
    assert (wrote(PROMPT, 12, draw=draw, seed=4) != whole).any()


def test_ended_sequences_stay_ended_across_pieces():
    draw, prompt = make_sampler(temperature=3.0), np.full((64, 1), START)
    whole = wrote(prompt, 12, draw=draw, rules=RULES)
    np.testing.assert_array_equal(wrote(prompt, 12, draw=draw, rules=RULES, cuts=(6,)), whole)
    assert not np.isin(whole, (START, UNKNOWN)).any()
    ends = (whole == END).argmax(axis=1)
    assert len(set(ends)) > 4
    for row, end in zip(whole, ends, strict=True):
        if row[end] == END:
            assert (row[:end] > UNKNOWN).all() and (row[end + 1 :] == 0).all()
        else:
            assert (row > UNKNOWN).all()


def test_an_endless_vocabulary_never_pads():
    got = wrote(PROMPT, 200, draw=make_sampler(temperature=5.0))
    assert set(np.unique(got)) == set(range(1, VOCABULARY))


@pytest.mark.parametrize("last", [0, END])
def test_nothing_follows_an_end(last):
    got = wrote(np.array([[START, last], [START, 4]]), 5, rules=RULES)
    assert not got[0].any() and got[1, 0]


def test_rules_of_vocabularies():
    characters, words = Characters(symbols="ab"), Words(symbols=("a", "b"), framed=True)
    assert TokenRules.of(characters) == TokenRules(None, None, (0,))
    assert TokenRules.of(words) == TokenRules(1, 2, (0, 1, 3))


# ---- Draws

LOGITS = np.random.default_rng(1).normal(size=VOCABULARY) * 2


def reference(temperature, top_k, top_p):
    """NumPy's probabilities."""
    p = np.exp(LOGITS / temperature)
    down = np.argsort(-p)
    kept = down if top_k is None else down[:top_k]
    p = np.where(np.isin(np.arange(VOCABULARY), kept), p, 0)
    p /= p.sum()
    if top_p is not None:
        fewest = next(n for n in range(1, VOCABULARY + 1) if p[down[:n]].sum() >= top_p - 1e-9)
        p = np.where(np.isin(np.arange(VOCABULARY), down[:fewest]), p, 0)
    return p / p.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        *((t, None, None) for t in (0.3, 1.0, 2.5)),
        *((1.0, k, None) for k in (1, 2, 5, 100)),
        *((1.0, None, p) for p in (1e-6, 0.5, 0.9, 1.0)),
        (2.0, 4, 0.7),
        (0.5, 3, 0.95),
    ],
)
def test_draws_have_numpys_frequencies(temperature, top_k, top_p):
    draw, size = make_sampler(temperature, top_k, top_p), 20_000
    logits = jnp.broadcast_to(jnp.asarray(LOGITS, jnp.float32), (size, VOCABULARY))
    counts = np.bincount(draw(jax.random.key(0), logits), minlength=VOCABULARY)
    p = reference(temperature, top_k, top_p)
    assert not counts[p == 0].any()
    np.testing.assert_allclose(counts / size, p, atol=4 * 0.5 / size**0.5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), k=st.integers(1, 8), p=st.floats(0.01, 1))
def test_the_likeliest_token_is_always_kept(seed, k, p):
    logits = jax.random.normal(jax.random.key(seed), (1, VOCABULARY)) * 3
    cold = make_sampler(1e-4, k, p)(jax.random.key(seed), logits)
    assert cold == GREEDY(jax.random.key(seed), logits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1.0}, "temperature: expected a number from 0"),
        ({"temperature": float("nan")}, "temperature: .* got nan"),
        ({"temperature": float("inf")}, "temperature: .* got inf"),
        ({"top_k": 0}, "top-k: expected at least 1 token, got 0"),
        ({"top_p": 0.0}, "top-p: expected a probability above 0"),
        ({"top_p": 1.1}, "top-p: .* at most 1, got 1.1"),
        ({"top_p": float("nan")}, "top-p: .* got nan"),
    ],
)
def test_draws_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        make_sampler(**arguments)


# ---- Beam search


def searched(prompt, length, width, penalty, params=None, carry=None):
    params = parameters() if params is None else params
    carry = MODEL.initialize_carry(params, {}, len(prompt)) if carry is None else carry
    prompt = jnp.asarray(prompt)
    return np.asarray(
        SEARCH(params, {}, carry, prompt, length, width=width, rules=RULES, penalty=penalty)
    )


def every_sequence(length):
    """All that may be written: symbols up to an end, or up to the length."""
    symbols = range(UNKNOWN + 1, VOCABULARY)
    for n in range(length):
        yield from ((*body, END) for body in itertools.product(symbols, repeat=n))
    yield from itertools.product(symbols, repeat=length)


def best(params, prompt, length, penalty):
    def score(sequence):
        total = sum(
            log_p(params, [*prompt, *sequence[:i]], RULES.never)[token]
            for i, token in enumerate(sequence)
        )
        return total / ((5 + len(sequence)) / 6) ** penalty

    return max(every_sequence(length), key=score)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 3.0])
def test_a_wide_beam_finds_the_best_of_all(penalty):
    found = []
    for seed in range(6):
        params = parameters(seed)
        expected = best(params, [START], 4, penalty)
        (got,) = searched([[START]], 4, 130, penalty, params)
        assert got.tolist() == [*expected, *[0] * (4 - len(expected))]
        found.append(len(expected))
    assert len(set(found)) > 1 or penalty == 3.0


def test_the_penalty_favours_longer_sequences():
    lengths = [
        sum((searched([[START]], 4, 130, penalty, parameters(s)) != 0).sum() for s in range(6))
        for penalty in (0.0, 3.0)
    ]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy(seed):
    prompt, params = np.array([[START, 4], [START, 5], [START, END]]), parameters(seed)
    got = searched(prompt, 8, 1, 0.0, params)
    np.testing.assert_array_equal(got, wrote(prompt, 8, rules=RULES, params=params))


def test_examples_do_not_see_each_others_beams():
    rng, params = np.random.default_rng(0), parameters(2)
    carry = jnp.asarray(rng.normal(size=(5, WIDTH)), jnp.float32) * 3
    prompt = rng.integers(UNKNOWN + 1, VOCABULARY, (5, 2))
    together = searched(prompt, 6, 3, 0.6, params, carry)
    alone = [searched(prompt[i : i + 1], 6, 3, 0.6, params, carry[i : i + 1])[0] for i in range(5)]
    np.testing.assert_array_equal(together, alone)
    assert len({tuple(row) for row in alone}) > 1
