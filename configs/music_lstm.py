"""Bach's chorales, frame by frame, by an LSTM: 8.45 nats a frame (Bai, Kolter and Koltun 2018).

    jaxdl train --config configs/music_lstm.py --workdir runs/chorales \
        --config.data.path=jsb_chorales.npz
    jaxdl sample --workdir runs/chorales --length 64 --output chorale.mid

The archive from elsewhere: `--config.data.path=NEW --config.target.value=8.45`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """88 -> LSTM 200 -> 88 with dropout, whole pieces."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="piano_rolls", path="jsb_chorales.npz")
    config.model = dict(name="piano_roll_model", hidden=200, dropout=0.5, input_dropout=0.2)
    config.task = dict(name="music", seconds=0.5)
    config.optimizer = dict(
        name="adam", learning_rate=dict(name="cosine", peak=1e-2), clip_norm=1.0
    )
    config.training = dict(batch_size=16, epochs=120, evaluate_every=dict(epochs=10))
    config.target = dict(
        metric="test/nll",
        value=8.45,
        smaller=True,
        source="Bai, Kolter and Koltun 2018, table 1: LSTM, JSB chorales",
    )
    config.figures = ("piano_roll",)
    return config
