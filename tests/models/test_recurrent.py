"""Recurrent layers against PyTorch where it is installed, and against themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import rnn as jax_rnn

from jaxdl.errors import UserError
from jaxdl.models import recurrent
from jaxdl.models.recurrent import Recurrent
from jaxdl.parallel import mesh as devices

jit = functools.partial(devices.jit, once=True)  # compiles fast

CELLS = ["lstm", "gru", "rnn"]


def close(got, expected, rtol=1e-9, atol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, expected)


def inputs(shape, dtype=np.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def model_and_params(x, dtype=np.float32, **settings):
    """A model, and parameters drawn for it, biases too."""
    model, rng = Recurrent(**settings), np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    return model, jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) / 2, dtype), shapes)


def apply(model, params, *inputs, key=None, **options):
    """Compiled, since one small program after the other takes long."""
    rngs = None if key is None else {"dropout": jax.random.key(key)}
    run = jit(
        lambda params, *inputs: model.apply({"params": params}, *inputs, **options, rngs=rngs)
    )
    return run(params, *inputs)


@functools.cache
def padding_case(cell, bidirectional):
    x = inputs((3, 4, 2), np.float64)
    model, params = model_and_params(
        x,
        np.float64,
        hidden=3,
        layers=1 if bidirectional else 2,
        cell=cell,
        bidirectional=bidirectional,
    )

    @jit
    def run(params, x, mask, carry):
        def loss(params, x, carry):
            y, last = model.apply({"params": params}, x, carry, mask)
            y = y[:, :4]
            kept = jnp.where(mask[:, :4, None], y, 0)
            return jnp.sum(jnp.sin(kept)) + sum(jnp.sum(s**2) for s in jax.tree.leaves(last)), (
                kept,
                last,
            )

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, x, carry)

    carry = jax.tree.map(lambda s: s + 0.5, model.initialize_carry(3, jnp.float64))
    return run, params, x, carry


@settings(max_examples=10, deadline=None)
@given(
    case=st.sampled_from([("lstm", True), ("gru", False)]),
    lengths=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    pad=st.sampled_from([0, 3]),
    junk=st.floats(-1e3, 1e3),
)
def test_padding_changes_nothing(case, lengths, pad, junk):
    with jax.enable_x64(True):
        run, params, x, carry = padding_case(*case)
        mask = np.arange(4) < np.array(lengths)[:, None]
        (_, got), gradients = run(params, jnp.where(mask[..., None], x, 0), mask, carry)
        wider = np.pad(mask, ((0, 0), (0, pad)))
        padded = np.full((3, 4 + pad, 2), junk)
        padded[:, :4][mask] = x[mask]
        (_, got2), (dparams, dx, dcarry) = run(params, jnp.asarray(padded), wider, carry)
        close(got2, got)
        close((dparams, dx[:, :4], dcarry), gradients)
        np.testing.assert_array_equal(dx[~wider], 0)
        for row, length in enumerate(lengths):  # what runs to the end has not seen the padding
            if length == 0:
                for state, begun in zip(got2[1], carry, strict=True):
                    close([s[row] for s in state], [s[row] for s in begun])


def test_a_padded_row_is_the_row_alone():
    x = inputs((2, 5, 2))
    model, params = model_and_params(x, hidden=3, layers=2, bidirectional=True)
    mask = jnp.arange(5) < jnp.array([[5], [3]])
    y, carry = apply(model, params, x, None, mask)
    alone, carry_alone = apply(model, params, x[1:, :3])
    close(y[1:, :3], alone, 1e-5, 1e-6)
    close(jax.tree.map(lambda s: s[1:], carry), carry_alone, 1e-5, 1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_carry_continues_a_sequence(cell):
    x = inputs((2, 7, 3))
    model, params = model_and_params(x, hidden=4, layers=2, cell=cell)
    whole, end = apply(model, params, x)
    first, carry = apply(model, params, x[:, :3], model.initialize_carry(2))
    second, last = apply(model, params, x[:, 3:], carry)
    close(jnp.concatenate([first, second], 1), whole, 1e-5, 1e-6)
    close(last, end, 1e-5, 1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_pytorch_s_layers_on_the_same_weights(cell):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    with jax.enable_x64(True):
        x = inputs((3, 6, 5), np.float64)
        model, params = model_and_params(
            x, np.float64, hidden=4, layers=2, cell=cell, bidirectional=True
        )
        theirs = getattr(torch.nn, cell.upper())(5, 4, 2, batch_first=True, bidirectional=True)
        theirs = theirs.double()
        names = [(i, way) for i in range(2) for way in ("", "_back")]
        with torch.no_grad():
            for i, way in names:
                suffix = f"_l{i}{'_reverse' if way else ''}"
                for ours, name in (("input", "weight_ih"), ("recurrent", "weight_hh")):
                    kernel = np.array(params[f"{ours}_kernel_{i}{way}"].T)
                    getattr(theirs, name + suffix).copy_(torch.from_numpy(kernel))
                bias = torch.from_numpy(np.array(params[f"bias_{i}{way}"]))
                getattr(theirs, "bias_ih" + suffix).copy_(bias)
                getattr(theirs, "bias_hh" + suffix).zero_()

        def loss(params):
            y, last = model.apply({"params": params}, x)
            return jnp.sum(y**2) + sum(jnp.sum(s**3) for s in jax.tree.leaves(last)), (y, last)

        gradients, (y, last) = jit(jax.grad(loss, has_aux=True))(params)
        y0, last0 = theirs(torch.from_numpy(np.array(x)))
        last0 = last0 if cell == "lstm" else (last0,)
        ((y0**2).sum() + sum((s**3).sum() for s in last0)).backward()
        close(y, y0.detach().numpy())
        for k, states in enumerate(zip(*last, strict=True)):
            close(jnp.stack(states), last0[k].detach().numpy())
        for i, way in names:
            suffix = f"_l{i}{'_reverse' if way else ''}"
            for ours, name in (("input", "weight_ih"), ("recurrent", "weight_hh")):
                expected = getattr(theirs, name + suffix).grad.numpy().T
                close(gradients[f"{ours}_kernel_{i}{way}"], expected)
            close(gradients[f"bias_{i}{way}"], getattr(theirs, "bias_ih" + suffix).grad.numpy())


def count(model, x):
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    return sum(p.size for p in jax.tree.leaves(params))


def test_parameters_are_as_many_as_published():
    tokens = jnp.zeros((1, 2), jnp.int32)
    dense = 513 * 98
    assert count(Recurrent(512, 3, "gru", vocabulary=98), tokens) + dense == 4_137_570
    assert count(Recurrent(8, bidirectional=True), jnp.zeros((1, 2, 5))) == 2 * 32 * (5 + 8 + 1)
    assert count(Recurrent(8, 2, "rnn"), jnp.zeros((1, 2, 5))) == 8 * (5 + 8 + 1 + 8 + 8 + 1)


def test_how_parameters_are_initialised():
    @jit
    def begun(key):
        models = Recurrent(20, forget_bias=2.0, vocabulary=50), Recurrent(20, cell="gru")
        return [m.init(key, x) for m, x in zip(models, given, strict=True)]

    given = jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 2, 50))
    lstm, gru = (v["params"] for v in begun(jax.random.key(0)))
    for gate, bias in enumerate(np.split(lstm["bias_0"], 4)):
        np.testing.assert_array_equal(bias, 2 if gate == 1 else 0)
    for gate in np.split(np.asarray(lstm["recurrent_kernel_0"]), 4, 1):
        close(gate @ gate.T, np.eye(20), 1e-5, 1e-5)
    # A row of the first is all that a token adds; of the second, 50 inputs add up.
    np.testing.assert_allclose(np.std(lstm["input_kernel_0"]), 1, rtol=0.05)
    np.testing.assert_allclose(np.std(gru["input_kernel_0"]), 1 / np.sqrt(50), rtol=0.05)
    np.testing.assert_array_equal(gru["bias_0"], 0)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_long_memory_is_spread_over_time_constants_and_overflows_nowhere(cell):
    x = inputs((1, 784, 1))
    model = Recurrent(64, cell=cell, memory=784)
    params = jit(model.init)(jax.random.key(0), x)["params"]
    bias = np.split(params["bias_0"], 4 if cell == "lstm" else 3)
    constants = np.exp(bias[1])
    assert 1 <= constants.min() < 100 and 600 < constants.max() <= 784
    assert 300 < constants.mean() < 500
    if cell == "lstm":
        np.testing.assert_array_equal(bias[0], -bias[1])
    for rest in (bias[2:]) if cell == "lstm" else (bias[0], bias[2]):
        np.testing.assert_array_equal(rest, 0)

    def last(x):
        return jnp.sum(model.apply({"params": params}, x)[0][:, -1])

    slope = np.abs(jit(jax.grad(last))(x)).squeeze()
    assert np.all(np.isfinite(slope)) and slope[:28].max() > 1e-6


@pytest.mark.parametrize(("cell", "memory"), [("rnn", 10), ("lstm", 1), ("gru", 0)])
def test_a_memory_that_cannot_be(cell, memory):
    with pytest.raises(UserError, match=f"config.model.memory: {memory} with '{cell}'; it needs"):
        model_and_params(inputs((1, 2, 1)), hidden=4, cell=cell, memory=memory)


def test_tokens_are_one_hot_inputs():
    tokens = jnp.array([[1, 0, 3], [3, 3, 2]])
    model, params = model_and_params(tokens, hidden=4, layers=2, vocabulary=5)
    floats = Recurrent(4, 2)

    def slopes(model, x):
        def loss(params):
            y, _ = model.apply({"params": params}, x)
            return jnp.sum(jnp.sin(y)), y

        return jit(jax.grad(loss, has_aux=True))(params)

    close(slopes(model, tokens), slopes(floats, jax.nn.one_hot(tokens, 5)), 1e-4, 1e-6)


def test_dropout_is_between_layers_only():
    x = inputs((2, 3, 4))
    one, params = model_and_params(x, hidden=8, dropout=0.5)
    close(apply(one, params, x, train=True), apply(one, params, x))
    two, params = model_and_params(x, hidden=8, layers=2, dropout=0.5)
    whole, carry_whole = apply(two, params, x)
    y, carry = apply(two, params, x, train=True, key=0)
    close(carry[0], carry_whole[0], 1e-6, 1e-6)  # of the first layer, which nothing was dropped for
    assert not np.allclose(y, whole) and np.all(y != 0)
    assert not np.allclose(y, apply(two, params, x, train=True, key=1)[0])


def test_types():
    x = inputs((2, 3, 4))
    model, params = model_and_params(x, hidden=5)
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    y, carry = apply(model, half, x.astype(jnp.bfloat16))
    assert {y.dtype, *(s.dtype for s in jax.tree.leaves(carry))} == {jnp.dtype("bfloat16")}
    close(y.astype(jnp.float32), apply(model, params, x)[0], 0.05, 0.05)
    _, carry = apply(model, half, x.astype(jnp.bfloat16), model.initialize_carry(2))
    assert {s.dtype for s in jax.tree.leaves(carry)} == {jnp.dtype("float32")}


def test_states_that_have_not_begun():
    model = Recurrent(4, 2, bidirectional=True)
    carry = model.apply({}, 3, method="initialize_carry")
    assert jax.tree.map(jnp.shape, carry) == (((3, 4), (3, 4)),) * 4
    close(carry, model.initialize_carry(3))
    assert all(not s.any() for s in jax.tree.leaves(carry))
    assert jax.tree.map(jnp.shape, Recurrent(4, 2, "gru").initialize_carry(3)) == (((3, 4),),) * 2


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(hidden=0), "config.model.hidden: must be at least 1, got 0"),
        (dict(layers=0), "config.model.layers: must be at least 1"),
        (dict(dropout=1.0), r"config.model.dropout: must be in \[0, 1\), got 1.0"),
        (dict(vocabulary=1), "config.model.vocabulary: must be at least 2"),
        (dict(vocabulary=9), "config.model.vocabulary: is 9, but inputs are float32"),
        (dict(implementation="cudnn", cell="gru"), "config.model.implementation: .* not 'gru'"),
        (dict(implementation="cudnn"), "config.model.implementation: .* NVIDIA GPU.* 'scan'"),
    ],
)
def test_bad_settings(settings, message):
    if jax.default_backend() == "gpu" and settings == dict(implementation="cudnn"):
        pytest.skip("a GPU is here")
    model = Recurrent(**{"hidden": 4} | settings)
    with pytest.raises(UserError, match=message) as caught:
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2, 3)))
    assert "\n" not in str(caught.value)


def test_token_ids_need_a_vocabulary():
    with pytest.raises(
        UserError, match=r"config\.model\.vocabulary: is None, but inputs are int32"
    ):
        Recurrent(4).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))


# ---- cuDNN


@pytest.fixture
def reference_cudnn(monkeypatch):
    """JAX's own reference of cuDNN's LSTM, in its place."""

    def reference(x, h, c, weights, lengths, width, hidden, layers, dropout, both):
        apart = jax_rnn.unpack_lstm_weights(weights, width, hidden, layers, both)
        return jax_rnn.lstm_ref(x, h, c, *apart, lengths, width, hidden, layers, dropout, both)

    monkeypatch.setattr(jax_rnn, "lstm", reference)
    monkeypatch.setattr(recurrent.jax, "default_backend", lambda: "gpu")


@pytest.mark.parametrize(
    "masked, bidirectional, vocabulary",
    [(False, False, 5), (True, True, None)],
)
def test_cudnn_takes_our_weights(reference_cudnn, masked, bidirectional, vocabulary):
    x = inputs((2, 4, 3)) if vocabulary is None else jnp.array([[1, 2, 3, 4], [0, 3, 1, 2]])
    layers = 2 if bidirectional else 1
    arguments = dict(hidden=3, layers=layers, bidirectional=bidirectional, vocabulary=vocabulary)
    ours, params = model_and_params(x, **arguments)
    theirs = Recurrent(**arguments, implementation="cudnn")
    carry = jax.tree.map(lambda s: s + 0.5, ours.initialize_carry(2))
    mask = jnp.arange(4) < jnp.array([[4], [2]]) if masked else None

    def slopes(model):
        def loss(params, carry):
            results = model.apply({"params": params}, x, carry, mask)
            return sum(jnp.sum(jnp.sin(r)) for r in jax.tree.leaves(results)), results

        return jit(jax.grad(loss, (0, 1), has_aux=True))(params, carry)

    close(slopes(theirs), slopes(ours), 1e-4, 1e-5)


def test_cudnn_drops_between_layers_as_the_scan_does(reference_cudnn):
    x = inputs((2, 4, 3))
    ours, params = model_and_params(x, hidden=3, layers=2, dropout=0.5)
    theirs = Recurrent(3, 2, dropout=0.5, implementation="cudnn")
    got, expected = (apply(model, params, x, train=True, key=0) for model in (theirs, ours))
    close(got, expected, 1e-5, 1e-6)


def test_cudnn_computes_in_float32_only(reference_cudnn):
    message = "config.model.implementation: .* computes in float32, not float64"
    with jax.enable_x64(True), pytest.raises(UserError, match=message):
        model_and_params(inputs((2, 4, 3), np.float64), hidden=3, implementation="cudnn")
