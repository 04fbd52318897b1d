"""Softmax regression on MNIST: 92 % with one layer (Görner, "TensorFlow without a PhD").

jaxdl train --config configs/mnist_softmax.py --workdir runs/mnist_softmax
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """784 -> 10, 7,850 parameters."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="tfds", dataset="mnist", transforms=(dict(name="scale"),))
    config.model = dict(
        name="mlp",
        kernel_std=0.0,  # the loss is convex: zero is as good a start as any, and has no seed
    )
    config.task = dict(name="classification")
    config.optimizer = dict(
        name="sgd",
        # 0.5 is the tutorial's rate; brought down to 0, the last batches no longer move the result.
        learning_rate=dict(name="cosine", peak=0.5),
    )
    config.training = dict(
        batch_size=100,
        steps=10_000,
        evaluate_every=dict(steps=1_000),
    )
    config.target = dict(
        metric="test/accuracy",
        value=0.92,
        source="Görner, tensorflow-mnist-tutorial, 1.0: above 92 %, 92.68 % at its peak",
    )
    config.figures = ("confusion",)
    return config
