"""Film reviews, good or bad (Pang and Lee 2005, rt-polarity), by a bidirectional LSTM.

jaxdl train --config configs/sentiment_lstm.py --workdir runs/sentiment

`experiments/sentiment_baseline.py` is the baseline: TF-IDF and logistic regression. Reads a TFDS
data set with `text` and `label`. From a table of such: `--config.data.source=csv
--config.data.path=reviews.csv --config.data.label=label --config.data.text="('text',)"`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Words that stand there twice, embedded in 64; LSTM 64 both ways; the mean over time."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="sentiment",
        validation="validation",
        tokenize=dict(tokens=dict(text="text", by="words", lower=True, min_count=2)),
    )
    config.model = dict(
        name="sequence_classifier",
        cell="lstm",
        hidden=64,
        bidirectional=True,
        embedding=64,
        dropout=0.5,
        pooling="mean",
    )
    config.task = dict(name="classification", input="tokens")
    config.optimizer = dict(
        name="adamw",
        learning_rate=dict(name="cosine", peak=2e-3),
        weight_decay=3.0,  # rare words keep little of the noise that they start as
        clip_norm=1.0,
    )
    config.training = dict(batch_size=64, epochs=4, buckets=4)
    return config
