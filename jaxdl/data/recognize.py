"""What a folder or file of a user's is: the source that reads it, and the settings it needs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.places import needs_folder
from jaxdl.data.sources.coco import coco, usual_pairs
from jaxdl.data.sources.csv import PARQUET, TABLES, Sheet, csv, is_number
from jaxdl.data.sources.image_folders import images
from jaxdl.data.sources.texts import text
from jaxdl.data.sources.voc import voc
from jaxdl.data.sources.yolo import yolo
from jaxdl.data.table import Table
from jaxdl.errors import UserError, printable
from jaxdl.remote import local_path

_LOOKED_AT = 50  # images, for their size and colors
_IN_MEMORY = 64  # pixels a side: larger images are decoded when they are needed
_LARGEST = 320  # pixels of the longer side of a canvas for boxes
_CLASSES = 20  # whole numbers in a column of which so many differ are classes
Kind = Literal["class", "number"]
_ROLES = {"class": "label", "number": "target"}
_USUAL_TARGETS = ("target", "label", "class", "y")
_GROUPED = re.compile(  # names of columns whose rows of equal values are not independent
    r"(.*[ _-])?(patient|subject|participant|person|user|customer|client|household|family|session|"
    r"recording|speaker|author|animal|group)([ _-]?(id|nr|no|number))?",
    re.I,
)
_FEWEST_GROUPS = 5  # of which a split can be made
_NUMBERED = ("", "id", "index", "unnamed: 0")  # names of columns that only number the rows


@dataclass(frozen=True)
class Recognized:
    """A user's data.

    Attributes:
      source: the name of the source that reads it.
      settings: the source's.
      splits: what it reads; of images and boxes, lazily.
      notes: what was found, and what was decided by rule, a line each.
    """

    source: str
    settings: dict[str, Any]
    splits: Mapping[str, Table]
    notes: tuple[str, ...] = ()


def recognize(path: str, target: str | None = None, kind: Kind | None = None) -> Recognized:
    """Read what a path names, by the source for it.

    Args:
      path: of a folder of images in folders by class, of a COCO, YOLO or Pascal VOC data set, of
        texts or with a table; or a table (.csv, .tsv, .parquet), a YOLO description (.yaml), a
        text, or a pattern of texts; or an address of one.
      target: of a table, the column to predict.
      kind: of that column, what it holds; by default names, and a few whole numbers, are classes.

    Raises:
      UserError: nothing is there, or its source refuses it.
    """
    here = local_path(path, with_folder=needs_folder("yolo", path, {}))
    found = _recognize(here, target, kind)
    if here == path:
        return found
    below = found.settings["path"].removeprefix(here)
    return replace(found, settings={**found.settings, "path": path.rstrip("/") + below})


def _recognize(path: str, target: str | None, kind: Kind | None) -> Recognized:
    """The same of a path of this machine."""
    place = Path(path).expanduser()
    if not place.exists() and not set("*?[") & set(path):
        raise UserError(f"{path}: no such file or folder; name your data")
    table = _table_at(place)
    if (target or kind) and table is None:
        raise UserError(f"{path}: is not a table; leave --target and --kind out")
    if table is not None:
        return _table(path if place == table else str(Path(path, table.name)), target, kind)
    if place.suffix in (".yaml", ".yml") or _is_yolo(place):
        return _boxes("yolo", path, {})
    if (place / "Annotations").is_dir():
        return _boxes("voc", path, _voc_lists(place))
    if place.suffix == ".json":
        raise UserError(f"{path}: is a file of annotations; name its folder, which has the images")
    if place.is_dir() and (pairs := usual_pairs(place)):
        usual = {"train": None, "validation": None, "test": None} | pairs
        return _boxes("coco", path, usual)
    if place.is_dir() and not _has(place, ".txt"):
        return _images(path)
    return _text(path)


def _table_at(place: Path) -> Path | None:
    """The table that a path is, or the only one in a folder without anything else to read."""
    if place.suffix.lower() in TABLES and place.is_file():
        return place
    if not place.is_dir():
        return None
    entries = [entry for entry in place.iterdir() if user_files.is_data(entry.name)]
    tables = [entry for entry in entries if entry.suffix.lower() in TABLES]
    return tables[0] if len(tables) == 1 and not any(e.is_dir() for e in entries) else None


def _is_yolo(place: Path) -> bool:
    """Whether a folder has YOLO's description, or images and a list of their classes."""
    lists = (place / "classes.txt", place / "labels" / "classes.txt")
    has_images = any((place / name).is_dir() for name in ("images", "train/images"))
    beside = place.is_dir() and bool(user_files.below(place, pixels.SUFFIXES, deep=False))
    return (place / "data.yaml").is_file() or (
        any(file.is_file() for file in lists) and (has_images or beside)
    )


def _has(place: Path, suffix: str) -> bool:
    return bool(user_files.below(place, (suffix,)))


def _voc_lists(place: Path) -> dict[str, str | None]:
    """The lists of ImageSets/Main that are there, where they are not all."""
    lists = {file.stem for file in place.glob("ImageSets/Main/*.txt")}
    if not lists or lists >= {"train", "val", "test"}:
        return {}
    train = "train" if "train" in lists or "trainval" not in lists else "trainval"
    validation = "val" if "val" in lists and train == "train" else None
    return {"train": train, "validation": validation, "test": "test" if "test" in lists else None}


def _boxes(source: str, path: str, settings: dict[str, Any]) -> Recognized:
    """Images with boxes, on a canvas of the usual image's shape."""
    readers: dict[str, Callable[..., dict[str, Table]]] = {"coco": coco, "voc": voc, "yolo": yolo}
    read = readers[source]
    splits = read(path, size=(_LARGEST, _LARGEST), lazy=True, degenerate="drop", **settings)
    train = splits["train"].columns
    height, width = np.median(train["extent"] / train["scale"][:, None], axis=0)
    smaller = min(1.0, _LARGEST / max(height, width))
    size = tuple(32 * math.ceil(float(side) * smaller / 32) for side in (height, width))
    objects, classes = int(np.sum(train["labels"] >= 0)), splits["train"].classes
    notes = (
        f"{source}: images with boxes, {_counted(splits)}; usually {height:.0f}×{width:.0f} pixels",
        f"{objects:,} boxes to train on, of {len(classes)} classes: {_named(classes)}",
    )
    held = {} if len(splits["train"]) < 5_000 else {"lazy": True}
    settings = {"path": path, "size": size, **settings, "degenerate": "drop", **held}
    return Recognized(source, settings, splits, notes)


def _images(path: str) -> Recognized:
    """Images in folders by class; small ones in memory, large ones decoded when needed."""
    splits = images(path, crop=Crop(size=32))
    column = splits["train"].columns["image"]
    places = np.unique(np.linspace(0, len(column) - 1, _LOOKED_AT).astype(int))
    files = [column.encoded.root / column.encoded.paths[i] for i in places]
    with user_files.reading("images", path):
        looked = [pixels.read(file, 3) for file in files]
    height, width = np.median([image.shape[:2] for image in looked], axis=0)
    grey = all(np.ptp(image.astype(np.int16), axis=-1).max(initial=0) == 0 for image in looked)
    side = int(min(height, width))
    classes = splits["train"].classes
    if len(classes) < 2:
        raise UserError(f"{path}: has one class, {classes[0]!r}; give each of several a folder")
    counts = Counter(int(label) for table in splits.values() for label in table.columns["label"])
    each = [f"{printable(name)} {counts[i]:,}" for i, name in enumerate(classes)]
    notes = (
        f"images: {_counted(splits)}, in {len(classes)} classes: {_named(each)}",
        f"usually {height:.0f}×{width:.0f} pixels, {'grey' if grey else 'in colour'}",
    )
    settings: dict[str, Any] = {"path": path}
    if side <= _IN_MEMORY:
        settings["size"] = max(side, 8)
    else:
        seen = 96 if len(column) < 1_000 else 128 if len(column) < 20_000 else 224
        settings["crop"] = {"size": seen, "area": (0.35, 1.0)}
    return Recognized("images", settings | ({"channels": 1} if grey else {}), splits, notes)


def _text(path: str) -> Recognized:
    """Texts, whose last characters are held out if the others have all of these characters."""
    splits, settings = text(path), dict[str, Any](path=path)
    total = sum(len(document) for table in splits.values() for document in table.columns["text"])
    notes = [f"text: {total:,} characters in {len(splits['train']):,} files"]
    if strange := _unseen(splits, "text"):
        splits, settings["validation_fraction"] = text(path, validation_fraction=0), 0.0
        notes.append(f"nothing is held out: only the end of it has {strange}")
    return Recognized("text", settings, splits, tuple(notes))


def _unseen(splits: Mapping[str, Table], column: str) -> str:
    """The characters of other splits that the train split does not have, for a message."""
    seen = {role: {*"".join(table.columns[column])} for role, table in splits.items()}
    strange = sorted(set().union(*seen.values()) - seen["train"])
    return " ".join(map(ascii, strange[:5])) + (" …" if strange[5:] else "")


def _table(path: str, target: str | None, kind: Kind | None) -> Recognized:
    """A table: the column to predict, and the columns to predict it from."""
    delimiter = "," if path.lower().endswith(PARQUET) else _delimiter(path)
    sheet = Sheet.read(path, delimiter)
    settings: dict[str, Any] = {"path": path}
    if delimiter != ",":
        settings["delimiter"] = delimiter
    texts = [name for name in sheet.header if _is_text(sheet.cells(name))]
    why = "as --target says"
    if target is None:
        target, why = (
            _guessed(sheet.header, texts),
            "by its name or place; see --target and --kind",
        )
    elif target not in sheet.header:
        sheet.require([target], [], [])
    if target is None:  # texts alone
        splits = csv(**settings, text=tuple(texts[:1]), test_fraction=0.1)
        settings |= {"text": tuple(texts[:1]), "test_fraction": 0.1}
        notes = [f"csv: {_counted(splits)} of text, column {printable(texts[0])!r}"]
        if strange := _unseen(splits, texts[0]):
            settings["test_fraction"] = 0.0
            splits = csv(**settings)
            notes.append(f"nothing is held out: only a few rows have {strange}")
        return Recognized("csv", settings, splits, tuple(notes))
    role = _ROLES[kind] if kind else _role(sheet.cells(target), target, path)
    group = _group(sheet, target)
    numbers, left_out = _numbers(sheet, [target, *([group] if group else [])])
    because = "names, gaps, or row numbers"
    settings[role] = target
    if group is not None:
        settings["group"] = group
    if texts and role == "label":
        settings |= {"text": tuple(texts[:1]), "features": ()}
        left_out = [n for n in sheet.header if n not in (target, group, texts[0])]
        because = f"the model reads the text {printable(texts[0])!r} alone"
    elif numbers:
        settings |= {"features": tuple(numbers)} if left_out else {}
        settings["standardize"] = True
    else:
        raise UserError(
            f"{path}: no column of numbers to predict {target!r} from; name another column with "
            "--target, or turn names into numbers"
        )
    splits = csv(**settings)
    notes = [
        f"csv: {_counted(splits)}, columns {_named(sheet.header)}",
        f"predicts {printable(target)!r}, {_meaning(role, splits)} ({why})",
    ]
    if group is not None:
        notes.append(
            f"keeps the rows of one {printable(group)!r} in one split, as they may be alike (by "
            "its name; without group it is a feature, if of numbers)"
        )
    if left_out:
        notes.append(f"leaves out {_named(left_out)}: {because}")
    return Recognized("csv", settings, splits, tuple(notes))


def _delimiter(path: str) -> str:
    first = user_files.read(Path(path), "csv").partition("\n")[0]
    return max(",;\t|", key=first.count)


def _is_text(cells: list[str]) -> bool:
    """Whether cells are sentences rather than names or numbers."""
    return sum(cell.count(" ") for cell in cells) >= 3 * len(cells)


def _guessed(header: list[str], texts: list[str]) -> str | None:
    """The column to predict: one with a usual name, or else the last that is not text."""
    usual = [name for name in header if name.lower() in _USUAL_TARGETS]
    others = [name for name in header if name not in texts and name.lower() not in _NUMBERED]
    return next(iter([*usual, *others[::-1]]), None)


def _role(cells: list[str], name: str, path: str) -> str:
    """Whether a column is a `label`, names or a few whole numbers, or a `target`, a number."""
    different = len({*cells})
    if different < 2:
        raise UserError(f"{path}: column {name!r} has only one value; --target names another")
    if not all(is_number(cell) for cell in cells if cell):
        if different > max(2, len(cells) / 2):
            raise UserError(
                f"{path}: column {name!r} has {different:,} different values in {len(cells):,} "
                "rows, too many for classes; --target names another column"
            )
        return "label"
    whole = all(re.fullmatch(r"\d{1,2}", cell) for cell in cells)
    return "label" if whole and different <= _CLASSES else "target"


def _group(sheet: Sheet, target: str) -> str | None:
    """The column that says, by its name, whose each row is, where several rows are one's."""
    for name in sheet.header:
        if name != target and _GROUPED.fullmatch(name):
            cells = sheet.cells(name)
            if "" not in cells and _FEWEST_GROUPS <= len({*cells}) < len(cells):
                return name
    return None


def _numbers(sheet: Sheet, taken: list[str]) -> tuple[list[str], list[str]]:
    """The columns to predict from, and those that are left out."""
    others = [name for name in sheet.header if name not in taken]
    numbers = [
        name
        for name in others
        if name.lower() not in _NUMBERED and all(is_number(cell) for cell in sheet.cells(name))
    ]
    return numbers, [name for name in others if name not in numbers]


def _meaning(role: str, splits: Mapping[str, Table]) -> str:
    if role == "target":
        return "a number"
    train = splits["train"]
    return f"one of the classes {_named(train.classes)}" if train.classes else "a class"


def _counted(splits: Mapping[str, Table]) -> str:
    return ", ".join(f"{len(table):,} {role}" for role, table in splits.items())


def _named(names: Any, most: int = 8) -> str:
    listed = ", ".join(printable(name or "''", 40) for name in names[:most])
    return listed + (f" and {len(names) - most:,} more" if len(names) > most else "")
