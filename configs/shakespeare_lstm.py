"""Characters of Shakespeare, one by one, by two LSTM layers: char-rnn's own recipe.

    jaxdl train --config configs/shakespeare_lstm.py --workdir runs/shakespeare
    jaxdl sample --workdir runs/shakespeare --prompt "ROMEO:" --temperature 0.8

Your own text: `--config.data.source=text --config.data.path=book.txt`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """2 x LSTM 128, sequences of 50 characters, 50 streams, 50 epochs."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source="tfds",
        dataset="tiny_shakespeare",
        # char-rnn keeps 95 % for training and 5 % for validation, in the order of the text.
        train="train+validation",
        validation="test",
        test=None,
        tokenize=dict(tokens=dict(text="text", by="characters", window=50)),
    )
    config.model = dict(name="language_model", hidden=128, layers=2, cell="lstm")
    config.task = dict(name="language_modeling")
    config.optimizer = dict(
        name="rmsprop",
        learning_rate=dict(
            name="geometric", peak=2e-3, factor=0.97, every=dict(epochs=1), after=dict(epochs=10)
        ),
        decay=0.95,
        eps_in_sqrt=False,  # as Torch has it
        clip_norm=5.0,
    )
    config.training = dict(
        batch_size=50,
        epochs=50,
        carry=True,
        eval_batch_size=50,
        evaluate_every=dict(steps=1_000),
    )
    config.target = dict(
        metric="validation/loss",
        value=1.785,
        smaller=True,
        source="char-rnn's defaults on tiny_shakespeare, a third party's log at iteration 1000",
    )
    return config
