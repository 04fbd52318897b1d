"""Polynomial curve fitting: the tables of Bishop, PRML 2006, section 1.1, to the printed digits."""

import jax
import numpy as np
import pytest

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.overrides import override
from jaxdl.training.build import build_experiment
from jaxdl.training.loop import train_experiment
from jaxdl.training.measure import Measure, measure

TABLE_1 = {  # M -> w*, of Table 1.1
    0: (0.19,),
    1: (0.82, -1.27),
    3: (0.31, 7.99, -25.43, 17.37),
    9: (0.35, 232.37, -5321.83, 48568.31, -231639.30, 640042.26, -1061800.52, 1042400.18,
        -557682.99, 125201.43),
}  # fmt: skip
ERRORS = {0: (0.6143, 0.7278), 1: (0.4622, 0.5167), 3: (0.1870, 0.2243), 9: (0.0, 1.2590)}
# Table 1.2, M = 9. Its columns do not follow from the λ printed above them by eq. 1.4: they need
# λ = 1.03745e-7 and 9.7. With λ = e^-18 as printed the solution is the third.
TABLE_2 = {
    1.03745e-7: (0.35, 4.74, -0.77, -31.97, -3.89, 55.28, 41.32, -45.95, -91.53, 72.68),
    9.7: (0.13, -0.05, -0.06, -0.05, -0.03, -0.02, -0.01, -0.00, 0.00, 0.01),
    float(np.exp(-18)): (0.35, 5.77, -14.97, 29.86, -95.63, 35.18, 168.72, -18.04, -273.18, 162.20),
}


def experiment(*overrides, config="bishop_polynomial"):
    return build_experiment(override(cfg.read(config), overrides))


def solved(*overrides):
    """Coefficients, and the RMS error on the training and on the test points."""
    fit = experiment(*overrides)
    with fit.precision.enabled():
        state, summary = jax.jit(fit.step)(fit.init(), dict(fit.splits["train"].columns))
        metrics, _ = Measure(fit, state)(state)
        assert summary["grad_norm"] < 1e-6 * max(1, np.abs(state.params["w"]).max())
    return np.asarray(state.params["w"]), (metrics["train/rmse"], metrics["test/rmse"])


@pytest.mark.parametrize("order", TABLE_1)
def test_table_1_1(order):
    w, errors = solved(f"model.order={order}")
    np.testing.assert_allclose(w, TABLE_1[order], atol=0.0051, rtol=1e-6)
    np.testing.assert_allclose(errors, ERRORS[order], atol=5.1e-5)


@pytest.mark.parametrize("penalty", TABLE_2)
def test_table_1_2(penalty):
    w, _ = solved("model.order=9", f"task.l2={penalty!r}")
    np.testing.assert_allclose(w, TABLE_2[penalty], atol=0.0051)


def test_single_precision_would_not_do():
    narrow = [f"precision.{kind}=float32" for kind in ("params", "compute", "output")]
    fit = experiment("model.order=9", *narrow)
    state, _ = jax.jit(fit.step)(fit.init(), dict(fit.splits["train"].columns))
    assert abs(float(state.params["w"][9]) - TABLE_1[9][9]) > 1000


def test_the_whole_run_writes_the_table_and_reads_it_back(tmp_path):
    config, run = cfg.read("bishop_polynomial"), Run(tmp_path)
    run.claim(config)
    result = train_experiment(build_experiment(config), run)
    assert result["met"] and result["examples"] == {"train": 10, "test": 100}
    assert (run.figures / "polynomial_fit.png").stat().st_size > 5_000
    assert measure(build_experiment(run.config()), run)[:2] == (1, result["metrics"])


def test_more_data_is_a_better_fit():
    errors = {
        points: np.mean(
            [
                solved("model.order=9", f"data.points={points}", f"data.seed={seed}")[1]
                for seed in range(3)
            ],
            axis=0,
        )
        for points in (15, 100)
    }
    assert errors[15][1] > 1.5 * errors[100][1]
    assert errors[100][0] == pytest.approx(0.3, abs=0.04)  # the noise is all that is left


X = np.arange(10) / 9
CURVATURE = float(np.linalg.eigvalsh(np.stack([X**0, X]) @ np.stack([X**0, X]).T)[-1])


def descent(folder, rate, steps):
    overrides = (f"optimizer.learning_rate={rate!r}", f"training.steps={steps}", "figures=()")
    config, run = override(cfg.read("bishop_descent"), overrides), Run(folder)
    run.claim(config)
    return train_experiment(build_experiment(config), run), run


def test_descent_meets_the_closed_form_below_the_bound(tmp_path):
    result, _ = descent(tmp_path, 1.8 / CURVATURE, 300)
    _, (error, _) = solved("model.order=1")
    assert result["met"] and result["metrics"]["train/rmse"] == pytest.approx(error, rel=1e-9)


def test_descent_diverges_above_the_bound_and_says_so(tmp_path):
    with pytest.raises(UserError, match=r"step \d+: not finite .*; lower the learning rate"):
        descent(tmp_path, 3 / CURVATURE, 2000)
    assert Run(tmp_path).result() is None
