"""Thirty numbers for a digit of MNIST: 3.00 (Hinton and Salakhutdinov 2006; PCA: 13.87).

    jaxdl train --config configs/mnist_autoencoder.py --workdir runs/autoencoder

A map of the digits: `--config.model.code=2 "--config.figures=('reconstructions', 'codes')"`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """784-1000-500-250-30-250-500-1000-784 with ReLU, without their pretraining."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="mnist",
        transforms=(dict(name="scale"),),
        augment=(dict(name="random_crop", padding=1),),
    )
    config.model = dict(name="autoencoder", code=30, hidden=(1000, 500, 250))
    config.task = dict(name="reconstruction")
    config.optimizer = dict(name="adam", learning_rate=dict(name="cosine", peak=1e-3))
    config.training = dict(batch_size=100, epochs=40, evaluate_every=dict(epochs=4))
    config.target = dict(
        metric="test/loss",
        value=3.0,
        smaller=True,
        source="Hinton and Salakhutdinov 2006: average squared reconstruction error 3.00",
    )
    config.figures = ("reconstructions",)
    return config
