"""Sums as strings, '12+345' -> '357', by an encoder and a decoder: sequence to sequence.

    jaxdl train --config configs/addition_lstm.py --workdir runs/addition
    jaxdl sample --workdir runs/addition --input 12+345

The smaller number comes first and has at most two digits: the sums of Flax's example.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """LSTM 512 to LSTM 512, as in Flax's seq2seq example."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="addition",
        digits=3,
        smaller_digits=2,  # Flax's sums: 95,050, of which 10,000 are kept for the test
        train_examples=85_000,
        tokenize=dict(
            source=dict(text="question", by="characters", ends=True),
            tokens=dict(text="answer", by="characters", ends=True),
        ),
    )
    config.model = dict(
        name="encoder_decoder", hidden=512, bidirectional=False, attention=False, cell="lstm"
    )
    config.task = dict(name="language_modeling", conditions=("source",), scores=("exact_match",))
    config.optimizer = dict(
        name="adam",
        learning_rate=dict(name="cosine", peak=3e-3, warmup=dict(steps=100)),
        clip_norm=1.0,
    )
    config.training = dict(batch_size=128, steps=3600, evaluate_every=dict(steps=600))
    config.target = dict(
        metric="test/exact_match",
        value=1.0,
        source="Flax, examples/seq2seq: exact match 1.0 at step 1,800",
    )
    return config
