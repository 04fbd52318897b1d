"""Regression against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import means, merge, total
from jaxdl.tasks import Regression, Task

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
