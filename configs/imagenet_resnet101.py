"""ResNet-101 on ImageNet: 77.37 % top-1 (torchvision's reference).

jaxdl train --config configs/imagenet_resnet101.py --workdir runs/imagenet_resnet101
"""

from jaxdl.configs.imagenet_resnet50 import resnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-50's recipe; 44,549,160 parameters."""
    return resnet(101, top1=0.77374)
