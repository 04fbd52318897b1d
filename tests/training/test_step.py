"""The step and its combinators, each against the plain step."""

import functools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdl
from jaxdl import optim
from jaxdl.durations import Clock
from jaxdl.errors import UserError
from jaxdl.models import MLP, EncoderDecoder, LanguageModel, Polynomial, SequenceClassifier
from jaxdl.parallel.mesh import jit
from jaxdl.training.evaluation import make_evaluation
from jaxdl.training.least_squares import make_least_squares
from jaxdl.training.step import initialize_carry

TASK = jaxdl.Classification(classes=3, input="features")
OPTIMIZER = optax.adam(1e-2)


class Normed(nn.Module):
    """A dense layer, batch norm, and an output."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Dense(8, use_bias=False)(x)  # batch norm takes a bias out again
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(3)(x)


def batches(k, size=12, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "features": jnp.asarray(rng.normal(size=(k, size, 4)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 3, (k, size)), jnp.int32),
    }


quick = functools.partial(jit, once=True)  # one program, where op by op is a hundred


def at(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def start(module, seed=0, **options):
    model = jaxdl.functional(module)
    step = jaxdl.make_step(model, TASK, OPTIMIZER, **options)
    ema = options.get("ema_decay") is not None
    batch = at(batches(1), 0)
    begin = quick(lambda: jaxdl.init(model, TASK, OPTIMIZER, batch, seed, ema=ema))
    return step, begin()


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_step_is_the_optimiser_on_the_mean_loss():
    step, state = start(MLP(outputs=3))
    batch = at(batches(1), 0)

    def loss(params):
        return TASK.loss(MLP(outputs=3).apply({"params": params}, batch["features"]), batch).mean()

    value, grads = quick(jax.value_and_grad(loss))(state.params)
    updates, _ = OPTIMIZER.update(grads, state.opt_state, state.params)
    new, summary = quick(step)(state, batch)
    assert_close(new.params, optax.apply_updates(state.params, updates))
    np.testing.assert_allclose(summary["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(summary["grad_norm"], optax.tree.norm(grads), rtol=1e-6)
    assert new.step == 1 and bool(summary["finite"])


def test_padding_changes_nothing():
    step, state = start(MLP(outputs=3))
    batch = at(batches(1), 0)
    padded = {
        k: jnp.concatenate([v, v[:5] * 0 + (9 if k == "features" else 0)]) for k, v in batch.items()
    }
    padded["mask"] = jnp.arange(17) < 12
    step = quick(step)
    assert_close(step(state, batch), step(state, padded))


@settings(max_examples=5, deadline=None)
@given(k=st.integers(1, 6), n=st.integers(0, 6), seed=st.integers(0, 99))
def test_repeat_is_the_plain_steps_in_turn(k, n, seed):
    step, state = start(MLP(outputs=3, hidden=(5,), dropout=0.5), seed)
    several, n = batches(k, seed=seed), min(n, k)
    expected, losses = state, []
    for i in range(n):
        expected, summary = jax.jit(step)(expected, at(several, i))
        losses.append(summary["loss"])
    got, summaries = jax.jit(jaxdl.repeat(step))(state, several, n)
    assert_close(got, expected)
    np.testing.assert_allclose(summaries["loss"][:n], losses, rtol=1e-5)
    assert not summaries["finite"][n:].any()


def test_repeat_in_any_cut_is_the_same_to_the_bit():
    step, state = start(MLP(outputs=3, hidden=(5,), dropout=0.5))
    run, several = jax.jit(jaxdl.repeat(step)), batches(8)
    whole, _ = run(state, several, 8)
    for cut in (1, 3, 5):
        half, _ = run(state, several, cut)
        rest = jax.tree.map(lambda x, cut=cut: jnp.roll(x, -cut, axis=0), several)
        assert_equal(run(half, rest, 8 - cut)[0], whole)


def test_repeat_stops_behind_a_step_that_is_not_finite():
    step, state = start(MLP(outputs=3))
    several = batches(6)
    several["features"] = several["features"].at[2, 0, 0].set(jnp.nan)
    got, summaries = quick(jaxdl.repeat(step))(state, several)
    assert got.step == 3
    assert summaries["finite"].tolist() == [True, True, False, False, False, False]


@settings(max_examples=5, deadline=None)
@given(parts=st.sampled_from([1, 2, 3, 4, 6, 12]), padded=st.integers(0, 11))
def test_accumulate_is_the_plain_step(parts, padded):
    step, state = start(MLP(outputs=3, hidden=(5,)), ema_decay=0.9)
    batch = at(batches(1), 0)
    batch["mask"] = jnp.arange(12) < 12 - padded
    whole = quick(step)(state, batch)
    assert_close(quick(jaxdl.accumulate(step, parts))(state, batch), whole, atol=1e-5)


def test_accumulate_with_batch_norm_of_equal_parts_is_the_plain_step():
    step, state = start(Normed())
    part = at(batches(1, size=6), 0)
    # Part i takes every third example, so each of the three parts is `part` itself.
    whole = {k: jnp.repeat(v, 3, axis=0) for k, v in part.items()}
    expected, got = quick(step)(state, whole), quick(jaxdl.accumulate(step, 3))(state, whole)
    assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_accumulate_averages_running_statistics():
    step, state = start(Normed())
    batch = at(batches(1), 0)
    plain, parts = (quick(f)(state, batch)[0] for f in (step, jaxdl.accumulate(step, 3)))
    stats = [s.model_state["batch_stats"]["BatchNorm_0"]["mean"] for s in (plain, parts)]
    np.testing.assert_allclose(*stats, rtol=1e-5, atol=1e-6)


def test_accumulate_draws_another_dropout_mask_for_each_part():
    step, state = start(MLP(outputs=3, hidden=(64,), dropout=0.5))
    part = at(batches(1, size=6), 0)
    whole = {k: jnp.repeat(v, 2, axis=0) for k, v in part.items()}
    once = quick(step)(state, part)[1]["loss"]
    twice = quick(jaxdl.accumulate(step, 2))(state, whole)[1]["loss"]
    assert abs(once - twice) > 1e-4


def test_accumulate_refuses_what_does_not_divide():
    step, state = start(MLP(outputs=3))
    with pytest.raises(UserError, match="5 parts do not divide a batch of 12"):
        jaxdl.accumulate(step, 5)(state, at(batches(1), 0))


def test_indexed_fetches_rows():
    step, state = start(MLP(outputs=3))
    columns, rows = at(batches(1, size=30), 0), jnp.asarray([3, 1, 4, 1, 5])
    fetched = jaxdl.gather_batch(step, lambda state, rows: {k: v[rows] for k, v in columns.items()})
    assert_equal(fetched(state, rows), step(state, {k: v[rows] for k, v in columns.items()}))


def test_combinators_compose():
    step, state = start(MLP(outputs=3, hidden=(5,)))
    columns, rows = at(batches(1, size=30), 0), jnp.arange(24).reshape(2, 12)
    fetch = lambda state, rows: {k: v[rows] for k, v in columns.items()}  # noqa: E731
    composed = jaxdl.repeat(jaxdl.gather_batch(jaxdl.accumulate(step, 4), fetch))
    expected, step = state, quick(step)
    for i in (0, 1):
        expected, _ = step(expected, fetch(None, rows[i]))
    assert_close(jax.jit(composed)(state, rows)[0], expected, atol=1e-5)


def test_seeds_train_together_under_vmap():
    model = jaxdl.functional(MLP(outputs=3, hidden=(5,), dropout=0.5))
    step, batch = jaxdl.make_step(model, TASK, OPTIMIZER), at(batches(1), 0)
    begin = quick(lambda seed: jaxdl.init(model, TASK, OPTIMIZER, batch, seed))
    each = [begin(seed) for seed in (0, 1, 2)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *each)
    got, _ = quick(jax.vmap(step, in_axes=(0, None)))(together, batch)
    step = quick(step)
    for i, state in enumerate(each):
        assert_close(at(got, i), step(state, batch)[0])


def test_average_follows_the_parameters():
    step, state = start(MLP(outputs=3), ema_decay=0.75)
    new, _ = quick(step)(state, at(batches(1), 0))
    expected = jax.tree.map(lambda a, w: 0.75 * a + 0.25 * w, state.params, new.params)
    assert_close(new.eval_params, expected)


# ---- Frozen parameters


HEAD_ALONE = (("^Dense_1/", {}), (".*", None))
STEPS = Clock(total=100, steps_per_epoch=10.0)


def head_alone(groups=HEAD_ALONE, ema_decay=0.9, precision=None, **node):
    """A step that trains the output layer of a perceptron, by SGD at rate 1, and its state."""
    node = {"name": "sgd", "learning_rate": 1.0, "groups": groups, **node}
    model, optimizer = jaxdl.functional(MLP(outputs=3, hidden=(5,))), optim.build(node, STEPS)
    step = jaxdl.make_step(
        model,
        TASK,
        optimizer,
        ema_decay=ema_decay,
        precision=precision,
        trained=functools.partial(optim.trained, node),
    )
    batch = at(batches(1), 0)
    begin = functools.partial(jaxdl.init, model, TASK, optimizer, ema=True, precision=precision)
    return step, quick(begin)(batch)


def gradient_of_the_head(params, batch):
    """Of the mean cross-entropy, in closed form: hᵀ(p - y) / n for the kernel, Σ(p - y) / n."""
    layers = [jax.tree.map(np.float64, params[f"Dense_{i}"]) for i in (0, 1)]
    hidden = np.float64(batch["features"]) @ layers[0]["kernel"] + layers[0]["bias"]
    hidden = np.maximum(hidden, 0)
    logits = hidden @ layers[1]["kernel"] + layers[1]["bias"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (p - np.eye(3)[batch["label"]]) / len(p)
    return {"kernel": hidden.T @ error, "bias": error.sum(axis=0)}


@pytest.mark.parametrize("clip", [0.01, 1e3])
@pytest.mark.parametrize("parts", [None, 3])
def test_the_norm_that_is_clipped_and_reported_is_of_what_is_trained(clip, parts):
    step, state = head_alone(clip_norm=clip, weight_decay=None)
    step = step if parts is None else jaxdl.accumulate(step, parts)
    batch = at(batches(1), 0)
    expected = gradient_of_the_head(state.params, batch)
    norm = np.sqrt(sum(np.sum(g**2) for g in expected.values()))
    new, summary = jit(step, once=True)(state, batch)
    np.testing.assert_allclose(summary["grad_norm"], norm, rtol=1e-5)
    for name, g in expected.items():
        change = new.params["Dense_1"][name] - state.params["Dense_1"][name]
        np.testing.assert_allclose(change, -g * min(1, clip / norm), rtol=1e-4, atol=1e-7)


def test_what_is_frozen_stays_to_the_bit_and_so_does_its_average():
    step, state = head_alone(name="adamw", weight_decay=0.5, clip_norm=0.1, learning_rate=0.1)
    start = state
    several = batches(10)
    state, _ = jit(jaxdl.repeat(step), once=True)(state, several, 10)
    for tree in (state.params, state.ema):
        assert_equal(tree["Dense_0"], start.params["Dense_0"])
        assert not np.array_equal(tree["Dense_1"]["kernel"], start.params["Dense_1"]["kernel"])


def test_a_head_alone_does_not_compute_the_gradient_of_its_trunk():
    def products(step, state):
        return str(jax.make_jaxpr(step)(state, at(batches(1), 0))).count("dot_general")

    alone = products(*head_alone())
    whole = products(*head_alone(groups=((".*", {}),)))
    # Two forwards, and of the last layer its kernel's gradient; else also the other kernel's, and
    # that of what goes into the last layer.
    assert (alone, whole) == (3, 5)


def test_a_penalty_pulls_at_what_is_trained_alone():
    """Of a line w·x + b with a fixed b: the slope of ½ mean (y - t)² + l2/2 (w² + b²) in w."""
    task = jaxdl.Regression(l2=0.3)
    model = jaxdl.functional(MLP())
    batch = {"features": at(batches(1), 0)["features"], "target": jnp.arange(12.0)}
    node = {"name": "sgd", "learning_rate": 1.0, "groups": (("bias", None), (".*", {}))}
    optimizer = optim.build(node, STEPS)
    trained = functools.partial(optim.trained, node)
    state = jaxdl.init(model, task, optimizer, batch)
    w = np.float64(state.params["Dense_0"]["kernel"])
    state = replace(state, params={"Dense_0": {"kernel": jnp.asarray(w), "bias": jnp.ones(1) * 7}})
    x = np.float64(batch["features"])
    error = (x @ w)[:, 0] + 7 - np.arange(12)
    slope = x.T @ error[:, None] / 12 + 0.3 * w
    step = jaxdl.make_step(model, task, optimizer, trained=trained)
    new, summary = jit(step, once=True)(state, batch)
    loss = 0.5 * np.mean(error**2) + 0.15 * (np.sum(w**2) + 49)
    np.testing.assert_allclose(summary["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(summary["grad_norm"], np.linalg.norm(slope), rtol=1e-5)
    np.testing.assert_allclose(new.params["Dense_0"]["kernel"], w - slope, rtol=1e-5)
    assert new.params["Dense_0"]["bias"] == 7


def test_a_gradient_that_overflows_in_the_trunk_does_not_stop_a_head():
    step, state = head_alone()
    batch = at(batches(1), 0)
    trunk = {"kernel": jnp.zeros((4, 5)), "bias": jnp.ones(5)}
    head = {**state.params["Dense_1"], "kernel": jnp.full((5, 3), 1e30).at[:, 1].set(-1e30)}
    state = replace(state, params={"Dense_0": trunk, "Dense_1": head})
    features = jnp.full((12, 4), 1e10)
    _, summary = jit(step, once=True)(state, {**batch, "features": features})
    assert summary["finite"] and summary["grad_norm"] < 10


def test_heads_train_together_under_vmap():
    step, state = head_alone(clip_norm=0.01)
    batch = at(batches(1), 0)
    times = lambda s: replace(state, params=jax.tree.map(lambda w: w * s, state.params))  # noqa: E731
    several = [times(1), times(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *several)
    got = jit(jax.vmap(step, (0, None)), once=True)(stacked, batch)
    alone = jit(step, once=True)
    for i, one in enumerate(several):
        assert_close(at(got, i), alone(one, batch))


# ---- Averages


def test_the_average_of_narrow_parameters_is_that_of_wide_ones():
    """0.001 of what differs is less than bfloat16 can add: the reference is in float64.

    XLA may hand on the parameters before it has rounded them, which is 0.001 of a rounding off.
    """
    narrow = jaxdl.Precision(params="bfloat16")
    step, state = head_alone(groups=((".*", {}),), ema_decay=0.999, precision=narrow)
    step, batch, first = jit(step, once=True), at(batches(1), 0), state
    expected = jax.tree.map(np.float64, state.params)
    for _ in range(30):
        state, _ = step(state, batch)
        expected = jax.tree.map(
            lambda a, w: 0.999 * a + 0.001 * np.float64(w), expected, state.params
        )
    assert {w.dtype.name for w in jax.tree.leaves(state.params)} == {"bfloat16"}
    assert {w.dtype.name for w in jax.tree.leaves(state.ema)} == {"float32"}
    assert_close(state.ema, expected, rtol=0, atol=1e-4)
    start = np.float64(first.params["Dense_1"]["kernel"])
    assert np.abs(expected["Dense_1"]["kernel"] - start).min() > 3e-4


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_an_average_is_evaluated_in_the_type_of_the_policy(compute):
    policy = jaxdl.Precision(params="bfloat16", compute=compute)
    seen = []

    class Watched(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool = False):
            y = nn.Dense(3)(x)
            seen.append((x.dtype.name, y.dtype.name))
            return y

    model, batch = jaxdl.functional(Watched()), at(batches(1), 0)
    state = jaxdl.init(model, TASK, OPTIMIZER, batch, ema=True, precision=policy)
    seen.clear()
    make_evaluation(model, TASK, precision=policy)(state, {**batch, "mask": jnp.ones(12, bool)})
    assert seen == [(compute, compute)]


def test_the_average_of_doubles_is_of_doubles():
    double = jaxdl.Precision("float64", "float64", "float64")
    with double.enabled():
        step, state = head_alone(precision=double)
        new, _ = jit(step, once=True)(state, at(batches(1), 0))
        expected = jax.tree.map(lambda a, w: 0.9 * a + 0.1 * w, state.params, new.params)
        assert {w.dtype.name for w in jax.tree.leaves(new.ema)} == {"float64"}
        assert_close(new.ema, expected, rtol=1e-14, atol=1e-16)


def test_many_parts_of_a_batch_add_up_in_narrow_parameters():
    narrow = jaxdl.Precision(params="bfloat16")
    step, state = head_alone(groups=((".*", {}),), precision=narrow)
    part = at(batches(1, size=1), 0)
    whole = {k: jnp.repeat(v, 1024, axis=0) for k, v in part.items()}
    expected = jit(step, once=True)(state, part)[1]["grad_norm"]
    got = jit(jaxdl.accumulate(step, 1024), once=True)(state, whole)[1]["grad_norm"]
    np.testing.assert_allclose(np.float32(got), np.float32(expected), rtol=2e-2)


# ---- Least squares


def test_least_squares_is_exact_from_any_start():
    with jax.enable_x64(True):
        x = jnp.linspace(0, 1, 20)
        batch = {"x": x, "target": jnp.sin(6 * x)}
        task = jaxdl.Regression(input="x", reduction="sum", l2=1e-3)
        model = jaxdl.functional(Polynomial(order=4))
        double = jaxdl.Precision("float64", "float64", "float64")
        step = make_least_squares(model, task, double)
        state = jaxdl.init(model, task, optax.identity(), batch, precision=double)
        basis = np.asarray(x)[:, None] ** np.arange(5)
        w = np.linalg.solve(
            basis.T @ basis + 1e-3 * np.eye(5), basis.T @ np.asarray(batch["target"])
        )
        for weights in (jnp.zeros(5), jnp.ones(5) * 7):
            new, summary = step(jaxdl.State(**{**vars(state), "params": {"w": weights}}), batch)
            np.testing.assert_allclose(new.params["w"], w, rtol=1e-9)
            assert summary["grad_norm"] < 1e-10


def test_least_squares_needs_squares():
    with pytest.raises(UserError, match="squares"):
        make_least_squares(jaxdl.functional(Polynomial(order=1)), TASK)
    with pytest.raises(UserError, match="zero_weight: least_squares weights all examples equally"):
        make_least_squares(jaxdl.functional(Polynomial(order=1)), jaxdl.Regression(zero_weight=0.5))


# ---- Sequences

TEXT = jaxdl.LanguageModeling()
WRITER = jaxdl.functional(LanguageModel(vocabulary=6, hidden=4))
SLOW = optax.sgd(0.1)


def text(steps, size=4, window=3, seed=0):
    """Batches that continue one another: rows of streams, cut into windows."""
    tokens = np.random.default_rng(seed).integers(1, 6, (size, steps * window + 1))
    cut = [tokens[:, t * window : (t + 1) * window + 1] for t in range(steps)]
    return jnp.asarray(tokens), [{"tokens": jnp.asarray(piece)} for piece in cut]


@pytest.fixture(scope="module")
def reading():
    """A step that carries, compiled, the plain one, and the state before both."""
    step = jaxdl.make_step(WRITER, TEXT, SLOW)
    batch = text(1)[1][0]
    started = jit(lambda: jaxdl.init(WRITER, TEXT, SLOW, batch, carry=4), once=True)
    return jit(step, once=True), step, started()


def test_carried_steps_see_what_one_pass_sees(reading):
    step, _, state = reading
    tokens, pieces = text(2)
    outputs, _ = WRITER.apply(state.params, {}, (tokens[:, :-1],), None, False)
    each = TEXT.loss(outputs[:, 3:], {"tokens": tokens[:, 3:]}).sum() / 12
    first, _ = step(state, pieces[0])
    frozen = jaxdl.State(**{**vars(first), "params": state.params})
    np.testing.assert_allclose(step(frozen, pieces[1])[1]["loss"], each, rtol=1e-5)
    fresh = jaxdl.State(**{**vars(state), "step": first.step})
    assert abs(step(fresh, pieces[1])[1]["loss"] - each) > 1e-3


def test_continued_is_fresh_at_each_epoch(reading):
    _, plain, state = reading
    period, pieces = 2, text(4)[1]
    step = jit(jaxdl.truncated_bptt(plain, period), once=True)
    blank = jax.tree.map(jnp.zeros_like, state.carry)
    got = jaxdl.State(**{**vars(state), "carry": jax.tree.map(lambda x: x + 7, blank)})
    expected = state
    for i, piece in enumerate(pieces):
        if i % period == 0:
            expected = jaxdl.State(**{**vars(expected), "carry": blank})
        got, summary = step(got, piece)
        expected, same = reading[0](expected, piece)
        assert_close((got, summary), (expected, same))
        assert all(np.any(leaf) for leaf in jax.tree.leaves(got.carry))


def test_rows_that_begin_start_as_the_model_does():
    """Where that is not from zeros, too, and whatever was carried."""
    model = WRITER._replace(
        initialize_carry=lambda *args: jax.tree.map(
            lambda x: x + 0.5, WRITER.initialize_carry(*args)
        ),
        decode=lambda params, model_state, carry, tokens, key, train: (
            jnp.broadcast_to(carry[0][0][:, None, :1], (*tokens.shape, 6)), carry,
        ),
    )  # fmt: skip
    batch = {"tokens": jnp.ones((3, 4), int), "begins": jnp.array([True, False, True])}
    state = jaxdl.init(model, TEXT, SLOW, batch, carry=3)
    state = replace(state, carry=jax.tree.map(lambda x: x + 7, state.carry))
    new, _ = jit(jaxdl.accumulate(jaxdl.make_step(model, TEXT, SLOW), 3), once=True)(state, batch)
    assert new.carry[0][0][:, 0].tolist() == [0.5, 7.5, 0.5]


def test_accumulate_with_a_carry_is_the_plain_step(reading):
    compiled, plain, state = reading
    both = quick(jaxdl.accumulate(plain, 2))
    expected, got = state, state
    for piece in text(2)[1]:
        piece["mask"] = jnp.arange(4) < 3
        expected, same = compiled(expected, piece)
        got, summary = both(got, piece)
        assert_close((got, summary), (expected, same))


def test_a_model_without_a_state_cannot_carry():
    model = jaxdl.functional(MLP(outputs=3))
    with pytest.raises(
        UserError, match=r"config.training.carry: .* methods initialize_carry and decode"
    ):
        initialize_carry(model, {}, {}, 4)


BUCKETED = {
    "language": (TEXT, LanguageModel(vocabulary=6, hidden=4), ("tokens",)),
    "translation": (
        jaxdl.LanguageModeling(conditions=("source",)),
        EncoderDecoder(vocabulary=6, source_vocabulary=6, hidden=4, cell="gru"),
        ("source", "tokens"),
    ),
    "classes": (
        jaxdl.Classification(3, input="tokens"),
        SequenceClassifier(outputs=3, vocabulary=6, hidden=4, cell="rnn", bidirectional=True),
        ("tokens",),
    ),
}


@pytest.mark.parametrize(
    "name", ["classes", "language", pytest.param("translation", marks=pytest.mark.slow)]
)
def test_bucketed_is_the_plain_step_in_one_program(name):
    task, module, columns = BUCKETED[name]
    model, rng = jaxdl.functional(module), np.random.default_rng(0)

    def batch(longest):
        counts = rng.integers(2, longest + 1, (2, 3, 1))
        counts[0, 0] = longest
        tokens = rng.integers(1, 6, (2, 3, 9)) * (np.arange(9) < counts)
        named = dict(zip(("tokens", "source"), tokens.astype(np.uint8), strict=True))
        return {k: jnp.asarray(named[k]) for k in columns} | {"label": jnp.asarray([0, 1, 2])}

    taken = []

    def counted(state, batch):
        taken.append(batch["tokens"].shape[1])
        return jaxdl.make_step(model, task, SLOW)(state, batch)

    state = jit(lambda b: jaxdl.init(model, task, SLOW, b), once=True)(batch(9))
    plain = jit(jaxdl.make_step(model, task, SLOW), once=True)
    cut = jit(jaxdl.bucketed(counted, columns, (4, 6, 9)), once=True)
    for longest in (2, 4, 5, 6, 7, 9):
        given = batch(longest)
        assert_close(cut(state, given), plain(state, given))
    assert taken == [4, 6, 9] and cut._cache_size() == 1


def test_a_bucket_is_the_shortest_that_holds_the_batch():
    state = jaxdl.State(*jnp.zeros((6, 1)))
    length = jit(
        jaxdl.bucketed(
            lambda _, batch: batch["tokens"].shape[1] + 0 * state.step, ("tokens",), (2, 5, 9)
        )
    )
    for longest, expected in ((1, 2), (2, 2), (3, 5), (5, 5), (6, 9), (9, 9)):
        tokens = jnp.ones((3, 9), jnp.uint8) * (jnp.arange(9) < jnp.asarray([[1], [longest], [1]]))
        assert length(state, {"tokens": tokens}) == expected


def test_resized_images_are_small_early():
    state = jaxdl.State(*jnp.zeros((6, 1)))

    def seen(state, batch):
        x = batch["image"]
        return jnp.array([x.shape[1], x.shape[2]]) + 0 * state.step, jnp.ptp(x), batch["label"]

    small = jit(jaxdl.progressive_resize(seen, (4, 8), (10, 15)))
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 16)[:, None, None], (3, 16, 16, 1))
    for step, size in ((0, 4), (9, 4), (10, 8), (14, 8), (15, 16), (99, 16)):
        state = replace(state, step=jnp.int32(step))
        shape, spread, label = small(state, {"image": ramp, "label": jnp.arange(3)})
        assert shape.tolist() == [size, size]
        assert label.tolist() == [0, 1, 2]
        assert 1 - 1.01 / size < spread <= 1  # averaged down, not cut


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_tells_the_accuracy_of_its_batch(parts):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    model, optimizer = jaxdl.functional(nn.Dense(4)), optax.sgd(0.1)
    task = jaxdl.Classification(classes=4, input="x")
    batch = {"x": x, "label": np.zeros(8, np.int32), "mask": np.arange(8) < 6}
    state = jaxdl.init(model, task, optimizer, batch)
    step = jaxdl.make_step(model, task, optimizer)
    _, summary = jit(jaxdl.accumulate(step, parts))(state, batch)
    outputs, _ = model.apply(state.params, state.model_state, (x,), None, False)
    hits = np.argmax(outputs, axis=1) == 0
    assert summary["accuracy"] == pytest.approx(hits[:6].mean())
