"""ResNet-50 on ImageNet: 76.13 % top-1 (torchvision's reference), 90 epochs.

jaxdl train --config configs/imagenet_resnet50.py --workdir runs/imagenet_resnet50

From a folder tree instead of TFDS (`ILSVRC/train/n01440764/*.JPEG`, `ILSVRC/val/n01440764/*.JPEG`):
`--config.data.source=images --config.data.path=ILSVRC`. On an accelerator:
`--config.precision.compute=bfloat16`.
"""

from ml_collections import ConfigDict

# Means and deviations of ImageNet's pixels, as all published weights expect them.
PIXELS = dict(name="standardize", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def get_config() -> ConfigDict:
    """SGD with momentum, batch 256, warm-up and cosine, label smoothing; 25,557,032 parameters."""
    return resnet(50, top1=0.76130)


def resnet(depth: int, top1: float) -> ConfigDict:
    """The recipe for a ResNet; its twin is the smallest of them."""
    return imagenet("resnet", top1, dict(depth=18), depth=depth, zero_init=True)


def imagenet(
    model: str, top1: float, small: dict[str, int], normalised: bool = True, **settings: object
) -> ConfigDict:
    """The recipe for a network: He et al. 2015, with Goyal et al. 2017's start.

    Args:
      model: its name.
      top1: the accuracy that torchvision documents for it.
      small: those of the model's settings that are others on a twin.
      normalised: whether it has batch norm.
      **settings: of the model.
    """
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="imagenet2012",
        train="train",
        test="validation",
        crop=dict(size=224, resize=256),
        transforms=(PIXELS,),
        augment=(dict(name="random_flip"),),
    )
    config.model = dict(name=model, **settings)
    config.task = dict(name="classification", top=5, label_smoothing=0.1)
    config.optimizer = dict(
        name="sgd",
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,  # spares norms and biases
        learning_rate=dict(name="cosine", peak=0.1, warmup=dict(epochs=5)),
    )
    config.training = dict(batch_size=256, epochs=90, eval_batch_size=256)
    if normalised:
        # Statistics of a whole batch cost two all-reduces a layer, one after the other: 98 of a
        # step's 99, whose latency decides on many chips. Those of 32 examples cost none, and are
        # the same on 1 to 8 devices (on 64, with batch_size=2048); 32 a GPU is what the published
        # numbers were reached with (Goyal et al. 2017, section 5).
        config.training.ghost_batch_size = 32
    config.target = dict(metric="test/accuracy", value=top1, source="torchvision's reference model")
    config.figures = ("class_accuracy",)
    config.twin = dict(model=small)
    return config
