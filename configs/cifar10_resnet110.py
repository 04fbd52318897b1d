"""ResNet-110 on CIFAR-10: 93.39 % (He et al. 2015, table 6).

jaxdl train --config configs/cifar10_resnet110.py --workdir runs/cifar10_resnet110
"""

from jaxdl.configs.cifar10_resnet20 import get_config as resnet20
from jaxdl.configs.cifar10_resnet20 import published
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As ResNet-20, but deeper, so that training has to start slowly: 1,727,962 parameters."""
    config = resnet20()
    config.model.depth = 110
    config.twin = dict(model=dict(depth=20))
    config.optimizer.learning_rate.warmup = 400  # the paper: 0.01 until the error is below 80 %
    config.target = published(6.61, "table 6, the mean of 5 runs")
    return config
