"""ResNet-152 on ImageNet: 78.31 % top-1 (torchvision's reference).

jaxdl train --config configs/imagenet_resnet152.py --workdir runs/imagenet_resnet152
"""

from jaxdl.configs.imagenet_resnet50 import resnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-50's recipe; 60,192,808 parameters. `--config.model.remat=true` saves memory."""
    return resnet(152, top1=0.78312)
