"""Person or not, by logistic regression on pixels: INRIA's crops of 128x64.

jaxdl train --config configs/pedestrians_logistic.py --workdir runs/pedestrians_logistic
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A weight for each pixel and colour, 24,577 parameters."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="pedestrians",
        validation="validation",
        columns=("image", "label"),
        transforms=(dict(name="scale", by=1 / 127.5, shift=-1.0),),
        augment=(dict(name="random_flip"),),
    )
    config.model = dict(name="mlp", outputs=None, kernel_std=0.0)
    config.task = dict(name="classification")
    config.optimizer = dict(
        name="adamw", learning_rate=dict(name="cosine", peak=1e-3), weight_decay=1.0
    )
    config.training = dict(batch_size=100, epochs=30, evaluate_every=dict(epochs=5))
    config.figures = ("confusion",)
    return config
