"""ResNet-18 on ImageNet: 69.76 % top-1 (torchvision's reference).

jaxdl train --config configs/imagenet_resnet18.py --workdir runs/imagenet_resnet18
"""

from jaxdl.configs.imagenet_resnet50 import resnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-50's recipe; 11,689,512 parameters."""
    return resnet(18, top1=0.69758)
