"""The recipe of mnist_mlp on scikit-learn's 8x8 digits: real, offline, seconds.

jaxdl train --config configs/digits_mlp.py --workdir runs/digits_mlp
"""

from jaxdl.configs.digits_cnn import on_digits
from jaxdl.configs.mnist_mlp import get_config as mnist
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As on MNIST, but for the data."""
    return on_digits(mnist())
