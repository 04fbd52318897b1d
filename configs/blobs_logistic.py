"""Logistic regression on two Gaussians, held against the Bayes classifier.

jaxdl train --config configs/blobs_logistic.py --workdir runs/blobs
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One number an example: the logit of the second class."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="blobs")
    config.model = dict(name="mlp", outputs=None)
    config.task = dict(name="classification", input="features")
    config.optimizer = dict(name="sgd", learning_rate=0.5)
    config.training = dict(batch_size=100, epochs=20, evaluate_every=dict(epochs=5))
    config.target = dict(
        metric="test/accuracy",
        value=0.8376,
        source="Bayes accuracy Φ(1) = 0.8413, less a standard error of 10,000 test points",
    )
    config.figures = ("confusion",)
    return config
