"""Recurrent kernels and their gradients against NumPy, and against themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.kernels.recurrent import gru, lstm, rnn
from jaxdl.parallel import mesh as devices

jit = functools.partial(devices.jit, once=True)  # compiles fast

CELLS = ["lstm", "gru", "rnn"]
KERNELS = {"lstm": lstm, "gru": gru, "rnn": rnn}
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
STATES = {"lstm": 2, "gru": 1, "rnn": 1}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_step(cell, z, wh, state):
    """One step of one cell, after the papers; for complex numbers too."""
    hidden = len(wh)
    z, p = (np.split(v, v.shape[1] // hidden, 1) for v in (z, state[0] @ wh))
    if cell == "lstm":
        i, f, o = (sigmoid(z[k] + p[k]) for k in (0, 1, 3))
        c = f * state[1] + i * np.tanh(z[2] + p[2])
        return o * np.tanh(c), c
    if cell == "gru":
        r, u = sigmoid(z[0] + p[0]), sigmoid(z[1] + p[1])
        return (u * state[0] + (1 - u) * np.tanh(z[2] + r * p[2]),)
    return (np.tanh(z[0] + p[0]),)


def numpy_run(cell, z, wh, state, mask, reverse):
    outputs = np.zeros((*z.shape[:2], len(wh)), z.dtype)
    for t in reversed(range(len(z))) if reverse else range(len(z)):
        new = numpy_step(cell, z[t], wh, state)
        state = tuple(np.where(mask[t][:, None], n, s) for n, s in zip(new, state, strict=True))
        outputs[t] = state[0]
    return outputs, state


def random_case(cell, time=4, batch=2, hidden=3, dtype=np.float64, seed=0):
    """z, wh, state, and weights of outputs and last state in a loss."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(time, batch, GATES[cell] * hidden)).astype(dtype)
    wh = rng.normal(size=(hidden, GATES[cell] * hidden)).astype(dtype)
    states = rng.normal(size=(2, STATES[cell], batch, hidden)).astype(dtype)
    of_outputs = rng.normal(size=(time, batch, hidden)).astype(dtype)
    return z, wh, tuple(states[0]), (of_outputs, tuple(states[1]))


def weighted(weights, results):
    leaves = zip(jax.tree.leaves(weights), jax.tree.leaves(results), strict=True)
    return sum((w * r).sum() for w, r in leaves)


def close(got, expected, rtol=1e-9, atol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients_are_numpy_s(cell, masked, reverse):
    z, wh, state, weights = random_case(cell)
    mask = np.ones((4, 2), bool)
    if masked:
        mask[:, 0], mask[:, 1] = [True, False, True, True], [True, True, False, False]
    flat = np.concatenate([v.ravel() for v in (z, wh, *state)])

    def restored(flat):
        parts, at = [], 0
        for like in (z, wh, *state):
            parts.append(flat[at : at + like.size].reshape(like.shape))
            at += like.size
        return parts[0], parts[1], tuple(parts[2:])

    slopes = []  # by complex steps: f(x + ih) = f(x) + ih f'(x), with nothing to cancel
    for k in range(len(flat)):
        moved = flat.astype(complex)
        moved[k] += 1e-30j
        slopes.append(weighted(weights, numpy_run(cell, *restored(moved), mask, reverse)).imag)
    expected = restored(np.array(slopes) * 1e30)

    with jax.enable_x64(True):

        def loss(z, wh, state):
            results = KERNELS[cell](z, wh, state, jnp.asarray(mask) if masked else None, reverse)
            return weighted(weights, results), results

        arguments = jax.tree.map(jnp.asarray, (z, wh, state))
        gradients, saved = jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*arguments)
        plain = jit(loss)(*arguments)[1]
        close(plain, numpy_run(cell, z, wh, state, mask, reverse))
        close(saved, plain)
        close(gradients, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_of_the_weights_is_one_product_after_the_loop(cell):
    z, wh, state, weights = random_case(cell, time=6, batch=5, hidden=7, dtype=np.float32)
    slope = jax.grad(lambda *a: weighted(weights, KERNELS[cell](*a)), (0, 1, 2))
    inside, outside = [], []

    def walk(jaxpr, products):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                products.append(equation.outvars[0].aval.shape)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
            ):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    loop = equation.primitive.name in ("while", "scan")
                    walk(inner, inside if loop else products)

    walk(jax.make_jaxpr(slope)(z, wh, state).jaxpr, outside)
    assert sorted(inside) == sorted([(5, 7 * GATES[cell]), (5, 7)])
    assert outside == [(7, 7 * GATES[cell])]


@pytest.mark.parametrize("cell", CELLS)
def test_vmap_and_a_loop_around_change_nothing(cell):
    cases = [random_case(cell, dtype=np.float32, seed=seed) for seed in range(3)]
    weights = cases[0][3]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *(case[:3] for case in cases))
    slope = jax.grad(lambda *a: weighted(weights, KERNELS[cell](*a)), (0, 1, 2))
    alone = jit(slope)
    expected = jax.tree.map(lambda *x: np.stack(x), *(alone(*case[:3]) for case in cases))

    @jit
    def together(stacked):
        around = jax.lax.scan(lambda _, x: (None, slope(*x)), None, stacked)[1]
        return jax.vmap(slope)(*stacked), around

    for gradients in together(stacked):
        close(gradients, expected, 1e-5, 1e-5)
