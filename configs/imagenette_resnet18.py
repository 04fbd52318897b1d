"""ResNet-18 on Imagenette, ten classes of ImageNet, from scratch at 160 pixels.

jaxdl train --config configs/imagenette_resnet18.py --workdir runs/imagenette_resnet18
"""

from jaxdl.configs.imagenet_resnet50 import PIXELS
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Random crops, mirrored and coloured in the step; small images first."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="imagenette/160px-v2",
        train="train",
        test="validation",
        # Few images: crops of at least a third teach more than the 8 % of ImageNet's recipe.
        crop=dict(size=160, resize=160, area=(0.35, 1.0)),
        transforms=(PIXELS,),
        augment=(
            dict(name="random_flip"),
            dict(name="color_jitter", brightness=0.3, contrast=0.3, saturation=0.3),
        ),
    )
    config.model = dict(name="resnet", depth=18, zero_init=True)
    config.task = dict(name="classification", top=5, label_smoothing=0.1)
    config.optimizer = dict(
        name="sgd",
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        learning_rate=dict(name="cosine", peak=0.05, warmup=dict(epochs=2)),
    )
    config.training = dict(
        batch_size=64,
        epochs=40,
        sizes=((96, dict(epochs=18)), (128, dict(epochs=14))),
        eval_batch_size=100,
        evaluate_every=dict(epochs=4),
    )
    config.figures = ("confusion",)
    return config
