"""The plain net of 20 layers on CIFAR-10, without shortcuts: 90.10 %.

jaxdl train --config configs/cifar10_plain20.py --workdir runs/cifar10_plain20
"""

from jaxdl.configs.cifar10_resnet20 import get_config as resnet20
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-20 less its shortcuts: a little worse, still trainable at this depth."""
    return plain(20, accuracy=0.9010)


def plain(depth: int, accuracy: float) -> ConfigDict:
    """The recipe of ResNet-20 for a plain net, and the accuracy that one of its depth reached."""
    config = resnet20()
    config.model.update(depth=depth, residual=False)
    source = f"a plain net of {depth} layers trained so, {100 * accuracy:.2f} %"
    config.target = dict(metric="test/accuracy", value=accuracy, source=source)
    return config
