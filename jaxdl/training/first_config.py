"""A first config for a user's own data: models, rates and lengths that suit its kind and size."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.recognition import Recognized
from jaxdl.data.table import Table
from jaxdl.errors import printable, some
from jaxdl.training.build import MANY_CLASSES, build_task

_WIDTH = 100
_PIXELS = {"name": "standardize", "mean": 128.0, "std": 64.0}
_UNLIKE = 10  # times the least deviation of columns in unlike units
_LISTED = 100  # columns, at most, whose means a config lists
_SOLVED = 50_000_000  # numbers in the table of a least-squares problem, at most
_KEYS = ("data", "model", "task", "optimizer", "training", "figures")


@dataclass(frozen=True)
class FirstConfig:
    """A config, and why it is as it is.

    Attributes:
      title: what it trains.
      config: the keys.
      why: path of a key, such as 'model.hidden' -> the reason for its value.
    """

    title: str
    config: Mapping[str, Any]
    why: Mapping[str, str]

    def text(self, command: str) -> str:
        """The config file.

        Args:
          command: that trains it, for the docstring.
        """
        shown = printable(command, None).replace("\\", "\\\\").replace('"', '\\"')
        lines = [f'"""{self.title}', "", shown, '"""', ""]
        lines += [
            "from ml_collections import ConfigDict",
            "",
            "",
            "def get_config() -> ConfigDict:",
        ]
        lines += ['    """A first config, by `jaxdl init`: change whatever you know better."""']
        lines += ["    config = ConfigDict()", "    config.seed = 0"]
        for key in _KEYS:
            if key in self.config:
                lines += self._node(key, self.config[key])
        return "\n".join([*lines, "    return config", ""])

    def _node(self, key: str, node: Any) -> list[str]:
        """The lines that set a key; where there are reasons, each argument has a line."""
        if not isinstance(node, dict) or not any(self.why.get(f"{key}.{name}") for name in node):
            return _lines(f"    config.{key} = ", node, "")
        lines = [f"    config.{key} = dict("]
        for name, value in node.items():
            line, why = _lines(f"        {name}=", value, ","), self.why.get(f"{key}.{name}", "")
            if len(line) == 1 and len(line[0]) + len(why) + 4 <= _WIDTH:
                line[0] += f"  # {why}" if why else ""
            elif why:
                lines += [f"        # {part}" for part in textwrap.wrap(why, _WIDTH - 10)]
            lines += line
        return [*lines, "    )"]


def first_config(data: Recognized) -> FirstConfig:
    """A config that trains on data as `jaxdl.data.recognition` finds it.

    Raises:
      UserError: the data is not what its task learns from.
    """
    columns = data.splits["train"].columns
    if "boxes" in columns:
        made = _detector(data)
    elif "caption" in columns:
        made = _captioner(data)
    elif "image" in columns:
        made = _images(data)
    elif "features" in columns:
        made = _regression(data) if "target" in columns else _table(data)
    else:
        made = _classified_texts(data) if "label" in columns else _language_model(data)
    config, why = dict(made.config), dict(made.why)
    if "tokenize" not in config["data"]:  # tokens are not made yet
        task = build_task(config["task"], MANY_CLASSES)
        for table in data.splits.values():
            task.check(table)
    if set(data.splits) == {"train"}:
        config["training"] = {**config["training"], "evaluate": ("train",)}
        why["training.evaluate"] = "all there is; only examples held out tell what it is worth"
    return FirstConfig(made.title, config, why)


def _images(data: Recognized) -> FirstConfig:
    train, shape = data.splits["train"], data.splits["train"].columns["image"].shape
    n, classes = len(train), _classes(data)
    grey = data.settings.get("channels", shape[-1]) == 1
    sides = np.atleast_1d(data.settings.get("size", shape[1:3]))
    size = None if "crop" in data.settings else min(sides)
    batch = _batch(n, 64)
    augment: tuple[dict[str, Any], ...] = () if grey else ({"name": "random_flip"},)
    why = {"data.augment": "leave it out if a mirrored image is of another class"}
    if size is None:
        depth = 50 if n >= 100_000 else 18
        model = {"name": "resnet", "depth": depth, "outputs": classes}
        why["data.crop"] = "images stay on the disk; each epoch sees another part of each"
        why["model.depth"] = "the smallest; trained weights help few images (config.init_from)"
        epochs = _epochs(n, batch, 2_000, 10, 20)
    elif grey or size < 24 or n < 1_000:
        model = {"name": "mnist_cnn", "outputs": classes}
        why["model.name"] = "small and quick; jaxdl describe mnist_cnn"
        epochs = _epochs(n, batch, 1_000, 10, 40)
    else:
        model = {"name": "cifar_resnet", "depth": 20, "outputs": classes}
        why["model.name"] = "made for images of this size; jaxdl describe cifar_resnet"
        epochs = _epochs(n, batch, 4_000, 10, 60)
    if "size" in data.settings:
        why["data.size"] = "the images' own, in pixels"
    config = {
        "data": {
            "source": data.source,
            **data.settings,
            "transforms": (_pixels(train.columns["image"]),),
            **({"augment": augment} if augment else {}),
        },
        "model": model,
        "task": {"name": "classification", "classes": classes},
        "optimizer": _adamw(1e-3, 1),
        "training": _training(batch, epochs),
        "figures": ("confusion",),
    }
    return FirstConfig(f"Images of {classes} classes.", config, why | _lengths(n, batch))


def _pixels(images: Any) -> dict[str, Any]:
    """The transform that brings pixels near 0, by what they are where they are not bytes."""
    if images.dtype == np.uint8:
        return _PIXELS
    mean, std = float(f"{images.mean():.3g}"), float(f"{images.std():.3g}")
    return {"name": "standardize", "mean": mean, "std": std or 1.0}


def _table(data: Recognized) -> FirstConfig:
    train, classes = data.splits["train"], _classes(data)
    n = len(train)
    batch, hidden = _batch(n, 64), _hidden(n)
    config = {
        "data": {"source": data.source, **data.settings, **_one_scale(data)},
        "model": {"name": "mlp", "hidden": hidden, "outputs": classes},
        "task": {"name": "classification", "classes": classes, "input": "features"},
        "optimizer": _adamw(3e-3, 1),
        "training": _training(batch, _epochs(n, batch, 1_500, 10, 200)),
        "figures": ("confusion",),
    }
    why = {
        "data.standardize": "columns in unlike units learn alike",
        "model.hidden": f"for {n:,} rows; () is logistic regression, the first thing to beat",
        "task.classes": _why_classes(train, classes),
    }
    return FirstConfig(f"A table, rows of {classes} classes.", config, why | _lengths(n, batch))


def _one_scale(data: Recognized) -> dict[str, Any]:
    """The transform that brings the columns of an array to one scale; a table's source can itself.

    Of many columns, or columns alike, such as pixels, by their common mean and deviation.
    """
    if "standardize" in data.settings:
        return {}
    x = np.asarray(data.splits["train"].columns["features"], np.float64)
    deviations = x.std(0)
    known = deviations[deviations > 0]
    numbers: dict[str, Any]
    if len(deviations) > _LISTED or not known.size or x.std() < _UNLIKE * known.min():
        numbers = _shortened(x.mean(), x.std())
    else:
        each = [_shortened(*pair) for pair in zip(x.mean(0), deviations, strict=True)]
        numbers = {name: tuple(pair[name] for pair in each) for name in ("mean", "std")}
    return {"transforms": ({"name": "standardize", "column": "features", **numbers},)}


def _shortened(mean: float, std: float) -> dict[str, float]:
    """A mean and a deviation, or 1 if that is 0, to a hundredth of the deviation."""
    std = float(f"{std:.3g}") or 1.0
    return {"mean": round(float(mean), 2 - math.floor(math.log10(std))), "std": std}


def _regression(data: Recognized) -> FirstConfig:
    features = data.splits["train"].columns["features"]
    config = {
        "data": {"source": data.source, **data.settings, **_one_scale(data)},
        "model": {"name": "mlp", "outputs": None},
        "task": {"name": "regression", "input": "features"},
        "optimizer": {"name": "least_squares"},
        "training": {"steps": 1, "shuffle": False},
    }
    why = {
        "data.standardize": "columns in unlike units learn alike",
        "model.outputs": "one number; no hidden layer, so this is linear regression",
        "optimizer.name": "the best linear fit, exactly: what a network has to beat",
        "training.steps": "all rows at once; a network, hidden=(64,), needs adamw, targets near 1",
    }
    if features.size > _SOLVED:
        config["training"] = {"batch_size": _SOLVED // features.shape[1], "steps": 1}
        why["training.batch_size"] = "rows at random: all would take much memory, and fit no better"
    return FirstConfig("A table, a number of each row.", config, why)


def _classified_texts(data: Recognized) -> FirstConfig:
    n, classes = len(data.splits["train"]), _classes(data)
    batch, rare = _batch(n, 64), 2 if n >= 1_000 else 1
    tokens = {
        "text": _text_column(data),
        "by": "words",
        "lower": True,
        "min_count": rare,
        "length": 256,
        "cut": True,
    }
    config = {
        "data": {"source": data.source, **data.settings, "tokenize": {"tokens": tokens}},
        "model": {
            "name": "sequence_classifier",
            "outputs": classes,
            "hidden": 128 if n >= 2_000 else 32,
            "bidirectional": True,
            "embedding": 128 if n >= 2_000 else 32,
            "dropout": 0.5 if n >= 2_000 else 0.2,
            "pooling": "mean",
        },
        "task": {"name": "classification", "classes": classes, "input": "tokens"},
        "optimizer": {**_adamw(1e-3 if n >= 2_000 else 3e-3, 0), "clip_norm": 1.0},
        "training": _training(batch, _epochs(n, batch, 800, 5, 60)),
        "figures": ("confusion",),
    }
    why = {
        "data.tokenize": "words, of each text the first 256",
        "model.hidden": f"for {n:,} texts",
    }
    return FirstConfig(f"Texts of {classes} classes.", config, why | _lengths(n, batch))


def _language_model(data: Recognized) -> FirstConfig:
    column = _text_column(data)
    characters = sum(map(len, data.splits["train"].columns[column]))
    window = 50
    batch = _batch(characters // window, 50, part=20)
    hidden, layers = (
        (128, 1) if characters < 100_000 else (256, 2) if characters < 2e6 else (512, 3)
    )
    is_abc = data.source == "tunes"
    ends = {"ends": True} if is_abc else {}
    tokens = {"text": column, "by": "characters", "window": window, **ends}
    config = {
        "data": {"source": data.source, **data.settings, "tokenize": {"tokens": tokens}},
        "model": {"name": "language_model", "cell": "lstm", "hidden": hidden, "layers": layers},
        "task": {"name": "language_modeling", **({"notation": "abc"} if is_abc else {})},
        "optimizer": {"name": "adam", "learning_rate": 2e-3, "clip_norm": 5.0},
        "training": {
            **_training(batch, _epochs(max(1, characters // window), batch, 2_000, 2, 50)),
            "carry": True,
        },
    }
    why = {
        "data.tokenize": "character by character, 50 at a time",
        "model.hidden": f"for {characters:,} characters; more would learn them by heart",
        "training.carry": "the text goes on from batch to batch",
    }
    return FirstConfig("A text, continued character by character.", config, why)


def _captioner(data: Recognized) -> FirstConfig:
    n = len(data.splits["train"])
    batch, many = _batch(n, 64), n >= 2_000
    tokens = {"text": "caption", "by": "words", "lower": True, "ends": True}
    config = {
        "data": {
            "source": data.source,
            **data.settings,
            "transforms": ({"name": "scale"},),
            "tokenize": {"tokens": {**tokens, "min_count": 2 if many else 1}},
        },
        "model": {
            "name": "captioner",
            "hidden": 256 if many else 64,
            "embedding": 128 if many else 32,
            "dropout": 0.3 if many else 0.1,
        },
        "task": {"name": "language_modeling", "conditions": ("image",), "scores": ("bleu",)},
        "optimizer": {**_adamw(1e-3 if many else 3e-3, 1), "clip_norm": 1.0},
        "training": _training(batch, _epochs(n, batch, 3_000, 5, 60)),
        "figures": ("captions",),
    }
    why = {
        "data.size": "a square in pixels: larger shows more, and takes longer",
        "data.tokenize": "words; those of two or more captions" if many else "words",
        "model.hidden": f"for {n:,} captions",
    }
    return FirstConfig("Images, described in words.", config, why | _lengths(n, batch))


def _detector(data: Recognized) -> FirstConfig:
    train = data.splits["train"]
    n, classes, size = len(train), len(train.classes), data.settings["size"]
    small = max(size) <= 128
    batch = _batch(n, 16)
    config = {
        "data": {
            "source": data.source,
            **data.settings,
            "transforms": (_PIXELS,),
            "augment": ({"name": "random_flip", "boxes": "boxes"},),
        },
        "model": {
            "name": "detector",
            "head": "fcos",
            "classes": classes,
            "depth": 18,
            "width": 16 if small else 32,
            "pool": not small,
            "levels": (3, 5),
            "channels": 64,
            "convolutions": 2,
        },
        "task": {"name": "fcos", "classes": classes},
        "optimizer": {**_adamw(2e-3, 1), "clip_norm": 5.0},
        "training": {**_training(batch, _epochs(n, batch, 1_500, 10, 40)), "eval_batch_size": 32},
        "figures": ("detections", "precision_recall"),
    }
    why = {
        "data.size": "height and width of the canvas: larger shows more, and takes longer",
        "data.degenerate": "boxes without area are left out; 'refuse' names them",
        "model.depth": "a small network from scratch; configs/coco_fcos.py is the large one",
        "data.augment": "leave it out if a mirrored object is of another class",
    }
    return FirstConfig(
        f"Boxes around objects of {classes} classes.", config, why | _lengths(n, batch)
    )


def _text_column(data: Recognized) -> str:
    """The column to learn: the one that the settings name, or that of a source of texts."""
    return data.settings.get("text", ("text",))[0]


def _classes(data: Recognized) -> int:
    """How many classes there are, of labels that may leave numbers out."""
    labels = [np.asarray(table.columns["label"]) for table in data.splits.values()]
    whole = [label for label in labels if label.dtype.kind in "iub"]  # others the task refuses
    return max([2, *(1 + int(label.max()) for label in whole)])


def _why_classes(train: Table, classes: int) -> str:
    """Why labels that are numbers are of so many classes, and which of these have no example."""
    if train.classes:
        return ""
    known = {*np.unique(train.columns["label"]).tolist()}
    unused = [str(i) for i in range(classes) if i not in known]
    if not unused:
        return "labels count from 0 to one less"
    return f"labels count from 0, but no example to train on has {some(unused, 3, ', ')}"


def _adamw(peak: float, warmup: int) -> dict[str, Any]:
    rate = {"name": "cosine", "peak": peak} | ({"warmup": {"epochs": warmup}} if warmup else {})
    return {"name": "adamw", "learning_rate": rate, "weight_decay": 0.01}


def _training(batch: int, epochs: int) -> dict[str, Any]:
    every = {"epochs": max(1, epochs // 10)}
    return {"batch_size": batch, "epochs": epochs, "evaluate_every": every}


def _lengths(examples: int, batch: int) -> dict[str, str]:
    steps = max(1, examples // batch)
    return {"training.epochs": f"of about {steps:,} steps each; 1 is a quick trial"}


def _batch(examples: int, most: int, part: int = 8) -> int:
    """The largest power of two up to `most` that leaves `part` batches an epoch, 4 if it can be."""
    room = min(most, max(examples // part, min(4, examples)))
    return 2 ** int(np.log2(max(1, room)))


def _epochs(examples: int, batch: int, steps: int, least: int, most: int) -> int:
    """The epochs of so many steps, within bounds."""
    return int(np.clip(round(steps * batch / examples), least, most))


def _hidden(rows: int) -> tuple[int, ...]:
    return (32,) if rows < 1_000 else (64, 64) if rows < 20_000 else (256, 256)


def _lines(before: str, value: Any, after: str) -> list[str]:
    """The lines of a value: one, or where it is too long one for each thing in it."""
    line = f"{before}{_code(value)}{after}"
    if len(line) <= _WIDTH or not isinstance(value, dict | tuple) or not value:
        return [line]
    inner = " " * (len(before) - len(before.lstrip()) + 4)
    if isinstance(value, tuple):
        inside = [line for item in value for line in _lines(inner, item, ",")]
    else:
        inside = [line for k, item in value.items() for line in _lines(f"{inner}{k}=", item, ",")]
    opening = "dict(" if isinstance(value, dict) else "("
    return [before + opening, *inside, f"{inner[4:]}){after}"]


def _code(value: Any) -> str:
    """A value as a config file has it."""
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key}={_code(item)}' for key, item in value.items())})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_code, value))}{',' if len(value) == 1 else ''})"
    text = repr(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text
