"""Steering from a single frame with 1,417 parameters: the network of DeepTeslaJS (MIT 6.S094).

jaxdl train --config configs/driving_deeptesla.py --workdir runs/driving_deeptesla

Published for DeepTesla's clip 10, a camera on a real road: MSE 1.79, MAE 1.04 degrees. These are
other data, so there is no target.
"""

from jaxdl.configs.driving_pilotnet import get_config as pilotnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """PilotNet's recipe, with the larger steps that so few parameters bear."""
    config = pilotnet()
    config.model = dict(name="deep_tesla")
    config.optimizer.learning_rate.peak = 3e-3
    return config
