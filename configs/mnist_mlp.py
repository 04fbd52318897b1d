"""A five-layer perceptron on MNIST: 98 % (Görner, "TensorFlow without a PhD").

jaxdl train --config configs/mnist_mlp.py --workdir runs/mnist_mlp
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10 with ReLU and dropout, 185,300 parameters."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="tfds", dataset="mnist", transforms=(dict(name="scale"),))
    config.model = dict(
        name="mlp",
        hidden=(200, 100, 60, 30),
        activation="relu",
        dropout=0.25,  # the tutorial keeps 0.75
        kernel_std=0.1,  # with hidden_bias, so that ReLUs start in their working half
        hidden_bias=0.1,
    )
    config.task = dict(name="classification")
    config.optimizer = dict(
        name="adam",
        # lr = 1e-4 + 3e-3 exp(-t / 2000)
        learning_rate=dict(name="exponential", peak=3.1e-3, floor=1e-4, time_constant=2000),
    )
    config.training = dict(
        batch_size=100,
        steps=10_000,
        evaluate_every=dict(steps=1_000),
    )
    config.target = dict(
        metric="test/accuracy",
        value=0.98,
        source="Görner, tensorflow-mnist-tutorial, 2.2: 98 %, 98.17 % at step 10,000",
    )
    config.figures = ("confusion",)
    return config
