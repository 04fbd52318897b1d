"""The straight line of Bishop, PRML 2006, section 1.1, by gradient descent.

    jaxdl train --config configs/bishop_descent.py --workdir runs/descent

On a quadratic, descent converges below a rate of 2 / λmax of its Hessian and diverges above; the
figure `descent_path` prints that bound. `--config.optimizer.learning_rate=0.16` crosses it, and
the run stops where it overflows.
"""

from jaxdl.configs.bishop_polynomial import get_config as closed_form
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As the closed form, but for M and the optimiser."""
    config = closed_form()
    config.model.order = 1  # two parameters, so the loss surface can be drawn
    config.optimizer = dict(
        name="sgd",
        learning_rate=0.1,  # 2 / λmax is 0.157: close to it, the path zigzags across the valley
    )
    config.training.steps = 2000
    config.training.log_every = dict(steps=1)
    config.training.evaluate_every = dict(steps=500)
    config.target = dict(
        metric="train/rmse",
        value=0.4623,
        smaller=True,
        source="exact solution for M = 1 on Bishop's ten points: 0.4622",
    )
    config.figures = ("polynomial_fit", "descent_path")
    return config
