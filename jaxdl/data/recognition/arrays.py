"""What the arrays of a .npz file are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxdl.data.recognition.recognized import Recognized, counted, named
from jaxdl.data.sources.arrays import all_splits, arrays, read_npz, usual_names
from jaxdl.data.splits import UNSPLIT_TEST
from jaxdl.data.table import Table, described
from jaxdl.data.validation import validate
from jaxdl.errors import UserError, printable


def recognize_arrays(path: str) -> Recognized:
    """Arrays of inputs and outputs, of which a part is held out if they are not split."""
    found = read_npz(Path(path).expanduser())
    settings = dict[str, Any](train=path)
    given = all_splits(found, path)
    if not given:
        if rename := usual_names(found):
            settings["rename"] = rename
        given = {"train": Table({rename.get(k, k): v for k, v in found.items()}, path)}
    columns = given["train"].columns
    pairs = (("image", "label"), ("features", "label"), ("features", "target"))
    if not any({*pair} <= columns.keys() for pair in pairs):
        raise UserError(
            f"{path}: has the arrays {named(found)}; call the inputs image or features, "
            "and the outputs label, or target of features, or set config.data.source=arrays, "
            "config.data.train to its path, and the task's columns"
        )
    shape: tuple[int, ...] = columns["image"].shape if "image" in columns else ()
    if len(shape) == 3:
        settings["grey"] = ("image",)
    elif len(shape) == 4 and shape[1] in (1, 3) and shape[3] > 4:
        settings["channels_first"] = ("image",)
    if len(given) == 1:
        settings["test_fraction"] = UNSPLIT_TEST
    splits = arrays(**settings)
    validate(splits)
    train = splits["train"].columns
    each = [f"{printable(k)} {described(v.dtype, v.shape[1:])}" for k, v in train.items()]
    notes = [f"arrays: {counted(splits)}, {named(each)}"]
    numbers = {"target": "target, a number to predict", "label": "label, a class to predict"}
    notes += [
        f"reads {printable(a)} as {numbers.get(b, b)}"
        for a, b in settings.get("rename", {}).items()
    ]
    return Recognized("arrays", settings, splits, tuple(notes))
