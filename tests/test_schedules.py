"""Schedules against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import schedules
from jaxdl.durations import Clock
from jaxdl.errors import UserError

CLOCK = Clock(total=100, steps_per_epoch=10.0)


def rates(node, steps=range(100)):
    schedule = schedules.schedule(node, CLOCK, "config.rate")
    return np.array([schedule(jnp.int32(t)) for t in steps])


T = np.arange(100)
CLOSED_FORMS = {
    "constant": (0.3, np.full(100, 0.3)),
    "exponential": (
        {"name": "exponential", "peak": 3.1, "floor": 0.1, "time_constant": {"epochs": 2}},
        0.1 + 3 * np.exp(-T / 20),
    ),
    "stepwise": (
        {"name": "stepwise", "peak": 1.0, "drops": (30, {"epochs": 6})},
        np.where(T < 30, 1, np.where(T < 60, 0.1, 0.01)),
    ),
    "geometric": (
        {"name": "geometric", "peak": 2.0, "factor": 0.5, "every": 20, "after": {"epochs": 4}},
        2.0 * 0.5 ** np.where(T < 40, 0, (T - 20) // 20),
    ),
    "no drops": ({"name": "stepwise", "peak": 1.0, "drops": ()}, np.ones(100)),
    "cosine": (
        {"name": "cosine", "peak": 2.0, "floor": 0.5},
        0.5 + 1.5 * (1 + np.cos(np.pi * T / 100)) / 2,
    ),
    "linear": ({"name": "linear", "peak": 2.0, "floor": 0.5}, 2 - 1.5 * T / 100),
    "ended cosine": (
        {"name": "cosine", "peak": 2.0, "total": 50},
        np.where(T < 50, 1 + np.cos(np.pi * T / 50), 0),
    ),
    "warm-up": (
        {"name": "cosine", "peak": 2.0, "warmup": {"epochs": 2}},
        np.where(T < 20, 2 * (T + 1) / 20, 1 + np.cos(np.pi * (T - 20) / 80)),
    ),
    "warm-up of a line": (
        {"name": "linear", "peak": 2.0, "floor": 0.4, "warmup": 20},
        np.where(T < 20, (T + 1) / 10, 2 - 1.6 * (T - 20) / 80),
    ),
    "warm-up of a line that has ended at step 50": (
        {"name": "linear", "peak": 2.0, "warmup": 20, "total": {"epochs": 5}},
        np.where(T < 20, (T + 1) / 10, np.where(T < 50, 2 - (T - 20) / 15, 0)),
    ),
    "warm-up of a cosine that has ended at step 50": (
        {"name": "cosine", "peak": 2.0, "floor": 0.2, "warmup": 20, "total": 50},
        np.where(T < 20, (T + 1) / 10, 1.1 + 0.9 * np.cos(np.pi * np.clip((T - 20) / 30, 0, 1))),
    ),
    "a cosine that falls from step 60 on": (
        {"name": "cosine", "peak": 2.0, "warmup": 20, "start": {"epochs": 6}},
        np.where(
            T < 20, (T + 1) / 10, np.where(T < 60, 2, 1 + np.cos(np.pi * (T - 60).clip(0) / 40))
        ),
    ),
    "warm-up, and drops at steps of the run": (
        {"name": "stepwise", "peak": 1.0, "warmup": 7, "drops": (30, {"epochs": 6})},
        np.where(T < 7, (T + 1) / 7, np.where(T < 30, 1, np.where(T < 60, 0.1, 0.01))),
    ),
    "a drop while the rate warms up": (
        {"name": "stepwise", "peak": 1.0, "warmup": {"epochs": 2}, "drops": (5,), "factor": 0.5},
        np.minimum((T + 1) / 20, 1) * np.where(T < 5, 1, 0.5),
    ),
    "warm-up, and falling after a step of the run": (
        {"name": "geometric", "peak": 2.0, "factor": 0.5, "every": 20, "after": 40, "warmup": 15},
        np.where(T < 15, 2 * (T + 1) / 15, 2.0 * 0.5 ** np.where(T < 40, 0, (T - 20) // 20)),
    ),
    "warm-up, and falling from its end": (
        {"name": "exponential", "peak": 3.1, "floor": 0.1, "time_constant": 20, "warmup": 10},
        np.where(T < 10, 3.1 * (T + 1) / 10, 0.1 + 3 * np.exp(-(T - 10) / 20)),
    ),
    "a run that is shorter than its warm-up": (
        {"name": "linear", "peak": 2.0, "warmup": 400},
        2 * (T + 1) / 400,
    ),
}


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_schedules_are_their_closed_forms(name, double):
    node, expected = CLOSED_FORMS[name]
    with jax.enable_x64(double):
        tolerance = {"rtol": 1e-13, "atol": 1e-15} if double else {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(rates(node), expected, **tolerance)


@pytest.mark.parametrize("warmup", [1, 4, 40, 99])
def test_drops_are_where_they_are_named_whatever_the_warm_up(warmup):
    node = {"name": "stepwise", "peak": 1.0, "drops": (6, 50), "warmup": warmup}
    ramp = np.minimum((T + 1) / warmup, 1)
    scale = rates(node) / ramp
    np.testing.assert_allclose(scale[[5, 6, 49, 50, 99]], [1, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)


def own_schedule(slope: float, total: int, rests: tuple[int, ...] = ()):
    """A line through the steps of the run, but 0 at some."""
    return lambda step: slope * (total - step) * (1 - jnp.isin(step, jnp.array(rests, int)))


def test_a_schedule_of_the_users_own_sees_the_steps_of_the_run(monkeypatch):
    monkeypatch.setitem(schedules.SCHEDULES, "own", own_schedule)
    expected = np.where(T < 10, 0.5 * (100 - T) * (T + 1) / 10, 0.5 * (100 - T))
    np.testing.assert_allclose(rates({"name": "own", "slope": 0.5, "warmup": 10}), expected)
    expected[[4, 20]] = 0
    node = {"name": "own", "slope": 0.5, "warmup": 10, "rests": (4, {"epochs": 2})}
    np.testing.assert_allclose(rates(node), expected)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("fast", "config.rate: expected a number or dict"),
        (True, "config.rate: expected a number or dict"),
        (-0.1, "config.rate.value: expected a number above 0, got -0.1"),
        (0, "config.rate.value: expected a number above 0"),
        (
            {"name": "cosin", "peak": 1.0},
            "config.rate.name: unknown 'cosin'; did you mean 'cosine'",
        ),
        ({"name": "cosine"}, "config.rate.peak: missing"),
        ({"name": "cosine", "peek": 1.0}, "config.rate.peek: unknown; did you mean 'peak'"),
        ({"name": "cosine", "peak": "x"}, "config.rate.peak: expected a number above 0, got 'x'"),
        ({"name": "cosine", "peak": 1.0, "total": {"years": 1}}, "config.rate.total: give exactly"),
        ({"name": "cosine", "peak": 1.0, "warmup": -1}, "config.rate.warmup.steps: expected"),
        (
            {"name": "cosine", "peak": 1.0, "warmup": 20, "total": 20},
            "config.rate.total: the rate would reach its end at step 20, but begin .* at step 20",
        ),
        (
            {"name": "linear", "peak": 1.0, "start": 60, "total": {"epochs": 5}},
            "config.rate.total: the rate would reach its end at step 50, but begin .* at step 60",
        ),
        ({"name": "linear", "peak": 1.0, "start": -3}, "config.rate.start.steps: expected"),
        ({"name": "linear", "peak": 1.0, "start": None}, "config.rate.start: expected"),
        ({"name": "cosine", "peak": 1.0, "total": None}, "config.rate.total: expected"),
        (
            {"name": "cosine", "peak": 1.0, "total": "end"},
            "config.rate.total: expected a number of steps",
        ),
        ({"name": "stepwise", "peak": 1.0, "drops": (), "start": 3}, "config.rate.start: unknown"),
        ({"name": "stepwise", "peak": 1.0, "drops": 30}, "config.rate.drops: expected .* got 30"),
        (
            {"name": "stepwise", "peak": 1.0, "drops": ("a",)},
            r"config.rate.drops: expected a number of steps",
        ),
        ({"name": "exponential", "peak": 1.0, "time_constant": 0}, "time_constant.steps: expected"),
    ],
)
def test_schedules_that_cannot_be(node, message):
    with pytest.raises(UserError, match=message):
        schedules.schedule(node, CLOCK, "config.rate")
