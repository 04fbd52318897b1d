"""GoogLeNet on ImageNet: 69.78 % top-1 (torchvision's reference, with batch norm).

jaxdl train --config configs/imagenet_googlenet.py --workdir runs/imagenet_googlenet

The paper's (Szegedy et al. 2015) is
`--config.model.batch_norm=false --config.training.ghost_batch_size=None`.
"""

from jaxdl.configs.imagenet_resnet50 import imagenet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-50's recipe, with the two auxiliary heads at 0.3; 13,004,888 parameters."""
    config = imagenet("googlenet", top1=0.69778, small={}, batch_norm=True, auxiliary=True)
    config.task.auxiliary = 0.3
    return config
