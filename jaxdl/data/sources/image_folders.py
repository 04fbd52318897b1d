"""Images in folders, one folder for each class, or with a table of their classes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxdl.data.cache import cached, stamp
from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Fit, Frame, Size
from jaxdl.data.images.lazy import EncodedFiles, LazyImages
from jaxdl.data.images.pixels import SUFFIXES
from jaxdl.data.sources.class_folders import ClassFolders, Labelled
from jaxdl.data.sources.label_names import named_images
from jaxdl.data.sources.label_tables import labelled
from jaxdl.data.splits import UNSPLIT_TEST
from jaxdl.data.table import Table
from jaxdl.errors import UserError, some

_log = logging.getLogger("jaxdl")

# End of the name of a mask, before its suffix, after the name of its image.
OF_MASK = re.compile(r"[ _-](?:masks?|segmentation|seg|labels?|gt)(?:[ _-]?\d+)?$", re.I)
# Suffixes of files that lie beside images, but are not images.
_BESIDE = (".txt", ".json", ".xml", ".csv", ".md", ".html", ".pdf", ".yaml", ".yml", ".log", ".ini")


def images(
    path: str,
    size: int | Size | None = None,
    channels: int = 3,
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
    crop: Crop | None = None,
    skip: int = 0,
    fit: Fit = "crop",
    splits: Mapping[str, str] | None = None,
    labels: str | Mapping[str, str] | None = None,
    label: str | tuple[str, ...] | None = None,
    label_in_name: str | None = None,
) -> dict[str, Table]:
    """Images in `path/train/CLASS/…`, `path/test/CLASS/…`, `path/val/CLASS/…`, or `path/CLASS/…`.

    With `labels` the classes are in a table instead, and with `label_in_name` in the names of the
    images, which are anywhere in the folder; rows name images with or without suffix and folders.
    Without folders or tables for the splits, a hash of its path decides the split of an image, so
    it stays there when others are added. Classes are numbered in alphabetical order. Images are
    scaled to `size`; of an animation, the first frame is read. With `crop` instead of `size` they
    stay on the disk and are decoded when they are needed.

    Args:
      path: the folder.
      size: side of a square in pixels, or (height, width); the images are then kept in memory.
      channels: 1 for grey, 3 for RGB, 4 for RGBA; transparent pixels are put on white unless there
        are 4.
      test_fraction: expected share of the test split if it has no folder; 0 for none. By default
        0.2 of data that is not split, and 0 of other data.
      validation_fraction: likewise for the validation split; by default 0.
      crop: the part of each image that is seen, random in training; see `Crop`.
      skip: how many damaged images may be left out; a warning names them. All images are decoded
        once to find them, which takes about an epoch, and the result is cached.
      fit: how an image is fitted to `size`: 'crop' covers it and takes the middle, 'squeeze'
        changes the ratio of the sides, 'pad' shows all of the image and makes the rest black.
      splits: role -> folder, such as {'train': 'fit', 'test': 'held_out'}; {} if all folders are
        classes. By default folders with the usual names: train or training, val, valid, validation,
        validate or dev, test or testing.
      labels: path, below `path`, of a table of the classes, such as 'labels.csv', or role -> table,
        such as {'train': 'train.csv', 'test': 'test.csv'}. Of a single table, images in a folder
        that is called as a split are in this one.
      label: the column of the classes there, or several that are called as the classes, of which
        one is 1 in each row and the others 0; by default the only one beside that of the images, or
        the one called label or class.
      label_in_name: a regular expression for the whole name of each image without its suffix, whose
        group is the class, such as '(.+)[.]\\d+' for cat.12.jpg, in place of folders by class.

    Returns:
      `image` (N, height, width, channels) uint8, and `label` (N,) int32; `Table.classes` are the
      names of the folders, or those in the table or the names of the images.

    Raises:
      UserError: a folder is missing, there are no classes, a class has no image, or a file is
        damaged or not an image (with `skip`, more than `skip` of them); or a row of `labels` has no
        class, or its image is missing or in two rows; or `label_in_name` does not fit a name.
    """
    root = Path(path).expanduser()
    seen: Frame | Crop | None = crop if size is None else Frame.of(size, fit, "images")
    if seen is None or None not in (size, crop):
        raise UserError(
            "images: give either size, to keep the images in memory, or crop, to decode them when "
            "they are needed"
        )
    if crop is not None and fit != "crop":
        raise UserError(f"images: fit={fit!r} is for size, not crop; leave it out")
    if channels not in (1, 3, 4):
        raise UserError(f"images: channels={channels}; choose 1 (grey), 3 (RGB) or 4 (RGBA)")
    if skip < 0:
        raise UserError(
            f"images: skip={skip}; it must be at least 0, the number of images that may be left out"
        )
    folders = ClassFolders(root, "images", "image", SUFFIXES, _is_image, of_others=OF_MASK)
    _require_one_way(splits, labels, label, label_in_name)
    given = None
    if labels is not None:
        given = labelled(root, labels, label)
    elif label_in_name is not None:
        given = named_images(root, label_in_name)
    if given is None:
        parts = folders.split(splits, test_fraction, validation_fraction)
    else:
        if test_fraction is None and [*given] == ["train"]:
            test_fraction = UNSPLIT_TEST
        parts = folders.hold_out(given, test_fraction, validation_fraction)
    classes = tuple(sorted({name for _, name in parts["train"]}))
    if skip:
        parts = _without_damaged(root, parts, channels, skip)
    folders.require_examples(parts, classes)
    return {
        role: _table(root, role, files, classes, seen, channels) for role, files in parts.items()
    }


def _require_one_way(
    splits: Mapping[str, str] | None,
    labels: str | Mapping[str, str] | None,
    label: str | tuple[str, ...] | None,
    label_in_name: str | None,
) -> None:
    """Refuse settings that tell the classes in two ways."""
    if label is not None and labels is None:
        raise UserError(f"images: label={label!r} is a column of labels=…; name the table")
    if labels is not None and splits is not None:
        raise UserError(
            "images: splits are folders by class; with labels leave them out, and name the table "
            "of each split, labels={'train': …}"
        )
    if label_in_name is not None and (labels, splits) != (None, None):
        raise UserError("images: label_in_name tells the classes; leave labels and splits out")


def _is_image(name: str) -> bool:
    """Whether a file in the folder of a class is an image by its name, or may be one."""
    return not name.lower().endswith(_BESIDE)


def _without_damaged(
    root: Path, splits: Mapping[str, Labelled], channels: int, most: int
) -> dict[str, Labelled]:
    """The splits without the images that cannot be decoded; refuses more than `most` of these."""
    paths = [root / file for files in splits.values() for file, _ in files]
    key = repr(
        (channels, pixels.version(), [(str(path), path.exists() and stamp(path)) for path in paths])
    )

    def find() -> dict[str, np.ndarray]:
        _log.warning("images: decoding all %s once, to find damaged ones", f"{len(paths):,}")
        faults = pixels.faults(paths, channels)
        return {"place": np.array([*faults], int), "why": np.array([*faults.values()], str)}

    faults = cached(key, find)
    damaged = {paths[i]: why for i, why in zip(faults["place"], faults["why"], strict=True)}
    listing = some([f"{path}: {why}" for path, why in damaged.items()])
    if len(damaged) > most:
        raise UserError(f"images: {len(damaged)} are damaged, but skip={most} ({listing})")
    if damaged:
        _log.warning("images: left out %d of %s (%s)", len(damaged), f"{len(paths):,}", listing)
    return {
        role: [(file, name) for file, name in files if root / file not in damaged]
        for role, files in splits.items()
    }


def _table(
    root: Path,
    role: str,
    files: Labelled,
    classes: tuple[str, ...],
    seen: Frame | Crop,
    channels: int,
) -> Table:
    number = {name: i for i, name in enumerate(classes)}
    label = np.array([number[name] for _, name in files], np.int32)
    encoded = EncodedFiles(root, [file for file, _ in files])
    image: np.ndarray | LazyImages
    if isinstance(seen, Crop):
        image = LazyImages(encoded, seen, channels)
    else:
        image = pixels.room(len(files), (*seen.size, channels), f"images: {root}")
        paths = [root / file for file in encoded.paths]
        pixels.decode(paths, image, encoded.name, seen.fit)
    return Table({"image": image, "label": label}, f"{root} {role}", classes)
