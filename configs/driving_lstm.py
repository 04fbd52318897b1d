"""Steering from a clip: PilotNet's convolutions on each frame, and an LSTM over the frames.

jaxdl train --config configs/driving_lstm.py --workdir runs/driving_lstm

Beside driving_pilotnet: what half a second tells that a single frame does not. From how the view
turns it can also tell where the wheel is already, which helps to predict the human, not to drive.
"""

from driving_pilotnet import get_config as pilotnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """PilotNet's recipe on clips of five frames, for half as many epochs."""
    config = pilotnet()
    config.data.clips = dict(length=5, within=("drive",))
    config.model = dict(name="pilotnet_lstm", dropout=0.3)
    config.training.update(epochs=6, evaluate_every=dict(epochs=2), eval_batch_size=64)
    return config
