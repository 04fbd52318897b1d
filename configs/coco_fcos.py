"""COCO: FCOS with a ResNet-50 and a feature pyramid, AP 39.2.

    jaxdl train --config configs/coco_fcos.py:resnet50.safetensors --workdir runs/coco \
        --config.data.path=coco

`coco` is the folder with `annotations/`, `train2017/` and `val2017/`; behind the colon stands a
file of ImageNet's weights for the trunk, without which all of it starts fresh.
"""

from jaxdl.configs.imagenet_resnet50 import PIXELS
from ml_collections import ConfigDict


def get_config(weights: str | None = None) -> ConfigDict:
    """Twelve epochs of batches of 16."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="coco",
        path="coco",
        size=(800, 1344),
        lazy=True,
        degenerate="drop",  # two boxes of the train split
        transforms=(PIXELS,),
        augment=(dict(name="random_flip", boxes="boxes"),),
    )
    config.model = dict(name="detector", head="fcos", depth=50)
    config.task = dict(name="fcos")
    config.optimizer = dict(
        name="sgd",
        momentum=0.9,
        weight_decay=1e-4,
        learning_rate=dict(
            name="stepwise",
            peak=0.01,
            warmup=dict(steps=1000),
            drops=(dict(epochs=8), dict(epochs=11)),
        ),
    )
    config.training = dict(
        batch_size=16,
        epochs=12,
        eval_batch_size=16,
        evaluate_every=dict(epochs=2),
    )
    config.precision = dict(compute="bfloat16")
    config.target = dict(
        metric="validation/AP",
        value=0.392,
        source="torchvision, fcos_resnet50_fpn, trained so at varying sizes",
    )
    config.figures = ("detections", "precision_recall")
    config.twin = dict(model=dict(depth=18, channels=64))
    if weights:
        config.init_from = dict(
            path=weights,
            rename=(("^", "backbone.body."),),
            exclude=("^backbone/fpn/", "^head/", "body/fc/"),
        )
        # What is common to all images stays as ImageNet taught it.
        config.optimizer.groups = (("^backbone/body/(conv1|bn1|layer1)/", None), (".*", {}))
        config.training.freeze_statistics = True
    return config
