"""Steering from a clip: PilotNet's convolutions on each frame, and an LSTM over the frames.

jaxdl train --config configs/driving_lstm.py --workdir runs/driving_lstm
"""

from driving_pilotnet import get_config as pilotnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As with a single frame, but for clips of five: half a second."""
    config = pilotnet()
    config.data.clips = dict(length=5, within=("drive",))
    config.model = dict(name="pilotnet_lstm", dropout=0.2)
    config.training.eval_batch_size = 64
    return config
