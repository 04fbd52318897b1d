"""Blood cells: Faster R-CNN on BCCD from scratch, with the data and training of bccd_fcos.

    jaxdl train --config configs/bccd_faster_rcnn.py --workdir runs/bccd_faster_rcnn

Published, of Faster R-CNN with a ResNet-101 that was trained on COCO first: mAP@.5 of 90.3.
"""

from jaxdl.configs.bccd_fcos import get_config as fcos
from jaxdl.configs.shapes_faster_rcnn import get_config as shapes
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The detector of shapes_faster_rcnn, twice as wide, with room for many cells."""
    config = fcos()
    config.model = shapes().model
    config.model.update(
        width=32, hidden=256, candidates=(500, 500), proposals=(500, 100), samples=128
    )
    config.task = dict(name="faster_rcnn")
    config.target = dict(
        metric="test/mAP50",
        value=0.903,
        source="Faster R-CNN with ResNet-101, trained on COCO first and then on BCCD",
    )
    return config
