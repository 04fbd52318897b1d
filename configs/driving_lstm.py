"""Steering from a clip: how blocks of the image move from frame to frame, and an LSTM over that.

jaxdl train --config configs/driving_lstm.py --workdir runs/driving_lstm

Beside driving_pilotnet: what half a second tells that a single frame does not. The path that the
car takes tells where its wheel is already, at any speed and backwards too, though not while it
stands. That is to measure what the human does, not to drive: it would go on as it goes.
"""

from jaxdl.configs.driving_pilotnet import get_config as pilotnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Clips of five frames, mirrored, and played backwards as if the car reversed."""
    config = pilotnet()
    config.data.update(
        clips=dict(length=5, within=("drive",), first=("steering",)),
        transforms=(dict(name="scale", by=1 / 127.5, shift=-1.0),),
        augment=(
            dict(name="random_reverse", swap=("steering",)),
            dict(name="random_flip", negate=("steering",)),
        ),
    )
    config.model = dict(name="motion_lstm", dropout=0.2)
    # The wheel is straight in most frames: squares would make it turn a little in all of them.
    config.task.loss_name = "absolute"
    config.optimizer = dict(
        name="adamw", learning_rate=dict(name="cosine", peak=2e-3), weight_decay=1e-2
    )
    config.training.update(
        batch_size=128,
        eval_batch_size=64,
        epochs=24,
        evaluate_every=dict(epochs=6),
        ema_decay=0.99,
    )
    return config
