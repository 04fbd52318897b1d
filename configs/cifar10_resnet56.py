"""ResNet-56 on CIFAR-10: 93.03 % (He et al. 2015, table 6).

jaxdl train --config configs/cifar10_resnet56.py --workdir runs/cifar10_resnet56
"""

from jaxdl.configs.cifar10_resnet20 import get_config as resnet20
from jaxdl.configs.cifar10_resnet20 import published
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As ResNet-20, but deeper: 853,018 parameters."""
    config = resnet20()
    config.model.depth = 56
    config.target = published(6.97, "table 6")
    return config
