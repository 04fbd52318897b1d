"""MNIST read pixel by pixel: 784 steps, a test of long memory (sequential MNIST).

    jaxdl train --config configs/pixels_mnist_lstm.py --workdir runs/pixels_mnist_lstm

`--config.model.cell=gru` learns it faster.
"""

from jaxdl.configs.rows_mnist_lstm import get_config as rows
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As row by row, but for the steps."""
    config = rows()
    config.data.transforms = (dict(name="scale"), dict(name="unroll", steps=784))
    config.model.memory = 784
    config.optimizer.learning_rate.peak = 2e-3
    config.target = dict(
        metric="test/accuracy",
        value=0.872,
        source="Bai et al. 2018 (TCN), Table 1: LSTM of 70k parameters 87.2, GRU 96.2",
    )
    return config
