"""Blood cells: FCOS on BCCD, from scratch or from a trunk that was trained elsewhere.

    jaxdl train --config configs/bccd_fcos.py --workdir runs/bccd
    jaxdl predict --workdir runs/bccd smear.jpg --figure cells.png

Published, of detectors that were trained on COCO first: mAP@.5 of 84 (YOLOv3) to 94.5 (YOLOv5s).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A narrow ResNet-18 with a pyramid of three levels, at half the images' size."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds_boxes",
        dataset="bccd",
        validation="validation",
        size=(240, 320),
        transforms=(dict(name="standardize", mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),),
        augment=(
            dict(name="random_flip", boxes="boxes"),
            dict(name="random_zoom", zoom=(0.75, 1.35)),
            dict(name="color_jitter", brightness=0.2, contrast=0.2, saturation=0.2),
        ),
    )
    config.model = dict(
        name="detector",
        head="fcos",
        classes=3,
        depth=18,
        width=32,
        levels=(3, 5),
        channels=64,
        convolutions=2,
    )
    config.task = dict(name="fcos", classes=3)
    config.optimizer = dict(
        name="adamw",
        weight_decay=1e-2,
        learning_rate=dict(name="cosine", peak=2e-3, warmup=dict(epochs=2)),
        clip_norm=5.0,
    )
    config.training = dict(
        batch_size=8, epochs=60, eval_batch_size=29, evaluate_every=dict(epochs=10)
    )
    config.target = dict(
        metric="test/mAP50", value=0.84, source="YOLOv3, trained on COCO first and then on BCCD"
    )
    config.figures = ("detections", "precision_recall")
    return config
