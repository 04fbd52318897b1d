"""Bach's chorales, frame by frame, by an LSTM (after Bai, Kolter and Koltun 2018, table 1).

    jaxdl train --config configs/music_lstm.py --workdir runs/chorales \
        --config.data.path=jsb_chorales.npz
    jaxdl sample --workdir runs/chorales --length 64 --output chorale.mid
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """88 -> LSTM 200 -> 88, dropout, whole pieces."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="piano_rolls", path="jsb_chorales.npz")
    config.model = dict(name="piano_roll_model", hidden=200, dropout=0.5, input_dropout=0.2)
    config.task = dict(name="music", seconds=0.5)
    config.optimizer = dict(
        name="adam", learning_rate=dict(name="cosine", peak=3e-3), clip_norm=1.0
    )
    config.training = dict(batch_size=16, epochs=100, evaluate_every=dict(epochs=5))
    config.figures = ("piano_roll",)
    return config
