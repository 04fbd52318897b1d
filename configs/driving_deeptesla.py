"""Steering from a single frame with 1,417 parameters: the network of DeepTeslaJS (MIT 6.S094).

jaxdl train --config configs/driving_deeptesla.py --workdir runs/driving_deeptesla
"""

from driving_pilotnet import get_config as pilotnet
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """As PilotNet."""
    config = pilotnet()
    config.model = dict(name="deep_tesla")
    return config
