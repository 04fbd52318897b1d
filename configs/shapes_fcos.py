"""Boxes around drawn shapes: FCOS from scratch in minutes, mAP@.5 of at least 0.90.

    jaxdl train --config configs/shapes_fcos.py --workdir runs/shapes
    jaxdl predict --workdir runs/shapes photo.png --figure boxes.png

Your own boxes: `--config.data.source=coco` (or `voc`, `yolo`, `tfds_boxes`) and its settings.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A small ResNet-18 with a pyramid of three levels, on images of 96 pixels."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="drawn_boxes",
        size=(96, 96),
        transforms=(dict(name="standardize", mean=128.0, std=64.0),),
        augment=(dict(name="random_flip", boxes="boxes"),),
    )
    config.model = dict(
        name="detector",
        head="fcos",
        depth=18,
        width=16,
        pool=False,
        levels=(3, 5),
        channels=64,
        convolutions=2,
    )
    config.task = dict(name="fcos")
    config.optimizer = dict(
        name="adamw",
        weight_decay=1e-2,
        learning_rate=dict(name="cosine", peak=3e-3, warmup=dict(epochs=0.5)),
        clip_norm=5.0,
    )
    config.training = dict(
        batch_size=16, epochs=12, eval_batch_size=50, evaluate_every=dict(epochs=3)
    )
    config.target = dict(
        metric="test/mAP50", value=0.9, source="what a detector that works reaches on such images"
    )
    config.figures = ("detections", "precision_recall")
    return config
