"""Images in folders, one folder a class."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxdl.data import pixels
from jaxdl.data.cache import cached, stamp
from jaxdl.data.crops import Crop
from jaxdl.data.photos import Files, Photos
from jaxdl.data.splits import hashed_roles, require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError, some

_log = logging.getLogger("jaxdl")

# What a split's folder may be called.
_ROLES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation",
          "test": "test"}  # fmt: skip
_Labelled = list[tuple[str, str]]  # images, by their path below the root, and their classes


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

    Without folders for the splits an image belongs to one by a hash of its class and file name, so
    it stays there when others are added. Classes are numbered in alphabetical order. Images are
    scaled to cover a square, the middle of which is kept; of an animation, the first frame counts.
    Where `crop` is given instead of `size` they stay on the disk, and are decoded as needed.

    Args:
      path: the folder.
      size: side of the square, in pixels; the images are then held in memory.
      channels: 3 for colour, 1 for grey, 4 for colour and transparency.
      test_fraction: expected share of the test split; 0 for none. Only for `path/CLASS/…`.
      validation_fraction: the same of the validation split.
      crop: what is seen of each image, at random in training; see `Crop`.
      skip: how many damaged images may be left out, and named in a warning. All are decoded once
        to find them, which takes about as long as an epoch, and is remembered for the next run.

    Returns:
      `image` (N, size, size, channels) uint8, and `label` (N,) int32; `Table.classes` are the
      folders' names.

    Raises:
      UserError: no such folder, no class, a class with no image, or a file that is no sound image
        (with `skip`, more of them than that).
    """
    root = Path(path).expanduser()
    seen = size if crop is None else crop
    if seen is None or None not in (size, crop):
        raise UserError(
            "images: give size, to hold the images in memory, or crop, to decode them as they are "
            "needed; one of the two"
        )
    if size is not None and size < 1:
        raise UserError(f"images: size={size}; an image has at least 1 pixel a side")
    if channels not in (1, 3, 4):
        raise UserError(f"images: channels={channels}; 1 is grey, 3 colour, 4 with transparency")
    if skip < 0:
        raise UserError(f"images: skip={skip}; give how many images may be left out, 0 for none")
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
    """The splits that have a folder each, by role; none where the folders are classes."""
    folders = _visible(root, os.DirEntry.is_dir)
    named = [folder for folder in folders if folder.name in _ROLES]
    if "train" not in {folder.name for folder in named}:
        return {}
    if len(named) < len(folders):
        stranger = next(folder for folder in folders if folder not in named)
        raise UserError(
            f"images: {stranger.path} stands beside {root / 'train'}; either all folders are "
            f"splits ({', '.join(_ROLES)}) or all are classes"
        )
    splits: dict[str, _Labelled] = {}
    for folder in named:
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
            raise UserError(f"images: {stray} is in no class; move it to the folder of its class")
    classes = _visible(folder, os.DirEntry.is_dir)
    if not classes:
        raise UserError(f"images: {folder} has no folders; each class needs one with its images")
    labelled = []
    for each in classes:
        inside = _visible(Path(each), lambda entry: True)
        if not inside:
            raise UserError(
                f"images: {each.path} is empty; each class needs an image, or remove it"
            )
        for file in inside:
            if file.is_dir():
                raise UserError(
                    f"images: {file.path} is a folder where an image is expected; move it"
                )
            labelled.append((os.path.join(split, each.name, file.name), each.name))
    return labelled


def _visible(folder: Path, kind: Callable[[os.DirEntry], bool]) -> list[os.DirEntry]:
    """Entries in alphabetical order. They know what they are, where a path would ask the disk."""
    if not folder.is_dir():
        raise UserError(f"images: no folder {folder}; give one with a folder for each class")
    with os.scandir(folder) as entries:
        found = [e for e in entries if not e.name.startswith(".") and kind(e)]
    return sorted(found, key=lambda entry: entry.name)


def _without_damaged(
    root: Path, splits: dict[str, _Labelled], channels: int, most: int
) -> dict[str, _Labelled]:
    """The splits without the images that cannot be decoded, of which there may be so many."""
    paths = [root / file for files in splits.values() for file, _ in files]
    key = repr(
        (channels, pixels.version(), [(str(path), path.exists() and stamp(path)) for path in paths])
    )

    def look() -> dict[str, np.ndarray]:
        _log.warning("images: decodes %s once, to find the damaged", f"{len(paths):,}")
        found = pixels.faults(paths, channels)
        return {"place": np.array([*found], int), "why": np.array([*found.values()], str)}

    found = cached(key, look)
    damaged = {paths[i]: why for i, why in zip(found["place"], found["why"], strict=True)}
    told = some([f"{path}: {why}" for path, why in damaged.items()])
    if len(damaged) > most:
        raise UserError(f"images: {len(damaged)} are damaged, and skip={most} ({told})")
    if damaged:
        _log.warning("images: left out %d of %s (%s)", len(damaged), f"{len(paths):,}", told)
    return {
        role: [(file, name) for file, name in files if root / file not in damaged]
        for role, files in splits.items()
    }


def _require_examples(splits: dict[str, _Labelled], classes: tuple[str, ...], root: Path) -> None:
    if empty := sorted(set(classes) - {name for _, name in splits["train"]}):
        raise UserError(
            f"images: class {empty[0]!r} has no sound image in the train split ({root})"
        )
    known = {*classes}
    for role, files in splits.items():
        if not files:
            raise UserError(
                f"images: no image of {root} falls into the {role} split; raise its fraction, set "
                "it to 0, or add images"
            )
        for name, count in Counter(name for _, name in files).items():
            if name not in known:
                raise UserError(
                    f"images: class {name!r} has {count} images in the {role} split and none in "
                    f"the train split ({root}); add some there"
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
    encoded = Files(root, [file for file, _ in files])
    image: np.ndarray | Photos
    if isinstance(seen, Crop):
        image = Photos(encoded, seen, channels)
    else:
        image = pixels.room(len(files), (seen, seen, channels), f"images: {root}")
        paths = [root / file for file in encoded.paths]
        pixels.decode(paths, image, encoded.name, resize=True)
    return Table({"image": image, "label": label}, f"{root} {role}", classes)
