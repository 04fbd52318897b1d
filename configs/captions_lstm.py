"""From an image to a sentence: drawn shapes, described (one to many, with attention).

    jaxdl train --config configs/captions_lstm.py --workdir runs/captions
    jaxdl sample --workdir runs/captions --input photo.png

Your own captions (Flickr8k's file, or any with columns image and caption):
`--config.data.source=captions --config.data.path=captions.txt --config.data.size=64`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Three convolutions, an LSTM of 128 that looks at their grid, words."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="shapes",
        transforms=(dict(name="scale"),),
        tokenize=dict(tokens=dict(text="caption", by="words", lower=True, ends=True)),
    )
    config.model = dict(name="captioner", hidden=128, embedding=64, dropout=0.1)
    config.task = dict(
        name="language_modeling", conditions=("image",), scores=("bleu", "exact_match")
    )
    config.optimizer = dict(
        name="adam",
        learning_rate=dict(name="cosine", peak=2e-3, warmup=dict(epochs=1)),
        clip_norm=1.0,
    )
    config.training = dict(batch_size=64, epochs=30, evaluate_every=dict(epochs=5))
    config.figures = ("captions",)
    return config
