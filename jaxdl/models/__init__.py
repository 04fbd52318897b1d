"""Models: Flax Linen modules, a file a family. They know nothing of data, losses or devices.

To add one, write a `flax.linen.Module` in a file here and name it in `MODELS`, or leave it in your
own code and name it in the config as `'package.module:Class'`. Its fields are what a config may
set. `__call__` takes what the task hands over, and `train: bool` if training differs. A field named
`vocabulary`, or `source_vocabulary`, that a config leaves out is filled in from the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxdl.models.cnn import MnistCNN
from jaxdl.models.functional import Model, functional
from jaxdl.models.language import Captioner, EncoderDecoder, LanguageModel
from jaxdl.models.mlp import MLP
from jaxdl.models.polynomial import Polynomial
from jaxdl.models.sequence import SequenceClassifier

MODELS: dict[str, Callable[..., Any]] = {
    "captioner": Captioner,
    "encoder_decoder": EncoderDecoder,
    "language_model": LanguageModel,
    "mlp": MLP,
    "mnist_cnn": MnistCNN,
    "polynomial": Polynomial,
    "sequence_classifier": SequenceClassifier,
}

__all__ = [
    "MLP",
    "MODELS",
    "Captioner",
    "EncoderDecoder",
    "LanguageModel",
    "MnistCNN",
    "Model",
    "Polynomial",
    "SequenceClassifier",
    "functional",
]
