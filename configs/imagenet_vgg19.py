"""VGG-19 on ImageNet: 72.38 % top-1 (torchvision's reference).

jaxdl train --config configs/imagenet_vgg19.py --workdir runs/imagenet_vgg19
"""

from jaxdl.configs.imagenet_alexnet import get_config as alexnet
from jaxdl.configs.imagenet_resnet50 import imagenet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """AlexNet's optimiser on crops of varying scale; 143,667,240 parameters."""
    small = dict(depth=11, hidden=256)
    config = imagenet("vgg", top1=0.72376, small=small, normalised=False, depth=19)
    config.task.label_smoothing = 0.0
    config.optimizer = alexnet().optimizer
    return config
