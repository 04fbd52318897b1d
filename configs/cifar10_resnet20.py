"""ResNet-20 on CIFAR-10: 91.25 % (He et al. 2015, table 6).

jaxdl train --config configs/cifar10_resnet20.py --workdir runs/cifar10_resnet20
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The paper's recipe: batch 128, 64,000 steps, pad 4, crop and flip; 269,722 parameters."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="cifar10",
        columns=("image", "label"),
        transforms=(dict(name="standardize", mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7)),),
        augment=(dict(name="random_crop", padding=4), dict(name="random_flip")),
    )
    config.model = dict(name="cifar_resnet", depth=20, shortcut="A")
    config.task = dict(name="classification")
    config.optimizer = dict(
        name="sgd",
        momentum=0.9,
        weight_decay=1e-4,
        learning_rate=dict(name="stepwise", peak=0.1, drops=(32_000, 48_000)),
    )
    config.training = dict(batch_size=128, steps=64_000, evaluate_every=dict(epochs=5))
    config.target = published(8.75, "table 6")
    config.figures = ("confusion",)
    return config


def published(error: float, where: str) -> dict:
    """The accuracy of a paper's error, in per cent."""
    value = round(1 - error / 100, 4)
    return dict(metric="test/accuracy", value=value, source=f"He et al. 2015, {where}")
