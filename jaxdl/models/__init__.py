"""Models: Flax Linen modules, a file for each family.

They know Flax, the kernels and the environments, nothing of data, losses or devices: `functional`
makes of each the pure functions that everything else uses. A module's fields are what a config may
set, and its `__call__` takes the task's inputs, and `train: bool` if training differs; a field
`vocabulary`, or `source_vocabulary`, that a config leaves out is filled in from the data. To add
one, write a module in a file here and give it a line in `MODELS`, or leave it in your own code and
name it in the config as `'package.module:Class'`. There a class of Flax NNX will do, too: its
`__init__` takes what a config may set, and `rngs`.
"""

from __future__ import annotations

import flax.linen as nn

from jaxdl.models.agent import ActorCritic
from jaxdl.models.airbench import Airbench
from jaxdl.models.alexnet import AlexNet, AlexNetGrouped
from jaxdl.models.autoencoder import VAE, Autoencoder
from jaxdl.models.cnn import MnistCNN
from jaxdl.models.detector import Detector
from jaxdl.models.driving import DeepTesla, MotionLSTM, PilotNet, PilotNetLSTM
from jaxdl.models.faster_rcnn import FasterRCNN
from jaxdl.models.functional import eval_mode, functional, makes_nnx
from jaxdl.models.googlenet import GoogLeNet
from jaxdl.models.language import Captioner, EncoderDecoder, LanguageModel
from jaxdl.models.localizer import Localizer
from jaxdl.models.mlp import MLP
from jaxdl.models.model import Model
from jaxdl.models.piano_roll import PianoRollModel
from jaxdl.models.polynomial import Polynomial
from jaxdl.models.resnet import CifarResNet, ResNet
from jaxdl.models.sequence import SequenceClassifier
from jaxdl.models.vgg import VGG

MODELS: dict[str, type[nn.Module]] = {
    "actor_critic": ActorCritic,
    "airbench": Airbench,
    "alexnet": AlexNet,
    "alexnet_grouped": AlexNetGrouped,
    "autoencoder": Autoencoder,
    "captioner": Captioner,
    "cifar_resnet": CifarResNet,
    "detector": Detector,
    "deep_tesla": DeepTesla,
    "encoder_decoder": EncoderDecoder,
    "faster_rcnn": FasterRCNN,
    "googlenet": GoogLeNet,
    "language_model": LanguageModel,
    "localizer": Localizer,
    "mlp": MLP,
    "mnist_cnn": MnistCNN,
    "motion_lstm": MotionLSTM,
    "piano_roll_model": PianoRollModel,
    "pilotnet": PilotNet,
    "pilotnet_lstm": PilotNetLSTM,
    "polynomial": Polynomial,
    "resnet": ResNet,
    "sequence_classifier": SequenceClassifier,
    "vae": VAE,
    "vgg": VGG,
}

# The classes too: `from jaxdl.models import ResNet`.
__all__ = ["MODELS", "Model", "eval_mode", "functional", "makes_nnx"]
__all__ += [model.__name__ for model in MODELS.values()]
