"""Digits of MNIST, and new ones like them: a variational autoencoder (Kingma and Welling 2014).

    jaxdl train --config configs/mnist_vae.py --workdir runs/vae

The loss is minus the lower bound of the log likelihood of an image, in nats.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """784-500-20-500-784, hyperbolic tangents, batches of 100."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="mnist",
        train="train[:55000]",
        validation="train[55000:]",
        transforms=(dict(name="scale"),),
    )
    config.model = dict(name="vae", code=20, hidden=(500,))
    config.task = dict(name="variational")
    config.optimizer = dict(name="adam", learning_rate=dict(name="cosine", peak=1e-3))
    config.training = dict(batch_size=100, epochs=50, evaluate_every=dict(epochs=5))
    config.figures = ("reconstructions", "samples")
    return config
