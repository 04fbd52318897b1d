"""Steering from a single frame: PilotNet (Bojarski et al. 2016).

jaxdl train --config configs/driving_pilotnet.py --workdir runs/driving_pilotnet

Udacity's simulator, two drives: a lake (0), nearly straight, and a mountain (1), each split by time
into 80/10/10. Published for this network on the simulator: MSE 0.054, MAE 0.168, R² 0.52, but on
other drives and with the straight ones thinned out, so there is no target.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """252,219 parameters; mirrored, brighter, darker and shaded images, in YUV as in the paper."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="driving",
        validation="validation",
        columns=("image", "steering", "drive", "frame"),
        transforms=(dict(name="yuv"), dict(name="scale", by=1 / 127.5, shift=-1.0)),
        augment=(
            dict(name="random_flip", negate=("steering",)),
            dict(name="color_jitter", brightness=0.3, contrast=0.0, saturation=0.0),
            dict(name="random_shadow"),
        ),
    )
    config.model = dict(name="pilotnet", dropout=0.3)
    config.task = dict(name="regression", input="image", target="steering", group="drive")
    config.optimizer = dict(
        name="adamw",
        learning_rate=dict(name="cosine", peak=5e-4),
        weight_decay=1e-4,
        clip_norm=1.0,
    )
    config.training = dict(batch_size=64, epochs=12, evaluate_every=dict(epochs=3))
    config.figures = ("steering", "steering_strip")
    return config
