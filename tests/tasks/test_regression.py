"""Regression against NumPy."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import means, merge, total
from jaxdl.models import functional
from jaxdl.tasks import Regression, Task
from jaxdl.training.step import init, make_step

RNG = np.random.default_rng(0)
OUTPUTS, TARGET = RNG.normal(size=(2, 50)).astype(np.float32)


def report(task, outputs, target):
    mask, batch = jnp.ones(len(outputs), bool), {"target": jnp.asarray(target)}
    found = {k: total(m, mask) for k, m in task.metrics(jnp.asarray(outputs), batch).items()}
    return task.report(means(merge([found])), Table({"target": np.asarray(target)}))


@pytest.mark.parametrize("loss_name", ["squares", "absolute"])
def test_loss_and_metrics_are_numpys(loss_name):
    task, error = Regression(loss_name=loss_name), OUTPUTS - TARGET
    expected = 0.5 * error**2 if loss_name == "squares" else abs(error)
    loss = task.loss(jnp.asarray(OUTPUTS), {"target": jnp.asarray(TARGET)})
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert report(task, OUTPUTS, TARGET) == pytest.approx(
        {
            "loss": expected.mean(),
            "mse": (error**2).mean(),
            "rmse": np.sqrt((error**2).mean()),
            "mae": abs(error).mean(),
            "r2": 1 - (error**2).mean() / TARGET.var(),
        },
        rel=1e-4,
    )


def test_r2_of_targets_far_from_zero():
    target, error = np.float64(2000) + np.sign(TARGET), np.where(OUTPUTS > 0, 0.5, -0.25)
    got = report(Regression(), target + error, target)
    assert got["r2"] == pytest.approx(1 - (error**2).mean() / target.var(), rel=1e-5)


def test_r2_of_one_value_is_not_a_number():
    assert np.isnan(report(Regression(), [1.0, 2.0], [3.0, 3.0])["r2"])


def test_whole_numbers_are_targets_too():
    assert report(Regression(), np.float32([1, 2]), np.int32([1, 4]))["mse"] == 2.0


def test_penalty():
    params = {"w": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(3.0)}
    assert Regression(l2=0.5).penalty(params) == pytest.approx(0.5 / 2 * 14)
    assert Regression().penalty(params) == 0
    with pytest.raises(UserError, match="l2 must be at least 0"):
        Regression(l2=-1.0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"features": [0.0]}, "no column 'target'; it has features"),
        ({"x": [0.0], "target": [0.0]}, "no column 'features'; it has x, target"),
        ({"features": [0.0], "target": [[0.0]]}, r"one number an example, got shape \(1, 1\)"),
        ({"features": [0.0], "target": [True]}, "one number an example, got shape .* of bool"),
    ],
)
def test_splits_that_cannot_be_learnt(columns, message):
    with pytest.raises(UserError, match=f"^my data: .*{message}"):
        Regression().check(Table({k: np.array(v) for k, v in columns.items()}, "my data"))


def test_it_is_a_task():
    assert isinstance(Regression(), Task)
    assert Regression().output_shapes({"target": np.zeros(4)}) == [(4,)]


# ---- Groups, and zeros that count less

DRIVE = np.array([0, 1] * 25)


def grouped(outputs, target, drive, **settings):
    task = Regression(input="image", target="steering", group="drive", **settings)
    table = Table({"steering": np.float32(target), "drive": np.array(drive)})
    found = {}
    for rows in np.array_split(np.arange(len(outputs)), 3):  # batches, the last one uneven
        batch = {name: jnp.asarray(column[rows]) for name, column in table.columns.items()}
        metrics = task.metrics(jnp.asarray(np.float32(outputs)[rows]), batch)
        one = {k: total(m, jnp.ones(len(rows), bool)) for k, m in metrics.items()}
        found = merge([found, one] if found else [one])
    return task.report(means(found), table)


def test_each_group_is_also_reported_apart():
    got = grouped(OUTPUTS, TARGET, DRIVE)
    plain = report(Regression(), OUTPUTS, TARGET)
    assert {name: got[name] for name in plain} == pytest.approx(plain, rel=1e-6)
    for value in (0, 1):
        here = np.equal(DRIVE, value)
        alone = report(Regression(), OUTPUTS[here], TARGET[here])
        t = TARGET[here].astype(np.float64)
        expected = {name: alone[name] for name in ("mae", "rmse", "r2")} | {
            "mae_of_mean": abs(t - t.mean()).mean(),
            "mae_of_median": abs(t - np.median(t)).mean(),
            "mae_of_previous": abs(t[1:] - t[:-1]).mean(),
        }
        shown = {k.split("/")[1]: v for k, v in got.items() if k.startswith(f"drive{value}/")}
        assert shown == pytest.approx(expected, rel=1e-5)
        assert all(isinstance(number, float) for number in shown.values())
    assert got["predictions"] == pytest.approx(OUTPUTS.tolist())
    assert len(got) == 5 + 2 * 6 + 1


def test_the_mean_has_no_r2_and_no_constant_less_absolute_error_than_the_median():
    target = np.float32([0, 0, 0, 0, 1, 0, 0, -0.5])
    got = grouped(np.full(8, target.mean()), target, np.zeros(8, int))
    assert got["drive0/r2"] == pytest.approx(0, abs=1e-6)
    assert got["drive0/mae"] == pytest.approx(got["drive0/mae_of_mean"])
    assert got["drive0/mae_of_median"] < got["drive0/mae_of_mean"]


def test_the_previous_target_is_that_of_the_same_group():
    got = grouped(np.zeros(6), [0, 10, 1, 20, 3, 50], [7, 8, 7, 8, 7, 8])
    assert got["drive7/mae_of_previous"] == pytest.approx((1 + 2) / 2)
    assert got["drive8/mae_of_previous"] == pytest.approx((10 + 30) / 2)


def test_groups_of_one_example():
    got = grouped([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], [0, 1, 1])
    assert np.isnan(got["drive0/r2"]) and np.isnan(got["drive0/mae_of_previous"])
    assert got["drive0/mae"] == 0 and got["drive1/mae"] == 1


def test_many_predictions_are_not_listed(monkeypatch):
    monkeypatch.setattr("jaxdl.tasks.regression._LISTED", 49)
    assert "predictions" not in grouped(OUTPUTS, TARGET, DRIVE)


@pytest.mark.parametrize("loss_name", ["squares", "absolute"])
def test_zeros_count_less_in_the_objective_and_not_in_the_report(loss_name):
    target = np.where(DRIVE == 0, 0, TARGET)
    batch = {"target": jnp.asarray(target)}
    plain, light = (Regression(loss_name=loss_name, zero_weight=w) for w in (1.0, 0.25))
    weight = np.where(target == 0, 0.25, 1.0)
    np.testing.assert_allclose(light.weight(batch), weight)
    np.testing.assert_array_equal(plain.weight(batch), np.ones(50))
    losses = plain.loss(jnp.asarray(OUTPUTS), batch)
    np.testing.assert_allclose(light.loss(jnp.asarray(OUTPUTS), batch), losses * weight, rtol=1e-6)
    assert report(light, OUTPUTS, target) == report(plain, OUTPUTS, target)


def test_a_step_of_half_weighted_zeros_is_that_of_two_such_examples():
    """The mean over weights: two zeros of weight ½ pull as one of weight 1."""

    class Constant(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.broadcast_to(self.param("y", nn.initializers.zeros, ()), (len(x),)) + 1

    def updated(task, target):
        batch = {"features": jnp.zeros((len(target), 1)), "target": jnp.asarray(target)}
        model, optimizer = functional(Constant()), optax.sgd(1.0)
        step = make_step(model, task, optimizer)
        return step(init(model, task, optimizer, batch), batch)[0].params["y"]

    half = updated(Regression(zero_weight=0.5), [0.0, 0.0, 3.0])
    assert half == pytest.approx(updated(Regression(), [0.0, 3.0]))
    assert half != pytest.approx(updated(Regression(), [0.0, 0.0, 3.0]))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_weights(weight):
    with pytest.raises(UserError, match="zero_weight must be finite and above 0"):
        Regression(zero_weight=weight)


@pytest.mark.parametrize(
    ("drive", "message"),
    [
        (None, "no column 'drive'; .*config.task.group='drive' must name a column"),
        (
            np.zeros(30),
            r"task.group='drive' must name one whole number .* shape \(\) of float64",
        ),
        (np.zeros((30, 1), int), r"'drive' must name one whole number .* shape \(1,\)"),
        (np.arange(30), "'drive' makes 30 groups, .* at most 20"),
    ],
)
def test_groups_that_are_none(drive, message):
    columns = {"features": np.zeros(30), "target": np.zeros(30)}
    columns |= {} if drive is None else {"drive": drive}
    with pytest.raises(UserError, match=f"^my data: .*{message}"):
        Regression(group="drive").check(Table(columns, "my data"))
