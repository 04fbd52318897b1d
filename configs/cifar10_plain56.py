"""The plain net of 56 layers on CIFAR-10, without shortcuts: 85.26 %.

jaxdl train --config configs/cifar10_plain56.py --workdir runs/cifar10_plain56
"""

from jaxdl.configs.cifar10_plain20 import plain
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-56 less its shortcuts: worse than 20 layers, the degradation that they cure."""
    return plain(56, accuracy=0.8526)
