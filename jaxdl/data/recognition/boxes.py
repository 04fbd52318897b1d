"""What images with boxes are: in COCO's, YOLO's or Pascal VOC's format, or with tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.recognition.images import unlabelled_folders
from jaxdl.data.recognition.recognized import FEW, Recognized, counted, named
from jaxdl.data.sources.coco import coco, usual_pairs
from jaxdl.data.sources.csv_boxes import csv_boxes, usual_tables
from jaxdl.data.sources.voc import voc
from jaxdl.data.sources.yolo import DARKNET, FOLDERS, class_list, description_in, yolo
from jaxdl.data.splits import UNSPLIT_TEST
from jaxdl.data.table import Table

_LARGEST = 320  # pixels of the longer side of a canvas for boxes
_VOC_IMAGES = ("images", "jpegimages", "imgs")  # folders


def recognize_boxes(path: str, place: Path) -> Recognized | None:
    """Images with boxes; None if there are none.

    Args:
      path: of a folder, or of YOLO's description.
      place: the same, with ~ expanded.

    Raises:
      UserError: the source refuses them.
    """
    if place.suffix in (".yaml", ".yml") or _is_yolo(place):
        return _boxes("yolo", path, {})
    if (folders := _voc_folders(place)) is not None:
        return _boxes("voc", path, folders | _voc_lists(place))
    if not place.is_dir():
        return None
    if pairs := usual_pairs(place):
        return _boxes("coco", path, {"train": None, "validation": None, "test": None} | pairs)
    if tables := usual_tables(place):
        return _boxes("csv_boxes", path, {**tables})
    return None


def _is_yolo(place: Path) -> bool:
    """Whether a folder has YOLO's description, or images with labels, or a list of classes."""
    if not place.is_dir():
        return False
    pairs = [(root / a, root / b) for root in (place, place / "train") for a, b in FOLDERS.items()]
    if any(images.is_dir() and labels.is_dir() for images, labels in pairs):
        return True
    if description_in(place) is not None:
        return True
    beside = bool(user_files.below(place, pixels.SUFFIXES, deep=False))
    folders = [each.name for each in place.iterdir() if each.is_dir()]
    has_images = beside or any(name in FOLDERS or DARKNET.fullmatch(name) for name in folders)
    return class_list(place).is_file() and has_images and _has_labels(place)


def _has_labels(place: Path) -> bool:
    """Whether some text has the name of an image, as YOLO's labels do."""
    images, texts = (user_files.below(place, each) for each in (pixels.SUFFIXES, (".txt",)))
    return not {file.stem for file in images}.isdisjoint(file.stem for file in texts)


def _voc_folders(place: Path) -> dict[str, Any] | None:
    """Where Pascal VOC's annotations and images are, if not as usual; None if there are none."""
    notes = user_files.below(place, (".xml",))
    if not notes or not re.search(rb"<annotation[\s>]", user_files.content(notes[0])[:1_000]):
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
        return alone | ({"test_fraction": UNSPLIT_TEST} if len(names) > FEW else {})
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
    left = unlabelled_folders(splits, pictures)
    return Recognized(source, settings, splits, notes, left)
