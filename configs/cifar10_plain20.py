"""The plain net of 20 layers on CIFAR-10, without shortcuts: 90.10 %.

jaxdl train --config configs/cifar10_plain20.py --workdir runs/cifar10_plain20
"""

from cifar10_resnet20 import get_config as resnet20
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-20 less its shortcuts: a little worse, still trainable at this depth."""
    config = resnet20()
    config.model.update(depth=20, residual=False)
    config.target = dict(
        metric="test/accuracy",
        value=0.9009999999999999,
        source="a plain net of 20 layers trained so, 90.10 %",
    )
    return config
