"""What texts are: in folders by class, tunes, or one text to be continued."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from jaxdl.data import user_files
from jaxdl.data.recognition.recognized import FEW, Recognized, counted, each_class, unseen
from jaxdl.data.sources.text_folders import SUFFIXES, text_folders
from jaxdl.data.sources.texts import text
from jaxdl.data.sources.tunes import tunes
from jaxdl.data.splits import role_in

_LINES = 20  # of a text, that are looked at


def texts_of_classes(place: Path) -> int:
    """How many texts are in folders by class, several in each; 0 if others are not there."""
    train = [each for each in place.iterdir() if role_in(each.name) == "train" and each.is_dir()]
    folder = (user_files.only_folder(train[0]) or train[0]) if train else place
    depths, classes = Counter[int](), Counter[str]()
    for file in user_files.below(folder, SUFFIXES):
        parts = file.relative_to(folder).parts
        depths[len(parts)] += 1
        classes[parts[0]] += len(parts) == 2
    several = sum(count > 1 for count in classes.values()) > 1
    return depths[2] if several and depths.keys() <= {1, 2} and depths[1] < depths[2] else 0


def recognize_text_folders(path: str) -> Recognized:
    """Texts in folders by class."""
    splits = text_folders(path)
    notes = (
        f"texts: {counted(splits)}, {each_class(path, splits)}",
        "predicts the folder of a text; to continue all of them as one text, set "
        "config.data.source=text",
    )
    return Recognized("text_folders", {"path": path}, splits, notes)


def recognize_tunes(path: str) -> Recognized:
    """Tunes, of which some are held out if there are many and the others have their characters."""
    splits, settings = (
        tunes(path, validation_fraction=0),
        {"path": path, "validation_fraction": 0.0},
    )
    why = "they are few"
    if len(splits["train"]) >= FEW:
        held = tunes(path)
        if strange := unseen(held, "text"):
            why = f"only some of them have {strange}"
        else:
            splits, settings, why = held, {"path": path}, ""
    notes = [f"tunes: {counted(splits)}, in ABC notation"]
    notes += [f"nothing is held out: {why}"] if why else []
    return Recognized("tunes", settings, splits, tuple(notes))


def recognize_text(path: str) -> Recognized:
    """Texts, whose last characters are held out if the others have all of these characters."""
    splits, settings = text(path), dict[str, Any](path=path)
    total = sum(len(document) for table in splits.values() for document in table.columns["text"])
    notes = [f"text: {total:,} characters in {len(splits['train']):,} files"]
    if strange := unseen(splits, "text"):
        splits, settings["validation_fraction"] = text(path, validation_fraction=0), 0.0
        notes.append(f"nothing is held out: only the end of it has {strange}")
    return Recognized("text", settings, splits, tuple(notes))


def looks_like_a_table(file: Path) -> bool:
    """Whether the first lines of a text have equally many tabs, or several commas, within."""
    lines = [line.strip() for line in user_files.read(file, "text").split("\n")[:_LINES]]
    lines = [line for line in lines if line]

    def columns(sign: str) -> int:
        counts = {line.count(sign) for line in lines}
        return 1 + counts.pop() if len(counts) == 1 else 1

    return len(lines) > 1 and (columns("\t") > 1 or max(columns(","), columns(";")) > 2)
