"""The plain net of 56 layers on CIFAR-10, without shortcuts: 85.26 %.

jaxdl train --config configs/cifar10_plain56.py --workdir runs/cifar10_plain56
"""

from cifar10_resnet20 import get_config as resnet20
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """ResNet-56 less its shortcuts: worse than 20 layers, the degradation that they cure."""
    config = resnet20()
    config.model.update(depth=56, residual=False)
    config.target = dict(
        metric="test/accuracy",
        value=0.8526,
        source="a plain net of 56 layers trained so, 85.26 %",
    )
    return config
