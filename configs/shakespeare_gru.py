"""The complete plays, character by character, by three GRU layers (Görner's "play RNN").

    jaxdl train --config configs/shakespeare_gru.py --workdir runs/plays \
        --config.data.path="shakespeare/*.txt"

The plays are in github.com/martin-gorner/tensorflow-rnn-shakespeare; any folder of texts will do.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """3 x GRU 512, sequences of 30 characters, 200 streams, 10 epochs."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="text",
        path="shakespeare/*.txt",
        validation_fraction=0.05,
        tokenize=dict(tokens=dict(text="text", by="characters", window=30)),
    )
    config.model = dict(name="language_model", cell="gru", hidden=512, layers=3, dropout=0.2)
    config.task = dict(name="language_modeling")
    config.optimizer = dict(name="adam", learning_rate=1e-3, clip_norm=5.0)
    config.training = dict(batch_size=200, epochs=10, carry=True, eval_batch_size=100)
    config.target = dict(
        metric="validation/loss",
        value=1.42,
        smaller=True,
        source="Görner, tensorflow-rnn-shakespeare: about 1.42, read off its plot",
    )
    return config
