"""Images in folders, one folder for each class."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.data.cache import cached, stamp
from jaxdl.data.images import pixels
from jaxdl.data.images.crops import Crop
from jaxdl.data.images.frame import Fit, Frame, Size
from jaxdl.data.images.lazy import EncodedFiles, LazyImages
from jaxdl.data.images.pixels import SUFFIXES
from jaxdl.data.sources.box_files import inside
from jaxdl.data.splits import NAMES, ROLES, UNSPLIT_TEST, fill_up
from jaxdl.data.table import Table
from jaxdl.data.user_files import below, is_data, same_name
from jaxdl.errors import UserError, brief, some

_log = logging.getLogger("jaxdl")

# Suffixes of what lies beside images, and is none.
_BESIDE = (".txt", ".json", ".xml", ".csv", ".md", ".html", ".pdf", ".yaml", ".yml", ".log", ".ini")
_Labelled = Sequence[tuple[str, str]]  # each image's path below the root, and its class


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
) -> dict[str, Table]:
    """Images in `path/train/CLASS/…`, `path/test/CLASS/…`, `path/val/CLASS/…`, or `path/CLASS/…`.

    Without folders for the splits, a hash of its path decides the split of an image, so it stays
    there when others are added. Classes are numbered in alphabetical order. Images are scaled to
    `size`; of an animation, the first frame is read. With `crop` instead of `size` they stay on the
    disk and are decoded when they are needed.

    Args:
      path: the folder.
      size: side of a square in pixels, or (height, width); the images are then kept in memory.
      channels: 1 for grey, 3 for RGB, 4 for RGBA; what is transparent is put on white unless there
        are 4.
      test_fraction: expected share of the test split, 0 for none, where there is no folder for it.
        By default 0.2 of `path/CLASS/…`, and 0 of `path/train/…`.
      validation_fraction: likewise for the validation split; by default 0.
      crop: the part of each image that is seen, random in training; see `Crop`.
      skip: how many damaged images may be left out; a warning names them. All images are decoded
        once to find them, which takes about an epoch, and the result is cached.
      fit: how an image comes to `size`: 'crop' covers it and takes the middle, 'squeeze' changes
        the ratio of the sides, 'pad' shows all of the image and makes the rest black.
      splits: role -> folder, such as {'train': 'fit', 'test': 'held_out'}; {} if all folders are
        classes. By default folders with the usual names: train or training, val, valid, validation,
        validate or dev, test or testing.

    Returns:
      `image` (N, height, width, channels) uint8, and `label` (N,) int32; `Table.classes` are the
      folders' names.

    Raises:
      UserError: a folder is missing, there are no classes, a class has no image, or a file is
        damaged or not an image (with `skip`, more than `skip` of them).
    """
    root = Path(path).expanduser()
    seen: Frame | Crop | None = crop if size is None else Frame.of(size, fit, "images")
    if seen is None or None not in (size, crop):
        raise UserError(
            "images: give either size, to keep the images in memory, or crop, to decode them when "
            "they are needed"
        )
    if crop is not None and fit != "crop":
        raise UserError(f"images: fit={fit!r} is for size; crop has its own way, leave fit out")
    if channels not in (1, 3, 4):
        raise UserError(f"images: channels={channels}; choose 1 (grey), 3 (RGB) or 4 (RGBA)")
    if skip < 0:
        raise UserError(
            f"images: skip={skip}; it must be at least 0, the number of images that may be left out"
        )
    given = _by_folder(root, splits)
    if not given:
        given = {"train": _labelled(root)}
        test_fraction = UNSPLIT_TEST if test_fraction is None else test_fraction
    parts = fill_up(given, lambda item: item[0], test_fraction, validation_fraction, "images")
    parts = _each_class_in_train(parts, given.keys() - {"train"})
    classes = tuple(sorted({name for _, name in parts["train"]}))
    if skip:
        parts = _without_damaged(root, parts, channels, skip)
    _require_examples(parts, classes, root)
    return {
        role: _table(root, role, files, classes, seen, channels) for role, files in parts.items()
    }


def _each_class_in_train(
    parts: Mapping[str, _Labelled], given: Collection[str]
) -> dict[str, _Labelled]:
    """The splits, but images of a class of which the hash left none in train are all there.

    Args:
      parts: by role.
      given: the roles that have folders, whose images stay.
    """
    known, moved = {name for _, name in parts["train"]}, dict[str, _Labelled]()
    for role in parts.keys() - given - {"train"}:
        moved[role] = [item for item in parts[role] if item[1] not in known]
    strays = [item for items in moved.values() for item in items]
    if not strays:
        return {**parts}
    names = sorted({name for _, name in strays})
    _log.warning(
        "images: so few images are of %s that all are in the train split",
        some([brief(name) for name in names], between=", "),
    )
    gone = {*strays}
    left = {role: [item for item in parts[role] if item not in gone] for role in moved}
    return {**parts, **left, "train": sorted([*parts["train"], *strays])}


def _by_folder(root: Path, splits: Mapping[str, str] | None) -> dict[str, _Labelled]:
    """The splits that have folders, by role; empty if the folders are classes."""
    if splits is not None:
        return {role: _labelled(root, folder) for role, folder in _named(splits).items()}
    folders = _visible(root, os.DirEntry.is_dir)
    splits_of = [folder for folder in folders if folder.name.lower() in ROLES]
    if "train" not in {ROLES[folder.name.lower()] for folder in splits_of}:
        return {}
    folders = [f for f in folders if f in splits_of or below(Path(f), SUFFIXES)]
    if len(splits_of) < len(folders):
        stranger = next(folder for folder in folders if folder not in splits_of)
        raise UserError(
            f"images: {stranger.path} is next to {root / splits_of[-1].name}; the folders must be "
            f"either all splits ({', '.join(ROLES)}) or all classes: set splits={{}} if they are "
            "classes, or name those that are splits, splits={'train': …}"
        )
    named: dict[str, _Labelled] = {}
    for folder in splits_of:
        role = ROLES[folder.name.lower()]
        if role in named:
            raise UserError(f"images: {folder.path} is a second {role} split; keep one")
        named[role] = _labelled(root, folder.name)
    return named


def _named(splits: Mapping[str, str]) -> Mapping[str, str]:
    """The folders of splits that the user names; refuses other roles."""
    if splits and not {"train"} <= {*splits} <= {*NAMES}:
        raise UserError(
            f"images: splits={brief(dict(splits))}; name the folder of 'train', and of "
            "'validation' and 'test' if there are such, or write {} if all folders are classes"
        )
    return {role: inside(folder, "images: splits") for role, folder in splits.items()}


def _labelled(root: Path, split: str = "") -> _Labelled:
    """The files in the class folders of a split, in alphabetical order."""
    folder = root / split
    for stray in map(Path, _visible(folder, os.DirEntry.is_file)):
        if stray.suffix.lower() in SUFFIXES:
            raise UserError(
                f"images: {stray} is not in the folder of a class; move it there"
                + (
                    f", or set splits={{'train': 'train'}} to leave {split} out, or splits={{}} if "
                    "the folders are classes"
                    if split
                    else ""
                )
            )
    classes = _visible(folder, os.DirEntry.is_dir)
    if not classes:
        raise UserError(f"images: {folder} has no folders; each class needs one with its images")
    labelled, others = [], list[str]()
    for each in classes:
        entries = _visible(Path(each), lambda entry: True)
        beside = {e for e in entries if e.name.lower().endswith(_BESIDE) and e.is_file()}
        entries = [e for e in entries if e not in beside]
        others += [e.path for e in beside]
        if not entries and ROLES.get(split.lower(), "train") != "train":
            continue
        if not entries:
            raise UserError(f"images: {each.path} is empty; add images of its class or remove it")
        for file in entries:
            if file.is_dir():
                raise UserError(
                    f"images: {file.path} is a folder where an image is expected; move it"
                    + ("" if split else f", or, if {each.name} is a split, name it: "
                       f"splits={{'train': {each.name!r}, …}}")
                )  # fmt: skip
            labelled.append((os.path.join(split, each.name, file.name), same_name(each.name)))
    if others:
        told = some(sorted(others), 3, ", ")
        _log.warning("images: left out what is no image by its name: %s", told)
    return labelled


def _visible(folder: Path, kind: Callable[[os.DirEntry], bool]) -> list[os.DirEntry]:
    """The entries of a kind, by name. Their kind is known, whereas a `Path` would ask the disk."""
    if not folder.is_dir():
        raise UserError(f"images: no folder {folder}; give one with a folder for each class")
    with os.scandir(folder) as entries:
        matches = [entry for entry in entries if is_data(entry.name) and kind(entry)]
    return sorted(matches, key=lambda entry: entry.name)


def _without_damaged(
    root: Path, splits: Mapping[str, _Labelled], channels: int, most: int
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


def _require_examples(
    splits: Mapping[str, _Labelled], classes: tuple[str, ...], root: Path
) -> None:
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
