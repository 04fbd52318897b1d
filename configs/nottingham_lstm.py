"""Nottingham's folk tunes, frame by frame: 3.29 nats a frame (Bai, Kolter and Koltun 2018).

    jaxdl train --config configs/nottingham_lstm.py --workdir runs/nottingham \
        --config.data.path=nottingham.npz

Pieces of up to 1,793 frames: the model goes through them a hundred frames at a time.
"""

from ml_collections import ConfigDict

from jaxdl.configs import music_lstm


def get_config() -> ConfigDict:
    """As `music_lstm` with 400 units, on windows of 100 frames that carry their state on."""
    config = music_lstm.get_config()
    config.data.update(path="nottingham.npz", window=100)
    config.model.update(hidden=400, input_dropout=0.1)
    config.optimizer.update(name="adamw", weight_decay=0.1)
    config.task.seconds = 0.25
    config.training = dict(
        batch_size=16, epochs=24, carry=True, eval_batch_size=16, evaluate_every=dict(epochs=4)
    )
    config.target.update(
        value=3.29, source="Bai, Kolter and Koltun 2018, table 1: LSTM, Nottingham"
    )
    return config
