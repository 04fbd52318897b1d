"""The shipped configs, as modules: `from jaxdl.configs import bccd_fcos` works anywhere.

Their folder stands inside the package once it is installed, and in a checkout beside it.
"""

from __future__ import annotations

import ast
from pathlib import Path

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
__path__ = [str(next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0]))]

# The walk of the lecture that jaxdl grew out of, in its order.
LECTURE = {
    "Fitting a curve": ("bishop_polynomial", "bishop_descent"),
    "A line between two classes": (
        "blobs_logistic",
        "pedestrians_logistic",
        "pedestrians_cnn",
    ),
    "Handwritten digits": (
        "digits_softmax",
        "digits_mlp",
        "digits_cnn",
        "mnist_softmax",
        "mnist_mlp",
        "mnist_cnn",
    ),
    "Sequences": (
        "shakespeare_lstm",
        "shakespeare_large",
        "shakespeare_gru",
        "folk_lstm",
        "music_lstm",
        "nottingham_lstm",
        "rows_mnist_lstm",
        "pixels_mnist_lstm",
        "sentiment_lstm",
        "translation_lstm",
        "addition_lstm",
        "captions_lstm",
    ),
    "Deep networks for images": (
        "imagenet_alexnet",
        "imagenette_alexnet",
        "imagenet_vgg19",
        "imagenet_googlenet",
        "cifar10_fast",
        "cifar10_wide",
    ),
    "Residual networks": (
        "cifar10_plain20",
        "cifar10_plain56",
        "cifar10_resnet20",
        "cifar10_resnet56",
        "cifar10_resnet110",
        "imagenette_resnet18",
        "imagenet_resnet18",
        "imagenet_resnet34",
        "imagenet_resnet50",
        "imagenet_resnet101",
        "imagenet_resnet152",
    ),
    "Steering a car": ("driving_deeptesla", "driving_pilotnet", "driving_lstm"),
    "Drawing boxes": (
        "shapes_localization",
        "shapes_fcos",
        "shapes_faster_rcnn",
        "bccd_fcos",
        "bccd_retinanet",
        "bccd_faster_rcnn",
        "coco_fcos",
    ),
    "Without labels": ("mnist_autoencoder", "mnist_vae"),
    "Acting": ("cartpole",),
}


def summary(name: str) -> str:
    """What a shipped config is: the first line of its docstring."""
    text = Path(__path__[0], f"{name}.py").read_text("utf-8")
    document = ast.get_docstring(ast.parse(text)) or ""
    return document.partition("\n")[0]


def shipped() -> dict[str, Path]:
    """The configs that come with jaxdl: name -> file."""
    return {path.stem: path for path in sorted(Path(__path__[0]).glob("[!_]*.py"))}
