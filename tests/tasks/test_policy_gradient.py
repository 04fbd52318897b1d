"""The policy gradient, against its definition written as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import Table
from jaxdl.tasks import PolicyGradient


def outputs(ends):
    """Episodes of 5 steps at most, of which each is over after so many, or cut off after 5."""
    rng = np.random.default_rng(0)
    playing = np.arange(6) < np.array([[end if end <= 5 else 6] for end in ends])

    def draw(n):
        return rng.normal(size=(len(ends), n)).astype(np.float32)

    return {
        "playing": playing,
        "reward": np.where(playing[:, :-1], draw(5), 0),
        "value": draw(6),
        "log_p": -abs(draw(5)),
        "entropy": abs(draw(5)),
    }


ENDS = (2, 5, 6, 1)  # of 5 steps: the second is over at the last, the third cut off there


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_advantage_is_what_is_earned_from_then_on_less_the_baseline(discount):
    played = outputs(ENDS)
    got = PolicyGradient(discount=discount).advantages(played)
    scale = max(1 - discount, 1 / 5)
    for i, end in enumerate(ENDS):
        for t in range(min(end, 5)):
            ahead = range(t, 5)
            earned = scale * sum(discount ** (k - t) * played["reward"][i, k] for k in ahead)
            if end > 5:
                earned += discount ** (5 - t) * played["value"][i, 5]
            assert got[i, t] == pytest.approx(earned - played["value"][i, t], abs=1e-5)


def test_with_no_trace_the_baseline_is_asked_after_one_step():
    played = outputs(ENDS)
    got = PolicyGradient(discount=0.9, trace=0.0).advantages(played)
    value = np.where(played["playing"], played["value"], 0)
    np.testing.assert_allclose(
        got, 0.2 * played["reward"] + 0.9 * value[:, 1:] - value[:, :-1], atol=1e-6
    )


def test_the_gradient_is_the_advantage_for_the_policy_and_the_error_for_the_baseline():
    played, task = outputs(ENDS), PolicyGradient(baseline_weight=0.5, entropy=0.1)
    grads = jax.grad(lambda part: jnp.sum(task.loss({**played, **part}, {})))(
        {name: played[name] for name in ("log_p", "value", "entropy")}
    )
    goes_on = played["playing"][:, :-1]
    advantage = np.where(goes_on, task.advantages(played), 0)
    np.testing.assert_allclose(grads["log_p"], -advantage / 5, atol=1e-6)
    np.testing.assert_allclose(grads["value"][:, :-1], -0.5 * advantage / 5, atol=1e-6)
    assert not grads["value"][:, -1].any()
    np.testing.assert_allclose(grads["entropy"], -0.1 * goes_on / 5, atol=1e-7)


def test_it_reports_undiscounted_returns_and_steps():
    played, task = outputs(ENDS), PolicyGradient()
    shown = task.metrics(played, {})
    np.testing.assert_allclose(shown["return"], played["reward"].sum(1), rtol=1e-6)
    assert shown["steps"].tolist() == [2, 5, 5, 1]
    ((answer,), *_) = task.answers(played, {}, ())
    assert answer == ("return", pytest.approx(played["reward"][0].sum()), None)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"discount": 0.0}, "discount must be in (0, 1], got 0.0"),
        ({"discount": 1.1}, "discount must be in (0, 1], got 1.1"),
        ({"trace": -0.1}, "trace must be in [0, 1], got -0.1"),
        ({"entropy": -1.0}, "entropy must be finite and at least 0"),
        ({"baseline_weight": float("inf")}, "baseline_weight must be finite"),
        ({"discount": float("nan")}, "discount must be in"),
    ],
)
def test_settings_outside_their_range_are_refused(refuses, settings, fault):
    with refuses(fault):
        PolicyGradient(**settings)


@pytest.mark.parametrize("played", [np.zeros((4, 2)), {"reward": np.zeros((4, 5))}])
def test_a_model_that_does_not_play_is_refused(refuses, played):
    with refuses("config.model: the task needs a dict with", "playing", "such as actor_critic"):
        PolicyGradient().loss(played, {})


@pytest.mark.parametrize(
    ("columns", "faults"),
    [
        ({"number": np.arange(3)}, ("no column 'seed'", "config.task.input")),
        ({"seed": np.arange(3.0)}, ("one whole number an example", "(3,) of float64")),
        ({"seed": np.zeros((3, 2), int)}, ("one whole number an example", "(3, 2)")),
    ],
)
def test_seeds_are_whole_numbers(refuses, columns, faults):
    with refuses(*faults):
        PolicyGradient().check(Table(columns))
