"""Boxes around drawn shapes: Faster R-CNN from scratch, mAP@.5 of at least 0.90.

jaxdl train --config configs/shapes_faster_rcnn.py --workdir runs/shapes_faster_rcnn
jaxdl predict --workdir runs/shapes_faster_rcnn photo.png --figure boxes.png
"""

from jaxdl.configs.shapes_fcos import get_config as fcos
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The recipe of shapes_fcos, with a small Faster R-CNN whose finest level has stride 4."""
    config = fcos()
    config.model = dict(
        name="faster_rcnn",
        depth=18,
        width=16,
        levels=(2, 4),
        channels=64,
        anchor=4.0,
        hidden=128,
        candidates=(200, 200),
        proposals=(200, 50),
        samples=64,
    )
    config.task = dict(name="faster_rcnn", samples=128)
    return config
