"""The recipe of mnist_cnn on scikit-learn's 8x8 digits: real, offline, seconds.

jaxdl train --config configs/digits_cnn.py --workdir runs/digits_cnn
"""

from jaxdl.configs.mnist_cnn import get_config as mnist
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As on MNIST, but for the data."""
    return on_digits(mnist())


def on_digits(config: ConfigDict) -> ConfigDict:
    """What the smaller data set asks of a recipe for MNIST."""
    config.data = dict(source="digits", transforms=(dict(name="scale", by=1 / 16),))
    config.training = dict(
        batch_size=100,
        epochs=40,  # 479 steps
        log_every=dict(steps=10),
        evaluate_every=dict(epochs=5),
    )
    config.target = dict(
        metric="test/accuracy",
        value=0.97,
        source="scikit-learn, 'Recognizing hand-written digits': a support vector machine, 0.97",
    )
    return config
