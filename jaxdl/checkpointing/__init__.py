"""Checkpointing: what a run leaves on disk, and what weight files of others hold.

It holds the run directory, checkpoints, weight files of others, starting from either
(`config.init_from`) and `jaxdl inspect`. It knows states and configs as trees and JSON, but neither
models, tasks nor training; only `checkpoints.py` knows Orbax. To read another format of weights,
add its reader to `weight_files.py`; to rename a part of a state or a key of a config, add the old
name to `renamed.py`, so that older runs still load.
"""
