"""German to English (Multi30k): an LSTM reads, another writes and looks back at what was read.

    jaxdl train --config configs/translation_lstm.py --workdir runs/translation
    jaxdl sample --workdir runs/translation --input "Ein Hund läuft." --beam 4

Reads a TFDS data set with the texts `de` and `en`. From a table with these columns, or others that
`config.data.tokenize` names: `--config.data.source=csv --config.data.path=pairs.csv
--config.data.text="('de', 'en')"`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """LSTM 256 in both directions, LSTM 256 with attention, words that stand there twice."""
    config = ConfigDict()
    config.seed = 0
    words = dict(by="words", lower=True, min_count=2, ends=True)
    config.data = dict(
        source="tfds",
        dataset="translation",
        validation="validation",
        tokenize=dict(source=dict(text="de", **words), tokens=dict(text="en", **words)),
    )
    config.model = dict(
        name="encoder_decoder",
        hidden=256,
        embedding=256,
        dropout=0.4,
        tied=True,
        attention=True,
    )
    config.task = dict(
        name="language_modeling",
        conditions=("source",),
        label_smoothing=0.1,
        scores=("bleu",),
        beam=4,
    )
    config.optimizer = dict(
        name="adam",
        learning_rate=dict(name="cosine", peak=2e-3, warmup=dict(epochs=1)),
        clip_norm=1.0,
    )
    config.training = dict(
        batch_size=128, epochs=8, buckets=5, evaluate_every=dict(epochs=2), eval_batch_size=128
    )
    config.target = dict(
        metric="test/bleu",
        value=28.3,
        source="Trevett, pytorch-seq2seq, GRU with Bahdanau attention: BLEU 28.3, perplexity 25.6",
    )
    return config
