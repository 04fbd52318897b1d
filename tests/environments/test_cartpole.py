"""The cart-pole against Gymnasium 1.4.0, whose numbers are pinned here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.environments import CartPole

KEY = jax.random.key(0)

# Start, actions, and after how many steps of them it is where, and whether it is over.
PLAYED = [
    (
        (0.01, -0.02, 0.03, 0.04),
        "011010010110",
        12,
        (0.004539, -0.026726, 0.054189, 0.188621),
        False,
    ),
    ((0.0, 0.0, 0.0, 0.0), "1" * 20, 9, (0.140651, 1.760381, -0.215186, -2.777886), True),
    (
        (0.01, -0.02, 0.03, 0.04),
        "111000000" + "1" * 12,
        21,
        (0.141219, 1.73342, -0.145, -2.553666),
        False,
    ),
    ((2.39, 0.6, 0.0, 0.0), "0" * 20, 1, (2.402, 0.404878, 0.0, 0.292683), True),
]


@pytest.mark.parametrize(("start", "actions", "steps", "end", "ends"), PLAYED)
def test_it_moves_and_ends_as_gymnasiums(start, actions, steps, end, ends):
    state, over, step = jnp.array(start), False, jax.jit(CartPole().step)
    for number, action in enumerate(actions, 1):  # noqa: B007
        state, reward, over = step(state, int(action), KEY)
        assert reward == 1
        if over:
            break
    assert (number, bool(over)) == (steps, ends)
    np.testing.assert_allclose(state, end, rtol=1e-4, atol=1e-5)


def test_it_starts_near_the_middle_and_by_its_key():
    starts = jax.vmap(CartPole().reset)(jax.random.split(KEY, 500))
    assert starts.shape == (500, 4) and len(np.unique(starts)) > 1900
    assert 0.049 < jnp.abs(starts).max() <= 0.05
    np.testing.assert_allclose(starts.mean(0), 0, atol=0.005)


def test_the_pole_is_a_metre_and_leans_as_the_state_says():
    lines = CartPole().scene(jnp.array([0.5, 0.0, 0.1, 0.0]))
    foot, top = lines[-1]
    assert lines.shape == (6, 2, 2)
    np.testing.assert_allclose(foot, [0.5, 0])
    np.testing.assert_allclose(top - foot, [np.sin(0.1), np.cos(0.1)], rtol=1e-6)


def test_an_episode_has_steps(refuses):
    with refuses("horizon", "at least 1 step, got 0"):
        CartPole(horizon=0)
