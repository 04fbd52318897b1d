"""Checkpointing: the run directory, checkpoints, and weight files of others.

It also starts runs from either (`config.init_from`), and has `jaxdl inspect`. It sees states and
configs as trees and JSON, and knows neither models, tasks nor training; only `checkpoints.py` knows
Orbax. To read another format of weights,
add its reader to `weight_files.py`; to rename a part of a state or a key of a config, add the old
name to `renamed.py`, so that older runs still load.
"""
