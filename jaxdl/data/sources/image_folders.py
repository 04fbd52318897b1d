"""Images in folders, one folder for each class."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxdl.data.cache import cached, stamp
from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.lazy import EncodedFiles, LazyImages
from jaxdl.data.splits import hashed_roles, require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError, some

_log = logging.getLogger("jaxdl")

# The names that the folder of a split may have.
_ROLES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation",
          "test": "test"}  # fmt: skip
_Labelled = list[tuple[str, str]]  # each image's path below the root, and its class


def images(
    path: str,
    size: int | None = None,
    channels: int = 3,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    crop: Crop | None = None,
    skip: int = 0,
) -> dict[str, Table]:
    """Images in `path/train/CLASS/…`, `path/test/CLASS/…`, `path/val/CLASS/…`, or `path/CLASS/…`.

    Without folders for the splits, a hash of its path decides the split of an image, so it stays
    there when others are added. Classes are numbered in alphabetical order. Images are scaled to
    cover a square and cropped to its middle; of an animation, the first frame is read. With `crop`
    instead of `size` they stay on the disk and are decoded when they are needed.

    Args:
      path: the folder.
      size: side of the square in pixels; the images are then kept in memory.
      channels: 1 for grey, 3 for RGB, 4 for RGBA.
      test_fraction: expected share of the test split; 0 for none. Only for `path/CLASS/…`.
      validation_fraction: expected share of the validation split; 0 for none. Only for
        `path/CLASS/…`.
      crop: the part of each image that is seen, random in training; see `Crop`.
      skip: how many damaged images may be left out; a warning names them. All images are decoded
        once to find them, which takes about an epoch, and the result is cached.

    Returns:
      `image` (N, size, size, channels) uint8, and `label` (N,) int32; `Table.classes` are the
      folders' names.

    Raises:
      UserError: a folder is missing, there are no classes, a class has no image, or a file is
        damaged or not an image (with `skip`, more than `skip` of them).
    """
    root = Path(path).expanduser()
    seen = size if crop is None else crop
    if seen is None or None not in (size, crop):
        raise UserError(
            "images: give either size, to keep the images in memory, or crop, to decode them when "
            "they are needed"
        )
    if size is not None and size < 1:
        raise UserError(f"images: size={size}; an image has at least 1 pixel a side")
    if channels not in (1, 3, 4):
        raise UserError(f"images: channels={channels}; choose 1 (grey), 3 (RGB) or 4 (RGBA)")
    if skip < 0:
        raise UserError(
            f"images: skip={skip}; it must be at least 0, the number of images that may be left out"
        )
    require_fractions("images", test_fraction, validation_fraction)
    splits = _by_folder(root) or _by_hash(root, test_fraction, validation_fraction)
    classes = tuple(sorted({name for _, name in splits["train"]}))
    if skip:
        splits = _without_damaged(root, splits, channels, skip)
    _require_examples(splits, classes, root)
    return {
        role: _table(root, role, files, classes, seen, channels) for role, files in splits.items()
    }


def _by_folder(root: Path) -> dict[str, _Labelled]:
    """The splits that have folders, by role; empty if the folders are classes."""
    folders = _visible(root, os.DirEntry.is_dir)
    splits_of = [folder for folder in folders if folder.name in _ROLES]
    if "train" not in {folder.name for folder in splits_of}:
        return {}
    if len(splits_of) < len(folders):
        stranger = next(folder for folder in folders if folder not in splits_of)
        raise UserError(
            f"images: {stranger.path} is next to {root / 'train'}; the folders must be either "
            f"all splits ({', '.join(_ROLES)}) or all classes"
        )
    splits: dict[str, _Labelled] = {}
    for folder in splits_of:
        role = _ROLES[folder.name]
        if role in splits:
            raise UserError(f"images: {folder.path} is a second {role} split; keep one")
        splits[role] = _labelled(root, folder.name)
    return splits


def _by_hash(root: Path, test: float, validation: float) -> dict[str, _Labelled]:
    name = dict(_labelled(root))
    parts = hashed_roles(name, test, validation)
    return {role: [(file, name[file]) for file in part] for role, part in parts.items()}


def _labelled(root: Path, split: str = "") -> _Labelled:
    """The files in the class folders of a split, in alphabetical order."""
    folder = root / split
    for stray in map(Path, _visible(folder, os.DirEntry.is_file)):
        if stray.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif"):
            raise UserError(f"images: {stray} is not in the folder of a class; move it there")
    classes = _visible(folder, os.DirEntry.is_dir)
    if not classes:
        raise UserError(f"images: {folder} has no folders; each class needs one with its images")
    labelled = []
    for each in classes:
        entries = _visible(Path(each), lambda entry: True)
        if not entries:
            raise UserError(f"images: {each.path} is empty; add images of its class or remove it")
        for file in entries:
            if file.is_dir():
                raise UserError(
                    f"images: {file.path} is a folder where an image is expected; move it"
                )
            labelled.append((os.path.join(split, each.name, file.name), each.name))
    return labelled


def _visible(folder: Path, kind: Callable[[os.DirEntry], bool]) -> list[os.DirEntry]:
    """The entries of a kind, by name. Their kind is known, whereas a `Path` would ask the disk."""
    if not folder.is_dir():
        raise UserError(f"images: no folder {folder}; give one with a folder for each class")
    with os.scandir(folder) as entries:
        matches = [e for e in entries if not e.name.startswith(".") and kind(e)]
    return sorted(matches, key=lambda entry: entry.name)


def _without_damaged(
    root: Path, splits: dict[str, _Labelled], channels: int, most: int
) -> dict[str, _Labelled]:
    """The splits without the images that cannot be decoded; refuses more than `most` of these."""
    paths = [root / file for files in splits.values() for file, _ in files]
    key = repr(
        (channels, pixels.version(), [(str(path), path.exists() and stamp(path)) for path in paths])
    )

    def find() -> dict[str, np.ndarray]:
        _log.warning("images: decodes %s once, to find damaged ones", f"{len(paths):,}")
        faults = pixels.faults(paths, channels)
        return {"place": np.array([*faults], int), "why": np.array([*faults.values()], str)}

    faults = cached(key, find)
    damaged = {paths[i]: why for i, why in zip(faults["place"], faults["why"], strict=True)}
    listing = some([f"{path}: {why}" for path, why in damaged.items()])
    if len(damaged) > most:
        raise UserError(f"images: {len(damaged)} are damaged, and skip={most} ({listing})")
    if damaged:
        _log.warning("images: left out %d of %s (%s)", len(damaged), f"{len(paths):,}", listing)
    return {
        role: [(file, name) for file, name in files if root / file not in damaged]
        for role, files in splits.items()
    }


def _require_examples(splits: dict[str, _Labelled], classes: tuple[str, ...], root: Path) -> None:
    if empty := sorted(set(classes) - {name for _, name in splits["train"]}):
        raise UserError(
            f"images: class {empty[0]!r} has no readable image in the train split ({root})"
        )
    known = {*classes}
    for role, files in splits.items():
        if not files:
            raise UserError(
                f"images: no image of {root} is in the {role} split; raise its fraction, set it "
                "to 0, or add images"
            )
        for name, count in Counter(name for _, name in files).items():
            if name not in known:
                raise UserError(
                    f"images: class {name!r} has {count} images in the {role} split but none "
                    f"in the train split ({root}); add some there"
                )


def _table(
    root: Path,
    role: str,
    files: _Labelled,
    classes: tuple[str, ...],
    seen: int | Crop,
    channels: int,
) -> Table:
    number = {name: i for i, name in enumerate(classes)}
    label = np.array([number[name] for _, name in files], np.int32)
    encoded = EncodedFiles(root, [file for file, _ in files])
    image: np.ndarray | LazyImages
    if isinstance(seen, Crop):
        image = LazyImages(encoded, seen, channels)
    else:
        image = pixels.room(len(files), (seen, seen, channels), f"images: {root}")
        paths = [root / file for file in encoded.paths]
        pixels.decode(paths, image, encoded.name, resize=True)
    return Table({"image": image, "label": label}, f"{root} {role}", classes)
