"""Folk tunes in ABC notation, character by character (after folk-rnn, Sturm et al. 2016).

    jaxdl train --config configs/folk_lstm.py --workdir runs/folk --config.data.path=tunes.abc
    jaxdl sample --workdir runs/folk --output tune.abc

Any file of tunes in ABC will do, such as the Nottingham collection's.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """3 x LSTM 512, dropout 0.5, batches of 64, as folk-rnn; windows of 64 characters."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tunes",
        path="tunes.abc",
        tokenize=dict(tokens=dict(text="text", by="characters", window=64, ends=True)),
    )
    config.model = dict(name="language_model", cell="lstm", hidden=512, layers=3, dropout=0.5)
    config.task = dict(name="language_modeling", notation="abc")
    config.optimizer = dict(
        name="adam", learning_rate=dict(name="cosine", peak=2e-3), clip_norm=5.0
    )
    config.training = dict(batch_size=64, epochs=20, carry=True, eval_batch_size=8)
    return config
