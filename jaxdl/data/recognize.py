"""What a folder or file of a user's is: the source that reads it, and the settings it needs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.places import needs_folder, places_of
from jaxdl.data.recognize_images import (
    names_images,
    recognize_images,
    refuse_masks,
    unlabelled_folders,
)
from jaxdl.data.recognize_table import Kind, recognize_table
from jaxdl.data.recognized import Recognized, counted, each_class, named, unseen
from jaxdl.data.sources.arrays import all_splits, arrays, read_npz, usual_names
from jaxdl.data.sources.captions import captions_in
from jaxdl.data.sources.coco import coco, usual_pairs
from jaxdl.data.sources.csv_boxes import csv_boxes, usual_tables
from jaxdl.data.sources.image_finder import ImageFinder
from jaxdl.data.sources.json_lines import has_records
from jaxdl.data.sources.label_tables import read_labels
from jaxdl.data.sources.sheet import TABLES
from jaxdl.data.sources.text_folders import SUFFIXES as TEXTS
from jaxdl.data.sources.text_folders import text_folders
from jaxdl.data.sources.texts import text
from jaxdl.data.sources.tunes import tunes
from jaxdl.data.sources.voc import voc
from jaxdl.data.sources.yolo import DARKNET, class_list, description_in, yolo
from jaxdl.data.splits import ROLES, UNSPLIT_TEST, by_role, role_in
from jaxdl.data.table import Table, described
from jaxdl.data.validation import validate
from jaxdl.errors import UserError, brief, printable
from jaxdl.remote import local_path

_LARGEST = 320  # pixels of the longer side of a canvas for boxes
_LINES = 20  # of a text, that are looked at
_FEW = 20  # images, of which none is held out
_VOC_IMAGES = ("images", "jpegimages", "imgs")  # folders
_PACKED = "is packed; unpack it"
_SPREADSHEET = "is a spreadsheet; save it as CSV, in UTF-8"
_ARRAY = "is one array; save it and its labels by numpy.savez(path, image=…, label=…)"
_OTHER_ARRAYS = "is not read; save its arrays by numpy.savez, or a table as Parquet or CSV"
_SOUND = "is sound, which is not read; music is read in ABC notation, or as piano rolls in a .npz"
_VIDEO = "is a video; save its frames as images, in a folder for each class"
_SPARSE = "has sparse rows; save them as CSV, or by numpy.savez(path, features=…, label=…)"
_OF_MNIST = (
    "is in MNIST's format: MNIST itself is a data set of TFDS (config.data.source=tfds, "
    "config.data.dataset=mnist); save others by numpy.savez(path, image=…, label=…)"
)
_IDX = re.compile(r"[.-]idx[1-4]-ubyte(\.gz)?$")
_PICKLED = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))  # how pickles begin
_DOCUMENT = "is a document; save it as text, .txt in UTF-8"
_OTHERS = {  # suffixes of what is read otherwise, or not at all
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar"), _PACKED),
    **dict.fromkeys((".xls", ".xlsx", ".xlsm", ".ods", ".numbers"), _SPREADSHEET),
    ".npy": _ARRAY,
    ".arrow": "is Arrow; set config.data.source=huggingface and config.data.path to it",
    **dict.fromkeys((".feather", ".h5", ".hdf5", ".mat", ".pt", ".tfrecord"), _OTHER_ARRAYS),
    **dict.fromkeys((".mid", ".midi", ".mp3", ".wav", ".flac", ".ogg"), _SOUND),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), _VIDEO),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".epub", ".rtf"), _DOCUMENT),
    **dict.fromkeys((".libsvm", ".svm", ".svmlight"), _SPARSE),
    ".arff": "is ARFF; save it as CSV, whose first line names the columns",
    ".pkl": "is a pickle, which runs code; save its arrays by numpy.savez, or a table as CSV",
}


def recognize(path: str, target: str | None = None, kind: Kind | None = None) -> Recognized:
    """Read what a path names, by the source for it.

    Args:
      path: of a folder of images or texts in folders by class, or of images with a table of their
        classes; of boxes in COCO's, YOLO's or Pascal VOC's format or in tables; of texts, tunes
        (.abc), or tables; or a table (.csv, .tsv, .parquet, .jsonl, .json), arrays (.npz), a YOLO
        description (.yaml), a text, or a pattern of texts; or an address of one.
      target: of a table, the column to predict, or that of the classes of images.
      kind: of that column, what it holds; by default names, and a few whole numbers, are classes.

    Raises:
      UserError: nothing is there, or its source refuses it.
    """
    here = local_path(path, with_folder=needs_folder("yolo", path, {}))
    found = _recognize(here, target, kind)
    if here == path:
        return found
    address = path.rstrip("/")
    settings = {
        name: address + value.removeprefix(here)
        if name in places_of(found.source) and value is not None
        else value
        for name, value in found.settings.items()
    }
    return replace(found, settings=settings)


def _recognize(path: str, target: str | None, kind: Kind | None) -> Recognized:
    """The same of a path of this machine."""
    place = Path(path).expanduser()
    inner = user_files.only_folder(place)
    if inner is not None and inner.name.lower() not in ROLES:  # as many archives are unpacked
        return _recognize(str(Path(path, inner.name)), target, kind)
    if (only := user_files.only_file(place)) and only.suffix.lower() not in pixels.SUFFIXES:
        return _recognize(str(Path(path, only.name)), target, kind)
    if not place.exists() and not set("*?[") & set(path):
        raise UserError(f"{path}: no such file or folder; name your data")
    tables, beside = _tables_at(place)
    labelled = place.is_dir() and user_files.below(place, TABLES, deep=False)
    if not tables and (kind or (target and not labelled)):
        raise UserError(f"{path}: is not a table; leave --target and --kind out")
    if tables:
        within = place not in tables.values()
        paths = {r: str(Path(path, table.name)) if within else path for r, table in tables.items()}
        return recognize_table(paths, target, kind, beside)
    if place.suffix in (".yaml", ".yml") or _is_yolo(place):
        return _boxes("yolo", path, {})
    if (folders := _voc_folders(place)) is not None:
        return _boxes("voc", path, folders | _voc_lists(place))
    if place.suffix == ".json":
        raise UserError(
            f"{path}: is a file of annotations; name the folder that has it and the images"
        )
    if place.is_dir() and (pairs := usual_pairs(place)):
        usual = {"train": None, "validation": None, "test": None} | pairs
        return _boxes("coco", path, usual)
    if place.is_dir() and (files := usual_tables(place)):
        return _boxes("csv_boxes", path, {**files})
    if place.is_dir():
        pictures, texts = (user_files.below(place, s) for s in (pixels.SUFFIXES, (".txt",)))
        refuse_masks(path, place, pictures)
        if pictures and (file := captions_in(place)):
            raise UserError(
                f"{path}: has captions in {file.name}; init writes no config for them, but there "
                "is one: jaxdl train --config configs/captions_lstm.py --config.data.source="
                f"captions --config.data.path={file} --config.data.images={pictures[0].parent}"
            )
        if texts and {file.stem for file in texts} <= {file.stem for file in pictures}:
            raise UserError(
                f"{path}: its texts have the names of its images; if they are YOLO's labels, list "
                "the classes in classes.txt, one per line; if captions, put all in one file"
            )
        if len(user_files.below(place, (".abc",))) > max(len(pictures), len(texts)):
            return _tunes(path)
        if _texts_of_classes(place) > len(pictures):
            return _text_folders(path)
        if not pictures and not texts and (unread := user_files.below(place)):
            raise UserError(f"{path}: {_why_unread(path, place, unread)}")
        if len(pictures) >= len(texts):
            return recognize_images(path, place, pictures, texts, target)
    if place.suffix.lower() == ".abc":
        return _tunes(path)
    if place.suffix.lower() == ".npz":
        return _arrays(path)
    if remedy := _otherwise(place):
        raise UserError(f"{path}: {remedy}")
    if place.is_file() and _looks_like_a_table(place):
        raise UserError(
            f"{path}: every line has the same number of tabs, commas or semicolons; if it is a "
            "table, add a header line and rename it to .tsv or .csv"
        )
    return _text(path)


def _otherwise(file: Path) -> str | None:
    """How a file is read that is not read as it is; None if this is not known."""
    if _IDX.search(file.name):
        return _OF_MNIST
    if remedy := _OTHERS.get(file.suffix.lower()):
        return remedy
    if not file.is_file():
        return None
    with user_files.opened(file) as stream:
        return _OTHERS[".pkl"] if stream.read(2) in _PICKLED else None


def _why_unread(path: str, place: Path, files: Sequence[Path]) -> str:
    """What is said of a folder whose files are neither images nor texts."""
    usual = Counter(file.suffix for file in files).most_common(1)[0][0]
    first = next(file for file in files if file.suffix == usual)
    if remedy := _otherwise(first):
        return f"{brief(str(first.relative_to(place)))} {remedy}"
    if usual.lower() in TABLES:
        return (
            f"has tables in folders, such as {brief(str(first.relative_to(place)))}; name one, or, "
            "if they hold images, set config.data.source=huggingface and config.data.path to this"
        )
    return (
        "has neither images nor .txt files; for other texts, give a pattern, such as "
        f"'{path}/*{usual or '.md'}'"
    )


def _entries(place: Path) -> list[Path]:
    return [*place.iterdir()] if place.is_dir() else []


def _tables_at(place: Path) -> tuple[dict[str, Path], list[str]]:
    """The table that a path is, or those in a folder without anything else to read.

    Returns:
      The tables by role, and the names of further ones that are of no split.
    """
    if place.suffix.lower() in TABLES and place.is_file():
        return {"train": place}, []
    if place.suffix.lower() == ".json" and place.is_file():
        return {"train": place} if has_records(user_files.read(place, "csv")) else {}, []
    entries = [entry for entry in _entries(place) if user_files.is_data(entry.name)]
    tables = sorted(entry for entry in entries if entry.suffix.lower() in TABLES)
    if not tables or any(entry.is_dir() for entry in entries) or _are_of_images(place, tables):
        return {}, []
    if len(tables) == 1:
        return {"train": tables[0]}, []
    roles = by_role(tables, place)
    if "train" not in roles:
        raise UserError(
            f"{place}: has {len(tables)} tables, {named([table.name for table in tables])}; name "
            "the one to learn from, of which a part is held out, or call them train and test"
        )
    return roles, [table.name for table in tables if table not in roles.values()]


def _are_of_images(place: Path, tables: Sequence[Path]) -> bool:
    """Whether one of some tables is of boxes or classes of images beside it."""
    find = ImageFinder(place)
    if not find.images:
        return False
    return bool(usual_tables(place)) or any(names_images(find, read_labels(t)) for t in tables)


def _looks_like_a_table(file: Path) -> bool:
    """Whether the first lines of a text have equally many tabs, or several commas, within."""
    lines = [line.strip() for line in user_files.read(file, "text").split("\n")[:_LINES]]
    lines = [line for line in lines if line]

    def columns(sign: str) -> int:
        counts = {line.count(sign) for line in lines}
        return 1 + counts.pop() if len(counts) == 1 else 1

    return len(lines) > 1 and (columns("\t") > 1 or max(columns(","), columns(";")) > 2)


def _texts_of_classes(place: Path) -> int:
    """How many texts are in folders by class, several in each; 0 if others are not there."""
    train = [each for each in _entries(place) if role_in(each.name) == "train" and each.is_dir()]
    folder = (user_files.only_folder(train[0]) or train[0]) if train else place
    depths, classes = Counter[int](), Counter[str]()
    for file in user_files.below(folder, TEXTS):
        parts = file.relative_to(folder).parts
        depths[len(parts)] += 1
        classes[parts[0]] += len(parts) == 2
    several = sum(count > 1 for count in classes.values()) > 1
    return depths[2] if several and depths.keys() <= {1, 2} and depths[1] < depths[2] else 0


def _is_yolo(place: Path) -> bool:
    """Whether a folder has YOLO's description, or images with labels, or a list of classes."""
    if any((place / part / "images").is_dir() and (place / part / "labels").is_dir()
           for part in ("", "train")):  # fmt: skip
        return True
    if not place.is_dir():
        return False
    has_images = any((place / name).is_dir() for name in ("images", "train/images", DARKNET))
    beside = bool(user_files.below(place, pixels.SUFFIXES, deep=False))
    return description_in(place) is not None or (
        class_list(place).is_file() and (has_images or beside) and _has_labels(place)
    )


def _has_labels(place: Path) -> bool:
    """Whether some text has the name of an image, as YOLO's labels do."""
    images, texts = (user_files.below(place, each) for each in (pixels.SUFFIXES, (".txt",)))
    return not {file.stem for file in images}.isdisjoint(file.stem for file in texts)


def _voc_folders(place: Path) -> dict[str, Any] | None:
    """Where Pascal VOC's annotations and images are, if not as usual; None if there are none."""
    notes = user_files.below(place, (".xml",))
    if not notes or b"<annotation" not in user_files.content(notes[0])[:1_000]:
        return None
    parts = notes[0].relative_to(place).parts
    folder, settings = parts[0] if len(parts) > 1 else ".", dict[str, Any]()
    if folder.lower() != "annotations":
        return settings  # beside the images, in one folder or in those of splits
    if folder != "Annotations":
        settings["annotations"] = folder
    if not (place / "JPEGImages").is_dir():
        named = [each.name for each in place.iterdir() if each.name.lower() in _VOC_IMAGES]
        settings["images"] = named[0] if named else "."
    return settings


def _voc_lists(place: Path) -> dict[str, Any]:
    """The lists of ImageSets/Main that are there, where they are not all."""
    lists = {file.stem for file in place.glob("ImageSets/Main/*.txt")}
    if not lists or lists >= {"train", "val", "test"}:
        return {}
    if len(lists) == 1:
        (name,) = lists
        alone = {"train": name, "validation": None, "test": None}
        names = user_files.read(place / f"ImageSets/Main/{name}.txt", "voc").split("\n")
        return alone | ({"test_fraction": UNSPLIT_TEST} if len(names) > _FEW else {})
    train = "train" if "train" in lists or "trainval" not in lists else "trainval"
    validation = "val" if "val" in lists and train == "train" else None
    return {"train": train, "validation": validation, "test": "test" if "test" in lists else None}


def _boxes(source: str, path: str, settings: dict[str, Any]) -> Recognized:
    """Images with boxes, on a canvas of the usual image's shape."""
    readers: dict[str, Callable[..., dict[str, Table]]] = {
        each.__name__: each for each in (coco, csv_boxes, voc, yolo)
    }
    read = readers[source]
    splits = read(path, size=(_LARGEST, _LARGEST), lazy=True, degenerate="drop", **settings)
    train = splits["train"].columns
    height, width = np.median(train["extent"] / train["scale"][:, None], axis=0)
    smaller = min(1.0, _LARGEST / max(height, width))
    size = tuple(32 * math.ceil(float(side) * smaller / 32) for side in (height, width))
    objects = int(np.sum((train["labels"] >= 0) & ~train["crowd"]))
    classes = splits["train"].classes
    notes: tuple[str, ...] = (
        f"{source}: images with boxes, {counted(splits)}; usually {height:.0f}×{width:.0f} pixels",
        f"{objects:,} boxes to train on, of {len(classes)} classes: {named(classes)}",
    )
    if all((np.sum(table.columns["labels"] >= 0, 1) == 1).all() for table in splits.values()):
        notes += ("each image has one object; the task localization needs less than a detector",)
    held = {} if len(splits["train"]) < 5_000 else {"lazy": True}
    settings = {"path": path, "size": size, **settings, "degenerate": "drop", **held}
    pictures = user_files.below(Path(path).expanduser(), pixels.SUFFIXES)
    left = unlabelled_folders(path, splits, pictures)
    return Recognized(source, settings, splits, notes, left)


def _arrays(path: str) -> Recognized:
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


def _text_folders(path: str) -> Recognized:
    """Texts in folders by class."""
    splits = text_folders(path)
    notes = (
        f"texts: {counted(splits)}, {each_class(path, splits)}",
        "predicts the folder of a text; to continue all of them as one text, set "
        "config.data.source=text",
    )
    return Recognized("text_folders", {"path": path}, splits, notes)


def _tunes(path: str) -> Recognized:
    """Tunes, of which some are held out if there are many and the others have their characters."""
    splits, settings = (
        tunes(path, validation_fraction=0),
        {"path": path, "validation_fraction": 0.0},
    )
    why = "they are few"
    if len(splits["train"]) >= _FEW:
        held = tunes(path)
        if strange := unseen(held, "text"):
            why = f"only some of them have {strange}"
        else:
            splits, settings, why = held, {"path": path}, ""
    notes = [f"tunes: {counted(splits)}, in ABC notation"]
    notes += [f"nothing is held out: {why}"] if why else []
    return Recognized("tunes", settings, splits, tuple(notes))


def _text(path: str) -> Recognized:
    """Texts, whose last characters are held out if the others have all of these characters."""
    splits, settings = text(path), dict[str, Any](path=path)
    total = sum(len(document) for table in splits.values() for document in table.columns["text"])
    notes = [f"text: {total:,} characters in {len(splits['train']):,} files"]
    if strange := unseen(splits, "text"):
        splits, settings["validation_fraction"] = text(path, validation_fraction=0), 0.0
        notes.append(f"nothing is held out: only the end of it has {strange}")
    return Recognized("text", settings, splits, tuple(notes))
