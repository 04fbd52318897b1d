"""Models: Flax Linen modules, a file a family. They know nothing of data, losses or devices.

To add one, write a `flax.linen.Module` in a file here and name it in `MODELS`, or leave it in your
own code and name it in the config as `'package.module:Class'`. Its fields are what a config may
set. `__call__` takes what the task hands over, and `train: bool` if training differs. A field named
`vocabulary`, or `source_vocabulary`, that a config leaves out is filled in from the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxdl.models.airbench import Airbench
from jaxdl.models.alexnet import AlexNet, AlexNetGrouped
from jaxdl.models.cnn import MnistCNN
from jaxdl.models.detector import Detector
from jaxdl.models.driving import DeepTesla, MotionLSTM, PilotNet, PilotNetLSTM
from jaxdl.models.functional import Model, functional, settled
from jaxdl.models.googlenet import GoogLeNet
from jaxdl.models.language import Captioner, EncoderDecoder, LanguageModel
from jaxdl.models.mlp import MLP
from jaxdl.models.polynomial import Polynomial
from jaxdl.models.resnet import CifarResNet, ResNet
from jaxdl.models.sequence import SequenceClassifier
from jaxdl.models.vgg import VGG

MODELS: dict[str, Callable[..., Any]] = {
    "airbench": Airbench,
    "alexnet": AlexNet,
    "alexnet_grouped": AlexNetGrouped,
    "captioner": Captioner,
    "cifar_resnet": CifarResNet,
    "detector": Detector,
    "deep_tesla": DeepTesla,
    "encoder_decoder": EncoderDecoder,
    "googlenet": GoogLeNet,
    "language_model": LanguageModel,
    "mlp": MLP,
    "mnist_cnn": MnistCNN,
    "motion_lstm": MotionLSTM,
    "pilotnet": PilotNet,
    "pilotnet_lstm": PilotNetLSTM,
    "polynomial": Polynomial,
    "resnet": ResNet,
    "sequence_classifier": SequenceClassifier,
    "vgg": VGG,
}

__all__ = [
    "MLP",
    "MODELS",
    "VGG",
    "Airbench",
    "AlexNet",
    "AlexNetGrouped",
    "Captioner",
    "CifarResNet",
    "DeepTesla",
    "Detector",
    "EncoderDecoder",
    "GoogLeNet",
    "LanguageModel",
    "MnistCNN",
    "Model",
    "MotionLSTM",
    "PilotNet",
    "PilotNetLSTM",
    "Polynomial",
    "ResNet",
    "SequenceClassifier",
    "functional",
    "settled",
]
