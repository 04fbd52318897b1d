"""Which of 20 drawn objects an image shows, and where: top-5 localisation error of at most 12 %.

    jaxdl train --config configs/shapes_localization.py --workdir runs/objects
    jaxdl predict --workdir runs/objects photo.png --top 5 --figure objects.png

Top-5 error, of the class alone and with its box, is what ILSVRC 2012 ranked by; AlexNet's were 16.4
and 34.1 %. Your own images of one object each: `--config.data.source=coco` (or `voc`, `yolo`,
`tfds_boxes`) and its settings; of several, with `--config.task.objects=largest`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A small CNN with batch norm, and boxes from its last 8×8 features."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="drawn_objects",
        size=(64, 64),
        transforms=(dict(name="standardize", mean=128.0, std=64.0),),
        augment=(
            dict(name="random_flip", boxes="boxes"),
            dict(name="random_zoom", zoom=(0.7, 1.4)),
        ),
    )
    config.model = dict(
        name="localizer",
        trunk=dict(
            name="mnist_cnn",
            widths=(32, 64, 64, 64),
            kernels=(5, 3, 3, 3),
            strides=(2, 2, 2, 1),
            dense=200,
            momentum=0.9,
        ),
        grid=8,
        hidden=256,
    )
    config.task = dict(name="localization", box_weight=2.0)
    config.optimizer = dict(
        name="adamw",
        weight_decay=1e-2,
        learning_rate=dict(name="cosine", peak=3e-3, warmup=dict(epochs=0.5)),
        clip_norm=5.0,
    )
    config.training = dict(
        batch_size=50, epochs=20, eval_batch_size=200, evaluate_every=dict(epochs=4)
    )
    config.target = dict(
        metric="test/top5_localization_error",
        value=0.12,
        source="our own: nobody else has these drawings",
        smaller=True,
    )
    config.figures = ("localizations", "confusion")
    return config
