"""The recipe of mnist_softmax on scikit-learn's 8x8 digits: real, offline, seconds.

jaxdl train --config configs/digits_softmax.py --workdir runs/digits_softmax
"""

from jaxdl.configs.digits_cnn import on_digits
from jaxdl.configs.mnist_softmax import get_config as mnist
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As on MNIST, but for the data."""
    config = on_digits(mnist())
    config.target = None  # there is no published figure for a linear model on this split
    return config
