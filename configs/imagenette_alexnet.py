"""AlexNet on Imagenette, ten classes of ImageNet, from scratch at up to 128 pixels.

jaxdl train --config configs/imagenette_alexnet.py --workdir runs/imagenette_alexnet

Small enough to be trained for being looked into, by `jaxdl explain` and
`experiments/understanding_alexnet.py`.
"""

from jaxdl.configs.imagenet_resnet50 import PIXELS
from ml_collections import ConfigDict

RATE = dict(name="cosine", peak=3e-4, warmup=dict(epochs=2))


def get_config() -> ConfigDict:
    """Dense layers of 512 instead of 4,096 units; random crops, mirrored and coloured."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="imagenette/160px-v2",
        train="train",
        test="validation",
        crop=dict(size=128, resize=144, area=(0.35, 1.0)),
        transforms=(PIXELS,),
        augment=(
            dict(name="random_flip"),
            dict(name="color_jitter", brightness=0.3, contrast=0.3, saturation=0.3),
        ),
    )
    config.model = dict(name="alexnet", hidden=512)
    config.task = dict(name="classification", top=5, label_smoothing=0.1)
    config.optimizer = dict(
        name="adamw",  # without batch norm, SGD stays at chance for many epochs
        weight_decay=0.05,
        learning_rate=RATE,
        # So few steps would leave in the filters of the first layer the noise that they began as;
        # at this decay they forget it with a half-life of 350 steps at the peak.
        groups=(
            ("^features/0/kernel", dict(weight_decay=2.0, learning_rate={**RATE, "peak": 1e-3})),
            (".*", {}),
        ),
    )
    config.training = dict(
        batch_size=32,
        epochs=30,
        sizes=((96, dict(epochs=22)),),
        eval_batch_size=100,
        evaluate_every=dict(epochs=3),
    )
    config.figures = ("confusion",)
    return config
