"""AlexNet on ImageNet: 56.52 % top-1 (torchvision's reference; the paper's one net has 59.3 %).

jaxdl train --config configs/imagenet_alexnet.py --workdir runs/imagenet_alexnet

`--config.model.name=alexnet_grouped` is the original on two GPUs (Krizhevsky et al. 2012).
"""

from jaxdl.configs.imagenet_resnet50 import imagenet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The paper's recipe: batch 128, 224 of 256 pixels, PCA colour; 61,100,840 parameters."""
    config = imagenet("alexnet", top1=0.56522, small=dict(hidden=256), normalised=False)
    config.data.crop.area = None  # a crop of the scaled image, never of a part of it
    config.data.augment = (dict(name="random_flip"), dict(name="pca_color"))
    config.task.label_smoothing = 0.0
    config.optimizer = dict(
        name="sgd",
        momentum=0.9,
        weight_decay=5e-4,
        learning_rate=dict(
            name="stepwise",
            peak=0.01,
            drops=(dict(epochs=30), dict(epochs=60), dict(epochs=80)),
        ),
    )
    config.training.batch_size = 128
    return config
