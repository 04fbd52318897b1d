"""Blood cells: FCOS on BCCD from scratch, mAP@.5 of at least 0.84.

    jaxdl train --config configs/bccd_fcos.py --workdir runs/bccd
    jaxdl predict --workdir runs/bccd smear.jpg --figure cells.png

Published, of detectors that were trained on COCO first: mAP@.5 of 84 (YOLOv3) to 94.5 (YOLOv5s).
"""

from jaxdl.configs.imagenet_resnet50 import PIXELS
from jaxdl.configs.shapes_fcos import get_config as shapes
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The detector of shapes_fcos, twice as wide, at half the images' size.

    Platelets are 19 pixels wide: level 2, of places 4 pixels apart, is for them.
    """
    config = shapes()
    config.data = dict(
        source="tfds_boxes",
        dataset="bccd",
        validation="validation",
        size=(240, 320),
        transforms=(PIXELS,),
        augment=(
            dict(name="random_flip", boxes="boxes"),
            dict(name="random_zoom", zoom=(0.75, 1.35)),
            dict(name="color_jitter", brightness=0.2, contrast=0.2, saturation=0.2),
        ),
    )
    config.model.update(width=32, pool=True, levels=(2, 5))
    config.optimizer.learning_rate = dict(name="cosine", peak=2e-3, warmup=dict(epochs=2))
    config.training = dict(
        batch_size=8, epochs=60, eval_batch_size=29, evaluate_every=dict(epochs=10)
    )
    config.target = dict(
        metric="test/mAP50", value=0.84, source="YOLOv3, trained on COCO first and then on BCCD"
    )
    return config
