"""ResNet-34 on ImageNet: 73.31 % top-1 (torchvision's reference).

jaxdl train --config configs/imagenet_resnet34.py --workdir runs/imagenet_resnet34
"""

from jaxdl.configs.imagenet_resnet50 import resnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-50's recipe; 21,797,672 parameters."""
    return resnet(34, top1=0.73314)
