"""Blood cells: RetinaNet on BCCD, the recipe of bccd_fcos with another head.

jaxdl train --config configs/bccd_retinanet.py --workdir runs/bccd_retinanet
"""

from jaxdl.configs.bccd_fcos import get_config as fcos
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Nine anchors a place, of three sizes and shapes, in place of one."""
    config = fcos()
    config.model.head = "retinanet"
    config.task.name = "retinanet"
    return config
