"""Blood cells: RetinaNet on BCCD, the recipe of bccd_fcos with another head.

jaxdl train --config configs/bccd_retinanet.py --workdir runs/bccd_retinanet
"""

from jaxdl.configs.bccd_fcos import get_config as fcos
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Nine anchors a place, of three sizes and shapes, in place of one.

    Platelets are 19 pixels wide. Level 2 has anchors of 16 to 25; the smallest of level 3 are 32.
    """
    config = fcos()
    config.model.levels = (2, 5)
    config.model.head = "retinanet"
    config.task.name = "retinanet"
    return config
