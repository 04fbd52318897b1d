"""The recipe of mnist_softmax on scikit-learn's 8x8 digits: real, offline, seconds.

jaxdl train --config configs/digits_softmax.py --workdir runs/digits_softmax
"""

from digits_cnn import on_digits
from ml_collections import ConfigDict
from mnist_softmax import get_config as mnist


def get_config() -> ConfigDict:
    """As on MNIST, but for the data."""
    config = on_digits(mnist())
    config.target = None  # there is no published figure for a linear model on this split
    return config
