"""Polynomial curve fitting: Bishop, PRML 2006, section 1.1, solved in closed form.

    jaxdl train --config configs/bishop_polynomial.py --config.model.order=3 --workdir runs/bishop

`--config.data.points=15 --config.data.seed=0` draws new data, `--config.task.l2=1.5e-8` is ridge
regression (eq. 1.4), and `bishop_descent.py` takes the same road by gradient descent.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """M = 3 on the ten printed points."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="polynomial", points=10)  # the ten printed points
    config.model = dict(name="polynomial", order=3)  # M; Table 1.1 prints 0, 1, 3 and 9
    config.task = dict(
        name="regression",
        reduction="sum",  # eq. 1.2 is a sum, which fixes what λ means in eq. 1.4
        l2=0.0,
        input="x",
    )
    config.optimizer = dict(name="least_squares")
    config.training = dict(
        steps=1,
        shuffle=False,
        evaluate=("train", "test"),
    )
    # At M = 9 the basis has a condition of 1e7: float32 gets not one digit of w right.
    config.precision = dict(params="float64", compute="float64", output="float64")
    config.target = dict(
        metric="test/rmse",
        value=0.2243,
        smaller=True,
        source="exact solution for M = 3 on Bishop's ten points, against sin 2πx",
    )
    config.figures = ("polynomial_fit",)
    return config
